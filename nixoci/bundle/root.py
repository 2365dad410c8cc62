"""The root of a bundle: the image's tree, mounted so that nothing can write to the store.

A runtime may remount the root writable, and it creates missing mount points in it. So the store's tree itself is the
root only if it is mounted read-only and has every mount point. Otherwise the root is the image as the host has mounted
it: an overlay of the EROFS file with the tree's metadata and the store's tree with the content. An overlay above it
takes the writes, if there can be any.
"""

import stat
from collections.abc import Iterable
from enum import Enum
from pathlib import PurePosixPath

from nixoci.container.model import WritableLayer
from nixoci.container.places import root_directory
from nixoci.container.resolve import ResolvedContainer
from nixoci.tree.model import Inode, Kind, walk

_READ_BY_ALL = 0o444
_EXECUTED_BY_ALL = 0o111
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


class Root(Enum):
    """The kinds of root."""

    TREE = "tree"
    """The store's tree itself, read-only."""
    IMAGE = "image"
    """The mounted image, read-only."""
    VOLATILE = "volatile"
    """An overlay of the mounted image whose writes are gone when the container stops."""
    PERSISTENT = "persistent"
    """An overlay of the mounted image whose writes stay."""


def layer_volumes(container: ResolvedContainer) -> dict[str, str]:
    """Return the image's volumes that a read-only container writes to in its layer: their places there, by target.

    Each is a directory with files. A copy in memory would not be that of podman's volumes: systemd makes none, and
    those of runtimes (`tmpcopyup`) lack file capabilities, hard links and times.
    """
    if not container.declared.read_only:
        return {}
    root, tree = root_directory(container.name), container.tree
    found = {path: tree.find(path) for path in container.image_volumes}
    return {
        path: f"{root}{tree.canonical(path)}" for path, inode in found.items() if inode is not None and inode.children
    }


def choose_root(container: ResolvedContainer, mount_points: Iterable[str], *, layered: bool = False) -> Root:
    """Choose the simplest root that works for a container.

    Args:
        container: The container.
        mount_points: The targets of all its mounts, as absolute clean paths.
        layered: Some of the mounts are directories of its layer (`layer_volumes`).
    """
    declared, parsed = container.declared, container.parsed
    if layered:
        return Root.VOLATILE
    if not declared.read_only:
        return Root.PERSISTENT if declared.writable_layer is WritableLayer.PERSISTENT else Root.VOLATILE
    points = set(mount_points)
    # a path below a mount is not in the tree; the runtime creates a missing working directory
    needed = [path for path in (*points, container.workdir) if points.isdisjoint(map(str, PurePosixPath(path).parents))]
    if not all(container.tree.find(path) for path in needed):
        return Root.VOLATILE
    if parsed.named_volumes:
        return Root.IMAGE  # a new volume is copied from a tree with owners
    # a process that may mount could make the read-only tree writable
    return Root.TREE if is_plain(container.tree.root) and not parsed.capabilities.may_mount else Root.IMAGE


def is_plain(root: Inode) -> bool:
    """Return whether a process that only reads sees no difference between the store's tree and the image's.

    That is so if everything belongs to root, is readable by all, executable by all or nobody, and has only kinds and
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
