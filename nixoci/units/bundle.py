"""Write the containers that systemd and an OCI runtime run without an engine."""

from functools import cache
from pathlib import Path

from nixoci.bundle.config import bundle_config
from nixoci.bundle.root import Root
from nixoci.container.resolve import ResolvedContainer
from nixoci.units.common import default_target
from nixoci.units.directories import Output, write_unit
from nixoci.units.images import link_image
from nixoci.units.service import bundle_service, health_units
from nixoci.units.start import (
    ENVIRONMENT,
    environment_script,
    mount_table,
    start_lines,
    start_script,
    stop_script,
    volume_lines,
)


def write_bundle(output: Output, container: ResolvedContainer) -> list[str]:
    """Write the bundle of a container, its service and all that the service reads; return warnings.

    Raises:
        ContainerError: An option cannot be written; the message starts with it.
        ProcessError: The image's EROFS file cannot be made.
    """
    folder = output.bundle(container.name)
    find = cache(lambda: link_image(output, container))
    bundle = bundle_config(container, output.profile, folder=folder, image=lambda: find().point)
    image = None if bundle.root is Root.TREE else find()
    folder.mkdir()
    bundle.write(folder)
    _write(folder / "fstab", mount_table(container, bundle, image=image))
    _write(output.start_tmpfiles(container.name), _text(start_lines(container, bundle)))
    _write(output.volume_tmpfiles(container.name), _text(volume_lines(container, image=image)))
    _write(folder / "start", start_script(container, bundle, output, image=image))
    _write(folder / ENVIRONMENT, environment_script(container, output))
    _write(folder / "stop", stop_script(container, bundle, output, image=image))
    service = bundle_service(container, bundle, output)
    for unit in (service, *health_units(container, output.tools)):
        write_unit(output.units, unit)
    if container.declared.auto_start:
        wants = output.units / f"{default_target(user=False)}.wants"
        wants.mkdir(exist_ok=True)
        (wants / service.name).symlink_to(f"../{service.name}")
    if not container.runs_systemd:
        return []
    option, program = container.option("backend"), " ".join(container.args)
    lost = "no file systems in memory at /run and /tmp, no cgroup to write to, no stop signal of systemd"
    return [f"{option}: {program!r} is systemd, and a bundle has no systemd mode ({lost}); use podman"]


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write(file: Path, text: str) -> None:
    """Write a file, unless it would be empty."""
    if text:
        file.write_text(text, encoding="utf-8")
