"""Write the containers that systemd and an OCI runtime run without an engine."""

from functools import cache

from nixoci.bundle.config import bundle_config
from nixoci.bundle.root import Root
from nixoci.container.resolve import ResolvedContainer
from nixoci.units.directories import UnitsOutput, lines_text, write_text, write_unit
from nixoci.units.images import link_image
from nixoci.units.install import systemd_warnings, write_wants
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


def write_bundle(output: UnitsOutput, container: ResolvedContainer) -> list[str]:
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
    write_text(folder / "fstab", mount_table(container, bundle.root, image=image))
    write_text(output.start_tmpfiles(container.name), lines_text(start_lines(container, bundle.root)))
    write_text(output.volume_tmpfiles(container.name), lines_text(volume_lines(container)))
    write_text(folder / "start", start_script(container, bundle, output, image=image))
    write_text(folder / ENVIRONMENT, environment_script(container, output))
    write_text(folder / "stop", stop_script(container, bundle, output, image=image))
    service = bundle_service(container, bundle, output)
    for unit in (service, *health_units(container, output.tools)):
        write_unit(output.units, unit)
    write_wants(output, container, service.name)
    return systemd_warnings(container)
