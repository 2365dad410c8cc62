"""Mount points that a tree lacks: containers need them, and cannot make them in a tree that is only read.

Root's podman makes them in the writable layer above the image. A rootless one may not: all directories of the Nix
store belong to somebody else. So the rootfs gets those that the image lacks; the metadata dump does not, and where
podman mounts the tree by its metadata the image is as it was.
"""

import posixpath
from collections.abc import Iterable

from nixoci.tree.model import Inode, Kind

_DIRECTORIES = (b"dev", b"proc", b"run", b"run/secrets", b"sys", b"tmp", b"var/tmp")
_FILES = (b"etc/group", b"etc/hostname", b"etc/hosts", b"etc/passwd", b"etc/resolv.conf", b"run/.containerenv")
_MTAB = b"etc/mtab"
_MOUNTS = b"/proc/mounts"


def add_mount_points(root: Inode, own: Iterable[str]) -> None:
    """Add to a tree the mount points that it lacks: those of every container, and directories of the image's `own`.

    A path with a symlink or a file in its way is left alone: what it leads to is the image's affair.
    """
    for path in (*_DIRECTORIES, *_clean(own)):
        _add(root, path, Inode(Kind.DIRECTORY))
    for path in _FILES:
        _add(root, path, Inode(Kind.REGULAR, mode=0o644))
    _add(root, _MTAB, Inode(Kind.SYMLINK, mode=0o777, target=_MOUNTS))


def _clean(paths: Iterable[str]) -> list[bytes]:
    """Return paths relative to the root, `..` clamped there."""
    return [posixpath.normpath(f"/{path}").lstrip("/").encode("utf-8", "surrogateescape") for path in paths]


def _add(root: Inode, path: bytes, inode: Inode) -> None:
    *parents, name = path.split(b"/")
    directory = root
    for part in parents:
        directory = directory.children.setdefault(part, Inode(Kind.DIRECTORY))
        if not directory.is_directory:
            return
    if name:
        directory.children.setdefault(name, inode)
