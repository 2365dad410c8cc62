"""podman's own Quadlet generator, run while units are made: a file that it would skip at boot is an error now."""

import re
from collections.abc import Mapping
from pathlib import Path

from nixoci.errors import ContainerError, ProcessError
from nixoci.output import scratch_directory
from nixoci.process import run
from nixoci.units.tools import Tools

_PREFIX = re.compile(r"^quadlet(?:-generator)?\[\d+\]: (?:Warning: )?")
_KINDS = "container|volume|network|pod|kube|image|build|artifact"
_FILE = re.compile(rf"(?P<file>[a-zA-Z0-9][\w.-]*\.(?:{_KINDS}))\b")
_NAMED = re.compile(rf'converting "(?P<file>[^"]+\.(?:{_KINDS}))": (?P<message>.*)')


def generate(sources: Path, target: Path, tools: Tools, *, user: bool, options: Mapping[str, str]) -> None:
    """Turn the Quadlet files of a directory into services, with their `.wants` links, in another.

    `options` are the parts of the document by file, where the name of the file does not tell.

    Raises:
        ContainerError: The generator refuses a file or warns of it; the message is the generator's.
        ProcessError: It cannot be run.
    """
    argv: list[str | Path] = [tools.quadlet, "-no-kmsg-log", *(["-user"] if user else []), target]
    with scratch_directory("units") as home:
        environment = {"QUADLET_UNIT_DIRS": str(sources), "PODMAN": tools.podman, "HOME": str(home)}
        try:
            run(argv, env=environment, silent=True, package="podman")
        except ProcessError as error:
            if (found := _NAMED.search(error.stderr)) is not None:
                option, message = _option(found["file"], options), found["message"]
            elif error.stderr:
                message = _PREFIX.sub("", error.stderr.splitlines()[0])
                named = _FILE.search(message)
                option = _option(named["file"], options) if named else "containers"
            else:
                raise
            raise ContainerError(f"{option}: podman's generator refuses its Quadlet file: {message}") from error
    for file in sorted(sources.iterdir()):
        if not (service := target / _service_name(file)).exists():
            raise ContainerError(
                f"{_option(file.name, options)}: podman's generator made no {service.name} and gave no reason; try"
                f" {tools.quadlet} -dryrun"
            )
        _remove_source_path(service, file)


def _remove_source_path(service: Path, source: Path) -> None:
    """Remove the line that names the Quadlet file.

    That file is in the output: with the line, each unit would change with anything in the deployment. The service has
    the file's text itself, in sections that systemd ignores.
    """
    text = service.read_bytes()
    service.write_bytes(text.replace(f"\nSourcePath={source}\n".encode(), b"\n", 1))


def _option(file: str, options: Mapping[str, str]) -> str:
    """Return the part of the document that a Quadlet file was made from."""
    name, _, kind = file.rpartition(".")
    return options.get(file, f"{kind}s.{name}")


def _service_name(file: Path) -> str:
    suffix = "" if file.suffix in {".container", ".kube"} else f"-{file.suffix[1:]}"
    return f"{file.stem}{suffix}.service"
