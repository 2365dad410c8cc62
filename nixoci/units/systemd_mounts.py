"""The mounts of a container that systemd alone runs, as systemd's options (systemd.exec(5), "Paths").

systemd follows the symlinks of a target inside the container's root, and makes what is missing there: in the layer of
the container, never in the image, which is mounted read-only.

/run is a file system in memory, as systemd mounts it there. What the image has there is mounted again.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nixoci.bundle import defaults
from nixoci.bundle.config import (
    NEW_DIRECTORY,
    NOTIFY_SOCKET,
    VOLUME_OPTIONS,
    etc_files,
    host_files,
    volume_options,
)
from nixoci.bundle.root import Root, choose_root, layer_volumes
from nixoci.container.model import Notify
from nixoci.container.notation import Tmpfs
from nixoci.container.places import mount_source, root_directory, secret_file
from nixoci.container.resolve import ResolvedContainer
from nixoci.errors import ContainerError
from nixoci.tree.model import Inode, Kind, walk
from nixoci.units.escape import UnitFile, UnitText, literal, word
from nixoci.units.launcher import MOUNT_OPTIONS
from nixoci.units.start import reachable_hosts

LAUNCHERS = "/run/nixoci"
"""The directory inside that has the launchers of the container's program and of its health check."""

_RUN = "/run"
_API = ("/proc", "/sys", "/dev", _RUN)
"""The mount points of what systemd itself mounts in a root."""

_SHM = "mode=1777,nosuid,nodev,noexec"
_SHM_SIZE = "64000k"
_PODMAN_TMPFS_OPTIONS = {"U", "notmpcopyup", "tmpcopyup", "rprivate", "rw"}
"""The options of file systems in memory that only podman knows, and those that systemd sets by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bind:
    """A file or directory of the host at a path inside; `optional` if the host may lack it."""

    source: str
    target: str
    read_only: bool = False
    recursive: bool = True
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounts:
    """The mounts of a container, and its root, which is itself a mount of the host.

    The root is the mounted image, or a layer above it if the container, or a mount point, needs one to write to.
    """

    kind: Root
    root: str
    read_only: bool
    binds: tuple[_Bind, ...]
    memory: dict[str, str]
    lost: tuple[str, ...]
    """The paths that the image has in /run, and that cannot be mounted again."""

    @property
    def layered(self) -> bool:
        """Return whether the root is a mount of the container's own."""
        return self.kind is Root.VOLATILE

    def add_to(self, unit: UnitFile) -> None:
        """Add the options of the root and the mounts.

        Every version of systemd knows `RootDirectory=`, so that none runs the program in the root of the host.
        """
        # an empty directory would get mount points
        unit.add("Unit", "AssertPathIsMountPoint", word(self.root))
        unit.add("Service", "RootDirectory", word(self.root))
        for bind in self.binds:
            key = "BindReadOnlyPaths" if bind.read_only else "BindPaths"
            parts = f"{word(bind.source)}:{word(bind.target)}{'' if bind.recursive else ':norbind'}"
            unit.add("Service", key, UnitText(f"-{parts}" if bind.optional else parts))
        for target, options in self.memory.items():
            unit.add("Service", "TemporaryFileSystem", word(f"{target}:{options}"))
        if self.layered and self.read_only:
            unit.add("Service", "ReadOnlyPaths", literal("+/"))


def container_mounts(container: ResolvedContainer, folder: Path, *, image: str) -> Mounts:
    """Return the mounts of a container.

    Args:
        container: The container.
        folder: The directory of its files.
        image: The mount point of the image.

    Raises:
        ContainerError: A path cannot be mounted at; the message starts with the option.
    """
    memory, lost = _run(container)
    volumes = layer_volumes(container)
    binds = [*_files(container, folder), *(_Bind(source=volumes[path], target=path) for path in volumes)]
    binds += _declared(container)
    memory |= _memory(container)
    for bind in [each for each in binds if each.target in memory]:
        del memory[bind.target]
    for path in (*memory, *volumes, *volumes.values()):
        if ":" in path:
            raise ContainerError(
                f"{container.option('image')}: systemd mounts nothing at {path!r}; use another backend"
            )
    targets = [path for path in (*memory, *(bind.target for bind in binds)) if not path.startswith("/dev/")]
    layered = choose_root(container, [*_API, *targets], layered=bool(volumes)) is Root.VOLATILE
    return Mounts(
        kind=Root.VOLATILE if layered else Root.IMAGE,
        root=root_directory(container.name) if layered else image,
        read_only=container.declared.read_only,
        binds=tuple(binds),
        memory=memory,
        lost=lost,
    )


def mount_options(container: ResolvedContainer) -> dict[str, tuple[str, ...]]:
    """Return the options of mounts that `BindPaths=` does not know, by the mount point: those that podman gives them.

    podman mounts volumes with nosuid and nodev, and directories of the host as they are there.
    """
    options: dict[str, Iterable[str]] = dict.fromkeys(layer_volumes(container), VOLUME_OPTIONS)
    options |= {mount.target: volume_options(mount) for mount in container.parsed.volumes}
    known = {target: tuple(each for each in given if each in MOUNT_OPTIONS) for target, given in options.items()}
    return {target: given for target, given in known.items() if given}


