"""Write the containers that systemd alone runs."""

from typing import Any

from nixoci.bundle.config import notify_variable
from nixoci.bundle.defaults import MASKED_PATHS, READONLY_PATHS
from nixoci.container.environment import process_environment
from nixoci.container.places import IMAGES_UNIT, gc_root_directory, named_volume, run_directory
from nixoci.container.programs import find_program
from nixoci.container.resolve import ResolvedContainer
from nixoci.units.directories import UnitsOutput, lines_text, write_text, write_unit
from nixoci.units.images import MountedImage, link_image
from nixoci.units.install import systemd_warnings, write_wants
from nixoci.units.launcher import Process, render_launcher, system_calls
from nixoci.units.start import kept, layer_work, mount_table, script, start_lines, volume_copies, volume_lines
from nixoci.units.systemd_mounts import Mounts, container_mounts, mount_options, service_files
from nixoci.units.systemd_service import check_system_calls, systemd_units

READ_ONLY = (*READONLY_PATHS, "/sys")
"""The paths that are read-only inside; a runtime of the runtime-spec mounts /sys so."""


def write_systemd(output: UnitsOutput, container: ResolvedContainer) -> list[str]:
    """Write the units of a container and all that they read; return warnings.

    Raises:
        ContainerError: An option cannot be written; the message starts with it.
        ProcessError: The image's EROFS file cannot be made.
    """
    processes = launched(container)
    for process in processes.values():
        check_system_calls(container, output.profile, system_calls(process))
    folder = output.service(container.name)
    image = link_image(output, container)
    mounts = container_mounts(container, folder, image=image.point)
    (folder / "bin").mkdir(parents=True)
    for name, text in service_files(container).items():
        write_text(folder / name, text)
    for name, process in processes.items():
        file = folder / "bin" / name
        file.write_bytes(render_launcher(process, architecture=container.tree.image.config.architecture))
        file.chmod(0o755)
    write_text(folder / "fstab", mount_table(container, mounts.kind, image=image))
    write_text(output.start_tmpfiles(container.name), lines_text(start_lines(container, mounts.kind)))
    write_text(output.volume_tmpfiles(container.name), lines_text(volume_lines(container)))
    write_text(folder / "keep", keep_script(container, mounts, output, image=image))
    units = systemd_units(container, mounts, output)
    for unit in units:
        write_unit(output.units, unit)
    write_wants(output, container, units[0].name)
    lost = [f"{container.option('backend')}: {path} of the image is hidden by /run" for path in mounts.lost]
    return [*systemd_warnings(container), *lost]


def launched(container: ResolvedContainer) -> dict[str, Process]:
    """Return the processes that launchers become, the container's and that of its health check, by the launcher."""
    environment = process_environment(container) | notify_variable(container)

    def process(option: str, program: str, argv: tuple[str, ...] = (), **more: Any) -> Process:
        return Process(
            path=find_program(container, container.option(option), program),
            environment=environment,
            directory=container.workdir,
            user=container.user,
            capabilities=container.parsed.capabilities,
            argv=argv,
            **more,
        )

    mounts: dict[str, Any] = {"masked": MASKED_PATHS, "read_only": READ_ONLY, "mount_options": mount_options(container)}
    made = {"start": process("cmd", container.args[0], first=True, **mounts)}
    if container.health is not None:
        argv = container.health.test.argv
        made["health"] = process("healthcheck.test", argv[0], argv)
    return made


def keep_script(container: ResolvedContainer, mounts: Mounts, output: UnitsOutput, *, image: MountedImage) -> str:
    """Return the script that runs at each start, beside it or before it, and at each stop."""
    tools, name, stays = output.tools, container.name, kept(container, output, image)
    volumes = [named_volume(mount.source) for mount in container.parsed.named_volumes]
    return script(
        "systemd-keep.sh",
        run=run_directory(name),
        root=mounts.root if mounts.layered else "",
        image=image.point,
        image_option=container.option("image"),
        image_unit=IMAGES_UNIT,
        fstab=output.service(name) / "fstab" if mounts.layered else "",
        work=layer_work(container, mounts.kind) if mounts.layered else "",
        gc_roots=gc_root_directory(container.parsed.service) if stays else "",
        kept=" ".join(stays),
        tmpfiles=output.start_tmpfiles(name) if start_lines(container, mounts.kind) else "",
        volumes=" ".join(volumes),
        volume_tmpfiles=output.volume_tmpfiles(name) if volumes else "",
        copies="\n".join(volume_copies(container, image=image)),
        mkdir=tools.mkdir,
        mount=tools.mount,
        umount=tools.umount,
        rm=tools.rm,
        systemd_tmpfiles=tools.systemd_tmpfiles,
        cp=tools.cp,
        mv=tools.mv,
    )
