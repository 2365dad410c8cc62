"""The merged tree in memory: names, attributes, and the place where each file's content was put aside."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

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


@dataclass(slots=True, eq=False)
class Inode:
    """A file of any kind with its attributes. Hardlinks are two names for one object.

    `mode` holds the permission, suid, sgid and sticky bits (0o7777), `mtime` nanoseconds since the epoch,
    `device` the major and minor numbers of a device node. `content` is the path of the bytes of a regular file
    (`nixoci.tree.contents`). It is None if they are all zeros, or if they were not put aside (a tree that was read
    from a dump).
    """

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    content: bytes | None = None
    children: dict[bytes, "Inode"] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return self.kind is Kind.DIRECTORY


def walk(root: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Yield `(path, inode)` for every name in the tree, parents first, siblings in byte order.

    Paths are relative; the root's is `b""`. A hardlinked file is yielded once for each name, and the first is its
    canonical name.
    """
    stack: list[tuple[bytes, Inode]] = [(b"", root)]
    while stack:
        path, inode = stack.pop()
        yield path, inode
        if inode.is_directory:
            prefix = path + b"/" if path else b""
            stack.extend((prefix + name, inode.children[name]) for name in sorted(inode.children, reverse=True))