def _files(container: ResolvedContainer, folder: Path) -> Iterator[_Bind]:
    """Yield the launchers and the files of /etc."""
    yield _Bind(source=str(folder / "bin"), target=LAUNCHERS, read_only=True, recursive=False)
    made = service_files(container)
    for name in made:
        yield _Bind(source=str(folder / name), target=f"/etc/{name}", read_only=True, recursive=False)
    for name in host_files(container):
        if name not in made:
            yield _Bind(source=f"/etc/{name}", target=f"/etc/{name}", read_only=True, recursive=False, optional=True)
    if container.declared.notify is Notify.CONTAINER:
        yield _Bind(source=NOTIFY_SOCKET, target=NOTIFY_SOCKET, recursive=False)
    if container.parsed.timezone == "local":
        yield _Bind(source="/etc/localtime", target="/etc/localtime", read_only=True, recursive=False)


def service_files(container: ResolvedContainer) -> dict[str, str]:
    """Return the files of /etc that are known when units are made: a start merges nothing with the host's."""
    files = {} if container.parsed.capabilities.may_mount else etc_files(container)
    if container.parsed.host_network:
        if container.parsed.extra_hosts:
            own = "".join(entry.line for entry in reachable_hosts(container))
            files["hosts"] = f"{own}127.0.0.1\tlocalhost\n::1\tlocalhost\n"
        if container.parsed.resolver.servers:
            files["resolv.conf"] = container.parsed.resolver.lines
    return files


def _declared(container: ResolvedContainer) -> Iterator[_Bind]:
    """Yield the volumes, devices and secrets."""
    for mount in container.parsed.volumes:
        read_only, recursive = "ro" in mount.options, "bind" not in mount.options
        yield _Bind(source=mount_source(mount), target=mount.target, read_only=read_only, recursive=recursive)
    for device in container.parsed.devices:
        yield _Bind(source=device.source, target=device.target, recursive=False)
    for secret in container.parsed.secrets:
        source = secret_file(container.name, secret.name)
        yield _Bind(source=source, target=secret.target, read_only=True, recursive=False)


def _memory(container: ResolvedContainer) -> dict[str, str]:
    """Return the file systems in memory with their options."""
    parsed, read_only = container.parsed, container.declared.read_only
    wanted = [Tmpfs(path) for path in defaults.WRITABLE if path != _RUN] if read_only else []
    for path in container.image_volumes:
        if container.tree.find(path) is None:
            wanted.append(Tmpfs(path, ("U",)))
        elif read_only:
            wanted.append(Tmpfs(path))
    if not container.has_path(container.workdir):
        wanted.append(Tmpfs(container.workdir, ("U",)))
    size = _SHM_SIZE if parsed.shm_size is None else parsed.shm_size
    memory = {defaults.SHM: f"{_SHM},size={size}"}
    return memory | {each.target: _options(container, each) for each in (*wanted, *parsed.tmpfs)}


def _options(container: ResolvedContainer, tmpfs: Tmpfs) -> str:
    """Return the options of a file system in memory, which has the owner and mode of the directory it covers."""
    inode = container.tree.find(tmpfs.target) or NEW_DIRECTORY
    owner = container.user if "U" in tmpfs.options else inode
    options = [*_attributes(inode, owner.uid, owner.gid), "nosuid", "nodev"]
    own = [each for each in tmpfs.options if each not in _PODMAN_TMPFS_OPTIONS]
    undone = {"suid": "nosuid", "dev": "nodev"}
    dropped = {undone.get(each) for each in own}
    return ",".join([*(each for each in options if each not in dropped), *(each for each in own if each not in undone)])


def _attributes(inode: Inode, uid: int, gid: int) -> list[str]:
    return [f"mode={inode.mode:04o}", f"uid={uid}", f"gid={gid}"]


def _run(container: ResolvedContainer) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the directories of the image's /run as file systems in memory, and the paths of everything else there."""
    top = container.tree.find(_RUN)
    if top is None or not top.is_directory:
        return {}, ()
    memory: dict[str, str] = {}
    lost: list[str] = []
    plain = NEW_DIRECTORY
    for name, inode in walk(top):
        path = posixpath.join(_RUN, os.fsdecode(name)).rstrip("/")
        if inode.kind is not Kind.DIRECTORY:
            lost.append(path)
            continue
        own = (inode.mode, inode.uid, inode.gid) != (plain.mode, plain.uid, plain.gid)
        if own or (name and not any(child.is_directory for child in inode.children.values())):
            memory[path] = ",".join([*_attributes(inode, inode.uid, inode.gid), "nosuid", "nodev"])
    return memory, tuple(lost)
