"""Write the containers that systemd and an OCI runtime run without an engine."""

from pathlib import Path

from nixoci.bundle.config import bundle_config
from nixoci.bundle.root import Root
from nixoci.container.resolve import ResolvedContainer
from nixoci.image_store.contents import find_image
from nixoci.process import run
from nixoci.units.common import default_target
from nixoci.units.directories import Output, write_unit
from nixoci.units.service import bundle_service, health_units
from nixoci.units.start import (
    ENVIRONMENT,
    IMAGE_TABLE,
    environment_script,
    image_table,
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
    bundle = bundle_config(container, output.profile, folder=folder)
    folder.mkdir()
    bundle.write(folder)
    if bundle.root is not Root.TREE:
        erofs = _erofs(output, container)
        _write(folder / "fstab", mount_table(container, bundle, output.tools, erofs=erofs))
        _write(folder / IMAGE_TABLE, image_table(container))
    _write(output.start_tmpfiles(container.name), _text(start_lines(container, bundle)))
    _write(output.volume_tmpfiles(container.name), _text(volume_lines(container)))
    _write(folder / "start", start_script(container, bundle, output))
    _write(folder / ENVIRONMENT, environment_script(container, output))
    _write(folder / "stop", stop_script(container, bundle, output))
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


def _erofs(output: Output, container: ResolvedContainer) -> Path:
    """Return the image's EROFS file: the image store's, or else one that the bundle gets."""
    if output.image_store is not None:
        found = find_image(container.option("image"), output.image_store, container.tree.image)
        if found.erofs is not None:
            return found.erofs
    file = output.bundle(container.name) / "root.erofs"
    run([output.tools.mkcomposefs, "--from-file", container.tree.image.metadata, file], package="composefs")
    return file


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write(file: Path, text: str) -> None:
    """Write a file, unless it would be empty."""
    if text:
        file.write_text(text, encoding="utf-8")
