"""What a bundle's root is: how the image's tree is put where the runtime finds it, safe from being written to.

A runtime may remount the root writable and creates mount points in it that are missing, so the store's tree itself
is its root only where it is mounted read-only and nothing is missing. Otherwise the root is an overlay: the EROFS
file with the tree's metadata, the store's tree for the content, and above them, unless nothing will be written
either, a layer that takes every write.
"""

import stat
from collections.abc import Iterable
from enum import Enum
from pathlib import PurePosixPath

from nixoci.container.model import WritableLayer
from nixoci.container.resolve import Resolved
from nixoci.tree.model import Inode, Kind, walk

_READ_BY_ALL = 0o444
_EXECUTED_BY_ALL = 0o111
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


class Root(Enum):
    """How the root is made."""

    TREE = "tree"
    """The store's tree itself, read-only."""
    OVERLAY = "overlay"
    """An overlay that cannot be written."""
    VOLATILE = "volatile"
    """An overlay whose writes are gone when the container stops."""
    PERSISTENT = "persistent"
    """An overlay whose writes stay."""


def choose_root(resolved: Resolved, mount_points: Iterable[str], *, may_mount: bool) -> Root:
    """Choose the least that works for a container.

    Args:
        resolved: The container.
        mount_points: Everything that the runtime mounts something at, as absolute clean paths.
        may_mount: Whether its processes may mount, and so undo that a mount is read-only.
    """
    container = resolved.container
    if not container.read_only:
        return Root.PERSISTENT if container.writable_layer is WritableLayer.PERSISTENT else Root.VOLATILE
    points = set(mount_points)
    # what lies below a mount is not looked for in the tree; the working directory is created where it is missing
    needed = [path for path in (*points, resolved.workdir) if points.isdisjoint(map(str, PurePosixPath(path).parents))]
    if not all(resolved.tree.find(path) for path in needed):
        return Root.VOLATILE
    if any(not mount.is_path for mount in resolved.volumes):
        return Root.OVERLAY  # a new volume is copied from a tree with owners
    return Root.TREE if is_plain(resolved.tree.root) and not may_mount else Root.OVERLAY


def is_plain(root: Inode) -> bool:
    """Whether the store's tree alone is the image's tree to everyone who only reads it.

    So it is where everything is root's, readable by all, executable by all or by nobody, and of the kinds and
    attributes that a NAR can hold.
    """
    return all(_is_plain(inode) for _, inode in walk(root))


def _is_plain(inode: Inode) -> bool:
    if inode.uid or inode.gid or inode.xattrs or inode.kind not in {Kind.REGULAR, Kind.DIRECTORY, Kind.SYMLINK}:
        return False
    if inode.kind is Kind.SYMLINK:
        return True
    executed = inode.mode & _EXECUTED_BY_ALL
    wanted = {_EXECUTED_BY_ALL} if inode.is_directory else {0, _EXECUTED_BY_ALL}
    return inode.mode & _READ_BY_ALL == _READ_BY_ALL and executed in wanted and not inode.mode & _SPECIAL
