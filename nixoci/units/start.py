"""The start and stop of a bundle: its mounts, its files, and the values of start.sh and stop.sh."""

import re
import shlex
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from nixoci.bundle.config import CONFIG_PARTS, Bundle, host_files, lacks_workdir
from nixoci.bundle.root import Root
from nixoci.container.model import Notify, Runtime
from nixoci.container.notation import Mount
from nixoci.container.places import (
    IMAGES_UNIT,
    STATE,
    VOLUMES,
    bound_runtime,
    gc_root_directory,
    layer_directory,
    layer_workdir,
    localtime_file,
    named_volume,
    root_directory,
    run_directory,
)
from nixoci.container.resolve import ResolvedContainer
from nixoci.container.resolver import HOST_GATEWAY, HostEntry
from nixoci.errors import ContainerError
from nixoci.nix_store.path import is_store_path
from nixoci.tree.model import Inode
from nixoci.units.common import secret_lines
from nixoci.units.directories import UnitsOutput
from nixoci.units.images import MountedImage, is_bound
from nixoci.units.runtime import Commands
from nixoci.units.tools import Tools

ENVIRONMENT = "environment"
"""The script of a bundle that reads its environment files."""
_LOOPBACK = "127.0.0.1"
_INCLUDE = re.compile(r"^# include (\S+)\n", re.MULTILINE)
_UMASK = 0o022
_MKDIR_BITS = 0o1777
"""The mode bits that mkdir(2) sets."""


def start_script(
    container: ResolvedContainer, bundle: Bundle, output: UnitsOutput, *, image: MountedImage | None
) -> str:
    """Return the script that makes the root and runs the container.

    `image` is None if the root is the store's tree itself.
    """
    tools, name = output.tools, container.name
    commands = Commands.of(container, tools)
    named = [named_volume(mount.source) for mount in container.parsed.named_volumes]
    stays = kept(container, output, image)
    return script(
        "start.sh",
        name=name,
        bundle=output.bundle(name),
        run=run_directory(name),
        runtime=commands.program,
        runtime_option=commands.option,
        state=commands.state,
        stop=output.bundle(name) / "stop",
        tmpfiles=output.start_tmpfiles(name) if start_lines(container, bundle.root) else "",
        image=image.point if image else "",
        image_option=container.option("image"),
        image_unit=IMAGES_UNIT,
        fstab=output.bundle(name) / "fstab" if _is_mounted(bundle.root) else "",
        mount_hint=_layer_hint(container) if bundle.root is Root.PERSISTENT else "",
        work=layer_work(container, bundle.root) if bundle.root is Root.VOLATILE else "",
        bound=bound_runtime(tools.crun) if _is_bound(container, image, tools) else "",
        gc_roots=gc_root_directory(container.parsed.service) if stays else "",
        kept=" ".join(stays),
        volumes=" ".join(named),
        volume_tmpfiles=output.volume_tmpfiles(name) if named else "",
        copies="\n".join(volume_copies(container, image=image)),
        host_files=" ".join(host_files(container)),
        hosts="".join(entry.line for entry in reachable_hosts(container)),
        resolver=container.parsed.resolver.lines,
        replaced=" ".join(container.parsed.resolver.replaced),
        timezone="" if container.has_zone else container.parsed.timezone or "",
        timezone_option=container.option("timezone"),
        localtime=localtime_file(name),
        environment=output.bundle(name) / ENVIRONMENT if bundle.parts else "",
        devices=" ".join(device.source for device in container.parsed.devices),
        device_option=container.option("devices"),
        notify="yes" if container.declared.notify is Notify.CONTAINER else "",
        sh=tools.sh,
        mkdir=tools.mkdir,
        systemd_tmpfiles=tools.systemd_tmpfiles,
        cp=tools.cp,
        mv=tools.mv,
        mount=tools.mount,
        rm=tools.rm,
        mkfifo=tools.mkfifo,
        cat=tools.cat,
        sleep=tools.sleep,
    )


def environment_script(container: ResolvedContainer, output: UnitsOutput) -> str:
    """Return the script that writes a config.json with the variables of environment files; empty without such files."""
    files = container.declared.environment_files
    if not files:
        return ""
    folder = output.bundle(container.name)
    head, tail = (folder / part for part in CONFIG_PARTS)
    programs = {"sh": output.tools.sh, "cat": output.tools.cat}
    option = container.option("environmentFiles")
    return script("environment.sh", head=head, tail=tail, option=option, files="\n".join(files), **programs)


def stop_script(
    container: ResolvedContainer, bundle: Bundle, output: UnitsOutput, *, image: MountedImage | None
) -> str:
    """Return the script that removes everything that the start script made, as far as it got."""
    return script(
        "stop.sh",
        name=container.name,
        run=run_directory(container.name),
        runtime=Commands.of(container, output.tools).program,
        root=root_directory(container.name) if _is_mounted(bundle.root) else "",
        gc_roots=gc_root_directory(container.parsed.service),
        kept=" ".join(kept(container, output, image)),
        umount=output.tools.umount,
        rm=output.tools.rm,
    )


