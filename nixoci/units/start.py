"""The start and stop of a bundle: its mounts, its files, and the values of start.sh and stop.sh."""

import shlex
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from nixoci.bundle.config import CONFIG_PARTS, Bundle, host_files, lacks_workdir
from nixoci.bundle.root import Root
from nixoci.container.model import Notify, Runtime
from nixoci.container.places import (
    BOUND_RUNTIMES,
    STATE,
    VOLUMES,
    gc_root_directory,
    image_directory,
    is_store_path,
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
from nixoci.tree.model import Inode
from nixoci.units.common import secret_lines
from nixoci.units.directories import Output
from nixoci.units.runtime import Commands
from nixoci.units.tools import Tools

_IN_MOUNT_OPTIONS = set(',:\\ \t\n\r#"')
_IN_TMPFILES = set(" \"'\\%")
_PRIVATE = "X-mount.mkdir=0700"
IMAGE_TABLE = "image.fstab"
ENVIRONMENT = "environment"
"""The script of a bundle that reads its environment files."""
_LOOPBACK = "127.0.0.1"
_UMASK = 0o022
_MKDIR_BITS = 0o1777
"""The mode bits that mkdir(2) sets."""


def start_script(container: ResolvedContainer, bundle: Bundle, output: Output) -> str:
    """Return the script that makes the root and runs the container."""
    tools, name = output.tools, container.name
    commands = Commands.of(container, tools)
    mounted = bundle.root is not Root.TREE
    named = [named_volume(mount.source) for mount in container.parsed.named_volumes]
    kept = _kept(container, output)
    return _script(
        "start.sh",
        name=name,
        bundle=output.bundle(name),
        run=run_directory(name),
        runtime=commands.program,
        runtime_option=commands.option,
        state=commands.state,
        stop=output.bundle(name) / "stop",
        tmpfiles=output.start_tmpfiles(name) if start_lines(container, bundle) else "",
        fstab=output.bundle(name) / "fstab" if mounted else "",
        mount_hint=_layer_hint(container) if bundle.root is Root.PERSISTENT else "",
        bound=_bound_runtime(container, bundle, tools),
        gc_roots=gc_root_directory(container.parsed.service) if kept else "",
        kept=" ".join(kept),
        volumes=" ".join(named),
        image=image_directory(name) if named else "",
        image_fstab=output.bundle(name) / IMAGE_TABLE if named else "",
        volume_tmpfiles=output.volume_tmpfiles(name) if named else "",
        host_files=" ".join(host_files(container)),
        hosts="".join(entry.line for entry in _reachable(container)),
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
        mount=tools.mount,
        umount=tools.umount,
        rm=tools.rm,
        mkfifo=tools.mkfifo,
        cat=tools.cat,
        sleep=tools.sleep,
    )


def environment_script(container: ResolvedContainer, output: Output) -> str:
    """Return the script that writes a config.json with the variables of environment files; empty without such files."""
    files = container.declared.environment_files
    if not files:
        return ""
    folder = output.bundle(container.name)
    head, tail = (folder / part for part in CONFIG_PARTS)
    programs = {"sh": output.tools.sh, "cat": output.tools.cat}
    option = container.option("environmentFiles")
    return _script("environment.sh", head=head, tail=tail, option=option, files="\n".join(files), **programs)


def stop_script(container: ResolvedContainer, bundle: Bundle, output: Output) -> str:
    """Return the script that removes everything that the start script made, as far as it got."""
    mounted = bundle.root is not Root.TREE
    return _script(
        "stop.sh",
        name=container.name,
        run=run_directory(container.name),
        runtime=Commands.of(container, output.tools).program,
        root=root_directory(container.name) if mounted else "",
        metadata=_metadata(container) if mounted else "",
        image=image_directory(container.name) if container.parsed.named_volumes else "",
        bound=_bound_runtime(container, bundle, output.tools),
        gc_roots=gc_root_directory(container.parsed.service),
        kept=" ".join(_kept(container, output)),
        umount=output.tools.umount,
        rm=output.tools.rm,
    )


def mount_table(container: ResolvedContainer, bundle: Bundle, tools: Tools, *, erofs: Path) -> str:
    """Return the table (fstab(5)) of a start's mounts: the metadata, over it the tree, and the runtime.

    The directories of a volatile layer cost no process, since mount makes the directories that it mounts on: the
    overlay is mounted over its own upper directory, and the metadata below the work directory, in which the kernel
    touches only `work` and `index`.

    crun mounts itself read-only and executes itself from there, so that no container can write to it (CVE-2019-5736),
    unless it is already executed from a read-only mount. Bind-mounting crun's directory read-only here is cheaper.

    Args:
        container: The container.
        bundle: Its bundle.
        tools: Programs of the target.
        erofs: The image's metadata.

    Raises:
        ContainerError: A path cannot be written there.
    """
    rootfs, run = str(container.tree.image.rootfs), run_directory(container.name)
    for path in (rootfs, str(erofs)):
        if _IN_MOUNT_OPTIONS & set(path):
            raise ContainerError(f"{container.option('image')}: {path!r} cannot be a mount option; use a plain path")
    root, layer, metadata = root_directory(container.name), layer_directory(container.name), _metadata(container)
    options = {
        Root.VOLATILE: [f"upperdir={root}", f"workdir={run}/work"],
        Root.PERSISTENT: [f"upperdir={layer}/upper", f"workdir={layer}/work"],
    }.get(bundle.root, ["ro"])
    # the files of the metadata name their content in the tree (metacopy)
    options += [f"X-mount.mkdir={container.tree.root.mode:04o}", "nodev", "metacopy=on"]
    options.append(f"lowerdir={metadata}::{rootfs}")
    lines = [
        f"{erofs} {metadata} erofs ro,nodev,{_PRIVATE} 0 0",
        f"overlay {root} overlay {','.join(options)} 0 0",
    ]
    if bound := _bound_runtime(container, bundle, tools):
        lines.append(f"{Path(tools.crun).parent} {bound} none bind,ro,{_PRIVATE} 0 0")
    return "".join(f"{line}\n" for line in lines)


def image_table(container: ResolvedContainer) -> str:
    """Return the table of the mount from which new named volumes are filled: the image alone, over its metadata.

    The root of a container is no place to copy from. A container can replace a directory in its own layer by a symlink,
    which a program of the host would follow to the host's files.
    """
    target, metadata = image_directory(container.name), _metadata(container)
    options = f"ro,nodev,metacopy=on,{_PRIVATE},lowerdir={metadata}::{container.tree.image.rootfs}"
    return f"overlay {target} overlay {options} 0 0\n" if container.parsed.named_volumes else ""


def start_lines(container: ResolvedContainer, bundle: Bundle) -> list[str]:
    """Return the lines of tmpfiles.d(5) that apply before the root is mounted.

    The upper directory has the owner and mode of / inside. mount makes that of a volatile layer if it can.
    """
    lines, top = secret_lines(container, user=False), container.tree.root
    attributes = f"{top.mode:04o} {top.uid} {top.gid}"
    if bundle.root is Root.VOLATILE and not _mkdir_makes(top):
        lines.append(f"d {root_directory(container.name)} {attributes} -")
    if bundle.root is Root.PERSISTENT:
        # not systemd's StateDirectory=, which would give the files of the layer to root
        layer = layer_directory(container.name)
        lines += [f"d {layer}/upper {attributes} -", f"d {layer}/work 0700 - - -"]
        if lacks_workdir(container):
            lines.append(f"d {layer_workdir(container.name)} 0755 {container.user.uid} {container.user.gid} -")
    return lines


def volume_lines(container: ResolvedContainer) -> list[str]:
    """Return the lines of tmpfiles.d(5) for new named volumes: each is a copy of the directory that it covers.

    The image's symlinks are followed here, inside its tree. systemd-tmpfiles would follow them on the host.

    Raises:
        ContainerError: A path of the image cannot be written there.
    """
    lines: list[str] = []
    for mount in container.parsed.named_volumes:
        volume = named_volume(mount.source)
        inode, path = container.tree.find(mount.target), container.tree.canonical(mount.target)
        if inode is None or path is None or not inode.is_directory:
            # podman gives it to the container's user, unless it hides a directory
            lines.append(f"d {volume} 0755 {container.user.uid} {container.user.gid} -")
            continue
        if not path.isascii() or set(path) & _IN_TMPFILES:
            raise ContainerError(
                f"{container.option('volumes')}: {path!r} cannot be copied to a new volume; mount a path there"
            )
        lines.append(f"C {volume} - - - - {image_directory(container.name)}{path.rstrip('/')}")
    return [f"d {VOLUMES} 0700 - - -", *lines] if lines else []


def _script(file: str, **values: str | Path) -> str:
    """Return a script of this package with the values of its variables after its first comment."""
    comment, commands = files("nixoci.units").joinpath(file).read_text(encoding="utf-8").split("\n\n", 1)
    variables = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    return f"{comment}\n\n{variables}\n{commands}"


def _reachable(container: ResolvedContainer) -> list[HostEntry]:
    """Return the lines of /etc/hosts of a container on the host's network, where the host is the container itself."""
    return [
        replace(entry, address=_LOOPBACK) if entry.address == HOST_GATEWAY else entry
        for entry in container.parsed.extra_hosts
    ]


def _kept(container: ResolvedContainer, output: Output) -> list[str]:
    """Return the store paths that must stay while the container runs: its image, and its own scripts."""
    return [str(path) for path in (container.tree.image.path, output.out) if is_store_path(path)]


def _metadata(container: ResolvedContainer) -> str:
    """Return the mount point of the image's metadata."""
    return f"{run_directory(container.name)}/work/meta"


def _bound_runtime(container: ResolvedContainer, bundle: Bundle, tools: Tools) -> str:
    """Return the read-only mount point of crun's directory; empty if the runtime is executed from its own place."""
    if container.parsed.runtime is not Runtime.CRUN or bundle.root is Root.TREE or not tools.crun.startswith("/"):
        return ""
    return "" if _IN_MOUNT_OPTIONS & set(tools.crun) else f"{BOUND_RUNTIMES}/{container.name}"


def _mkdir_makes(top: Inode) -> bool:
    """Return whether root's mkdir(2) makes a directory of that owner and mode."""
    return not (top.uid or top.gid) and top.mode == top.mode & _MKDIR_BITS & ~_UMASK


def _layer_hint(container: ResolvedContainer) -> str:
    """Return the error for a file system that cannot hold a persistent layer."""
    return (
        f"error: {container.option('writableLayer')}: the root was not mounted, for the reason above; a persistent"
        f" layer needs {STATE} on a file system that can hold an upper directory, such as ext4, xfs or btrfs"
    )
