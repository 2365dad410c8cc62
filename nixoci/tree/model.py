"""The merged tree in memory: names, attributes, and the place where each file's content was put aside."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""


class Kind(Enum):
    """The type of a file."""

    REGULAR = "regular file"
    SYMLINK = "symlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "FIFO"


DEVICES = frozenset({Kind.CHARACTER, Kind.BLOCK})

MODES = tuple(range(0o10000))
"""Every value of `Inode.mode`: one object for all files that have it, since an image may have a million files."""

_NOTHING: Any = MappingProxyType({})
"""The xattrs and children of nearly all files."""


_PARTS = 61
"""The number of parts in which files are sorted, a prime: sorting takes five times the memory of what is sorted."""


@dataclass(slots=True, eq=False)
class Inode:
    """A file of any kind with its attributes. Hardlinks are two names for one object.

    `mode` holds the permission, suid, sgid and sticky bits (0o7777), `mtime` nanoseconds since the epoch,
    `device` the major and minor numbers of a device node. `content` is the name of the file that has the bytes of a
    regular file (`nixoci.tree.contents`). It is None if they are all zeros, or if they were not put aside (a tree that
    was read from a dump). Only a directory's `children` can be changed.
    """

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=lambda: _NOTHING)
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    content: bytes | None = None
    children: dict[bytes, "Inode"] = field(default_factory=lambda: _NOTHING)

    def __post_init__(self) -> None:
        if self.kind is Kind.DIRECTORY and self.children is _NOTHING:
            self.children = {}

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return self.kind is Kind.DIRECTORY


def walk(root: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Yield `(path, inode)` for every name in the tree, parents first, siblings in byte order.

    Paths are relative; the root's is `b""`. A hardlinked file is yielded once for each name.
    """
    stack: list[tuple[bytes, Inode]] = [(b"", root)]
    while stack:
        path, inode = stack.pop()
        yield path, inode
        if inode.is_directory:
            prefix = path + b"/" if path else b""
            stack.extend((prefix + name, inode.children[name]) for name in sorted(inode.children, reverse=True))


class Name(NamedTuple):
    """A name of a file: `first` is the first of the file's names, `links` their number."""

    path: bytes
    inode: Inode
    first: bytes
    links: int


def walk_names(root: Inode) -> Iterator[Name]:
    """Yield every name in the tree in the order of `walk`, with the first name of its file."""
    links = _hardlinked(root)
    first: dict[int, bytes] = {}
    for path, inode in walk(root):
        number = id(inode)
        if number in links:
            yield Name(path, inode, first.setdefault(number, path), links[number])
        else:
            yield Name(path, inode, path, 1)


def _hardlinked(root: Inode) -> dict[int, int]:
    """Return the number of names of each file that has several, by the `id` of its inode."""
    parts = [array("Q") for _ in range(_PARTS)]  # a dict of a million files would take ten times the memory
    directories = [root]
    while directories:
        for child in directories.pop().children.values():
            if child.is_directory:
                directories.append(child)
            else:
                number = id(child)
                parts[number % _PARTS].append(number)
    counts = ((number, sum(1 for _ in same)) for part in parts for number, same in groupby(sorted(part)))
    return {number: count for number, count in counts if count > 1}