def mount_table(container: ResolvedContainer, root: Root, *, image: MountedImage | None) -> str:
    """Return the table (fstab(5)) of a start's one mount, an overlay of the mounted image; empty if nothing is written.

    The directory of a volatile layer costs no process, since mount makes the directory that it mounts on: the overlay
    is mounted over its own upper directory.
    """
    if not _is_mounted(root) or image is None:
        return ""
    point = root_directory(container.name)
    upper = point if root is Root.VOLATILE else f"{layer_directory(container.name)}/upper"
    mode = f"X-mount.mkdir={container.tree.root.mode:04o}"
    # a change of a file's owner or mode copies no content (metacopy)
    options = f"upperdir={upper},workdir={layer_work(container, root)},{mode},nodev,metacopy=on,lowerdir={image.point}"
    return f"overlay {point} overlay {options} 0 0\n"


def start_lines(container: ResolvedContainer, root: Root) -> list[str]:
    """Return the lines of tmpfiles.d(5) that apply before the root is mounted.

    The upper directory has the owner and mode of / inside. mount makes that of a volatile layer if it can.
    """
    lines, top = secret_lines(container, user=False), container.tree.root
    attributes = f"{top.mode:04o} {top.uid} {top.gid}"
    if root is Root.VOLATILE and not _mkdir_makes(top):
        lines.append(f"d {root_directory(container.name)} {attributes} -")
    if root is Root.PERSISTENT:
        # not systemd's StateDirectory=, which would give the files of the layer to root
        layer = layer_directory(container.name)
        lines += [f"d {layer}/upper {attributes} -", f"d {layer}/work 0700 - - -"]
        if lacks_workdir(container):
            lines.append(f"d {layer_workdir(container.name)} 0755 {container.user.uid} {container.user.gid} -")
    return lines


def volume_lines(container: ResolvedContainer) -> list[str]:
    """Return the lines of tmpfiles.d(5) for new named volumes: the directory of all, and those that are no copies."""
    lines = [
        # podman gives it to the container's user, unless it hides a directory
        f"d {named_volume(mount.source)} 0755 {container.user.uid} {container.user.gid} -"
        for mount in container.parsed.named_volumes
        if _hidden_directory(container, mount) is None
    ]
    return [f"d {VOLUMES} 0700 - - -", *lines] if container.parsed.named_volumes else []


def volume_copies(container: ResolvedContainer, *, image: MountedImage | None) -> list[str]:
    """Return the named volumes that start as a copy of the directory they cover, each as `VOLUME:DIRECTORY`.

    The image's symlinks are followed here, inside its tree: cp would follow them on the host. And the copy is made
    from the mounted `image`: a container can replace a directory in its own layer by a symlink.

    Raises:
        ContainerError: A path of the image cannot be written there.
    """
    copies = []
    for mount in container.parsed.named_volumes:
        path = _hidden_directory(container, mount)
        if path is None:
            continue
        if not path.isprintable():
            raise ContainerError(
                f"{container.option('volumes')}: {path!r} cannot be copied to a new volume; mount a path there"
            )
        copies.append(f"{named_volume(mount.source)}:{image.point if image else ''}{path.rstrip('/')}")
    return copies


def _hidden_directory(container: ResolvedContainer, mount: Mount) -> str | None:
    """Return the path without symlinks of the image's directory that a mount covers; None if there is none."""
    inode = container.tree.find(mount.target)
    return container.tree.canonical(mount.target) if inode is not None and inode.is_directory else None


def script(file: str, **values: str | Path) -> str:
    """Return a script of this package with its variables after its first comment, and with what it includes."""
    folder = files("nixoci.units")
    comment, commands = folder.joinpath(file).read_text(encoding="utf-8").split("\n\n", 1)
    commands = _INCLUDE.sub(lambda found: folder.joinpath(found[1]).read_text(encoding="utf-8"), commands)
    variables = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    return f"{comment}\n\n{variables}\n{commands}"


def reachable_hosts(container: ResolvedContainer) -> list[HostEntry]:
    """Return the lines of /etc/hosts of a container on the host's network, where the host is the container itself."""
    return [
        replace(entry, address=_LOOPBACK) if entry.address == HOST_GATEWAY else entry
        for entry in container.parsed.extra_hosts
    ]


def kept(container: ResolvedContainer, output: UnitsOutput, image: MountedImage | None) -> list[str]:
    """Return the store paths that must stay while the container runs: its image, as it is mounted, and its scripts."""
    paths = [container.tree.image.path, *([image.entry] if image else []), output.out]
    return [str(path) for path in paths if is_store_path(path)]


def layer_work(container: ResolvedContainer, root: Root) -> str:
    """Return the work directory of the layer that a container writes to."""
    return f"{run_directory(container.name) if root is Root.VOLATILE else layer_directory(container.name)}/work"


def _is_mounted(root: Root) -> bool:
    """Return whether the root is a mount of the container's own."""
    return root in {Root.VOLATILE, Root.PERSISTENT}


def _is_bound(container: ResolvedContainer, image: MountedImage | None, tools: Tools) -> bool:
    """Return whether crun is executed from a read-only mount."""
    return container.parsed.runtime is Runtime.CRUN and image is not None and is_bound(tools)


def _mkdir_makes(top: Inode) -> bool:
    """Return whether root's mkdir(2) makes a directory of that owner and mode."""
    return not (top.uid or top.gid) and top.mode == top.mode & _MKDIR_BITS & ~_UMASK


def _layer_hint(container: ResolvedContainer) -> str:
    """Return the error for a file system that cannot hold a persistent layer."""
    return (
        f"error: {container.option('writableLayer')}: the root was not mounted, for the reason above; a persistent"
        f" layer needs {STATE} on a file system that can hold an upper directory, such as ext4, xfs or btrfs"
    )
