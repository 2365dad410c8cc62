"""The tree that layers collapse to, in memory: names, attributes and where each file's content was put aside."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """The type of a file; the values are the tar type flags (POSIX pax, ustar typeflag)."""

    REGULAR = b"0"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


@dataclass(slots=True, eq=False)
class Inode:
    """A file of any kind with its attributes. Hardlinks are two names for one object.

    `mode` holds the permission, suid, sgid and sticky bits (0o7777), `mtime` nanoseconds since the epoch,
    `device` the major and minor numbers of a device node. `content` says where
    the bytes of a regular file were put aside (`nixoci.tree.contents`), None where it has none but zeros, or
    where nobody kept them (a tree that was read back from a dump).
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
        """Whether this is a directory."""
        return self.kind is Kind.DIRECTORY


def walk(root: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Yield `(path, inode)` for every name in the tree, parents first, siblings in byte order.

    Paths are relative and have no leading slash; the root's is `b""`. A hardlinked file is yielded once
    per name; the first one that is yielded is its canonical name.
    """
    stack: list[tuple[bytes, Inode]] = [(b"", root)]
    while stack:
        path, inode = stack.pop()
        yield path, inode
        if inode.is_directory:
            prefix = path + b"/" if path else b""
            stack.extend((prefix + name, inode.children[name]) for name in sorted(inode.children, reverse=True))
