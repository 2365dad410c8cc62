"""Mount points that a tree lacks: containers need them, and cannot create them in a read-only tree.

Root's podman creates them in the writable layer above the image. A rootless podman cannot, since all directories of the
Nix store belong to another user. So the rootfs gets the missing ones. The metadata dump does not: where podman mounts
the tree by its metadata, the image is unchanged.
"""

from collections.abc import Iterable
from dataclasses import replace

from nixoci.tree.limits import MAX_NAME, MAX_PATH
from nixoci.tree.lookup import clamped
from nixoci.tree.model import Inode, Kind

_DIRECTORIES = (b"dev", b"proc", b"run", b"run/secrets", b"sys", b"tmp", b"var/tmp")
_FILES = (b"etc/group", b"etc/hostname", b"etc/hosts", b"etc/passwd", b"etc/resolv.conf", b"run/.containerenv")
_MTAB = b"etc/mtab"
_MOUNTS = b"/proc/mounts"


def with_mount_points(root: Inode, own: Iterable[str]) -> Inode:
    """Return a copy of a tree with the mount points of every container, and directories at the image's `own` paths.

    The tree itself stays as it is. A path is skipped if it passes through a symlink or a file, or if no file system
    holds it.
    """
    top = _copy(root)
    copies = {top}
    paths = [clamped(path).encode("utf-8", "surrogateescape") for path in own]
    for path in (*_DIRECTORIES, *filter(_is_possible, paths)):
        _add(top, path, Inode(Kind.DIRECTORY), copies)
    for path in _FILES:
        _add(top, path, Inode(Kind.REGULAR, mode=0o644), copies)
    _add(top, _MTAB, Inode(Kind.SYMLINK, mode=0o777, target=_MOUNTS), copies)
    return top


def _add(top: Inode, path: bytes, inode: Inode, copies: set[Inode]) -> None:
    """Add `inode` at a path that the tree lacks; a directory on the way that is not among `copies` is copied first."""
    *parents, name = path.split(b"/")
    directory = top
    for part in parents:
        child = directory.children.get(part) or Inode(Kind.DIRECTORY)
        if not child.is_directory:
            return
        if child not in copies:
            child = _copy(child)
            copies.add(child)
            directory.children[part] = child
        directory = child
    if name:
        directory.children.setdefault(name, inode)


def _is_possible(path: bytes) -> bool:
    return b"\0" not in path and len(path) <= MAX_PATH and max(map(len, path.split(b"/"))) <= MAX_NAME


def _copy(directory: Inode) -> Inode:
    return replace(directory, children=directory.children.copy())
