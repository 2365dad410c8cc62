"""podman's own Quadlet generator, run while units are made: a file that it would skip at boot is an error now."""

import re
import tempfile
from pathlib import Path

from nixoci.errors import ContainerError, ProcessError
from nixoci.process import run
from nixoci.units.tools import Tools

_PREFIX = re.compile(r"^quadlet(?:-generator)?\[\d+\]: (?:Warning: )?")
_FILE = re.compile(r"(?P<name>[a-zA-Z0-9][\w.-]*)\.(?P<kind>container|volume|network|pod)\b")
_NAMED = re.compile(r'converting "(?P<name>[^"]+)\.(?P<kind>container|volume|network|pod)": (?P<message>.*)')


def generate(sources: Path, target: Path, tools: Tools, *, user: bool) -> None:
    """Turn the Quadlet files of a directory into services, with their `.wants` links, in another.

    Raises:
        ContainerError: The generator refuses a file or warns of it; the message is the generator's.
        ProcessError: It cannot be run.
    """
    argv: list[str | Path] = [tools.quadlet, "-no-kmsg-log", *(["-user"] if user else []), target]
    with tempfile.TemporaryDirectory() as home:
        environment = {"QUADLET_UNIT_DIRS": str(sources), "PODMAN": tools.podman, "HOME": home}
        try:
            run(argv, env=environment, silent=True, package="podman")
        except ProcessError as error:
            if (found := _NAMED.search(error.stderr)) is not None:
                option, message = f"{found['kind']}s.{found['name']}", found["message"]
            elif error.stderr:
                message = _PREFIX.sub("", error.stderr.splitlines()[0])
                named = _FILE.search(message)
                option = f"{named['kind']}s.{named['name']}" if named else "containers"
            else:
                raise
            raise ContainerError(f"{option}: podman's generator refuses its Quadlet file: {message}") from error
    for file in sorted(sources.iterdir()):
        if not (target / (service := _service_name(file))).exists():
            raise ContainerError(
                f"{file.suffix[1:]}s.{file.stem}: podman's generator made no {service} and gave no reason; try"
                f" {tools.quadlet} -dryrun"
            )


def _service_name(file: Path) -> str:
    suffix = "" if file.suffix == ".container" else f"-{file.suffix[1:]}"
    return f"{file.stem}{suffix}.service"
