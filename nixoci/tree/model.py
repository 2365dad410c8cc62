"""The merged tree in memory: names, attributes, and the place where each file's content was put aside."""

import marshal
import struct
from array import array
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

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

T = TypeVar("T")

_NOTHING: Any = MappingProxyType({})
"""The xattrs and children of nearly all files."""


_MODE, _ID, _CONTENT, _MTIME = (1 << 12) - 1, (1 << 16) - 1, (1 << 32) - 1, (1 << 63) - 1
"""The largest values of the fields of a packed file."""

_SYMLINK = struct.Struct("<HHHQ")
"""The mode, uid, gid and mtime of a packed symlink, which its target follows."""

_SEALED = 4
"""The number of files that may be sealed for each that is packed."""

_PARTS = 61
"""The number of parts in which files are sorted, a prime: sorting takes five times the memory of what is sorted."""


@dataclass(slots=True, eq=False, init=False)
class Inode:
    """A file of any kind with its attributes. Hardlinks are two names for one object.

    `mode` holds the permission, suid, sgid and sticky bits (0o7777), `mtime` nanoseconds since the epoch,
    `device` the major and minor numbers of a device node. `content` is the number, from 1, of the file that has the
    bytes of a regular file (`nixoci.tree.contents`). It is None if they are all zeros, or if they were not put aside (a
    tree that was read from a dump). Only a directory's `children` can be changed.
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: dict[bytes, bytes]
    size: int
    target: bytes
    device: tuple[int, int]
    content: int | None
    children: "Children"

    # written out, because the one that dataclass makes takes twice as long
    def __init__(
        self,
        kind: Kind,
        mode: int = 0o755,
        *,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
        xattrs: dict[bytes, bytes] = _NOTHING,
        size: int = 0,
        target: bytes = b"",
        device: tuple[int, int] = (0, 0),
        content: int | None = None,
        children: "Children" = _NOTHING,
    ) -> None:
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.xattrs = xattrs
        self.size = size
        self.target = target
        self.device = device
        self.content = content
        self.children = Children() if kind is Kind.DIRECTORY and children is _NOTHING else children

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return self.kind is Kind.DIRECTORY


class Children(MutableMapping[bytes, Inode]):
    """The files in a directory by their names.

    An image may have a million files, so those that `pack` gets are kept as one number each, in a quarter of the memory
    of an `Inode`, and after `seal` as bytes, in a third of that. Such a file is a new `Inode` each time that it is
    asked for: a change of it is lost.
    """

    __slots__ = ("_objects", "_packed", "_sealed")

    def __init__(self, files: Mapping[bytes, Inode] = MappingProxyType({})) -> None:
        self._objects: dict[bytes, Inode] = dict(files) if files else _NOTHING
        self._packed: dict[bytes, int | bytes] = _NOTHING
        self._sealed = b""

    def __getitem__(self, name: bytes) -> Inode:
        return self._objects[name] if name in self._objects else _unpacked(self._open()[name])

    def __setitem__(self, name: bytes, inode: Inode) -> None:
        if name in self._open():
            del self._packed[name]
        if self._objects is _NOTHING:
            self._objects = {}
        self._objects[name] = inode

    def __delitem__(self, name: bytes) -> None:
        files = self._objects if name in self._objects else self._open()
        if name not in files:
            raise KeyError(name)
        del files[name]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._objects
        yield from self._open()

    def __len__(self) -> int:
        return len(self._objects) + len(self._open())

    def __contains__(self, name: object) -> bool:
        return name in self._objects or name in self._open()

    def get(self, name: bytes, default: T | None = None) -> Inode | T | None:  # type: ignore[override]
        """Return a file, or `default`."""
        found = self._objects.get(name)
        if found is not None:
            return found
        packed = self._open().get(name)
        return default if packed is None else _unpacked(packed)

    def pack(self, name: bytes, inode: Inode) -> bool:
        """Put a file that has no other name here; nobody else may rely on the object.

        Return whether it got packed: a directory, and a file with a rare attribute, stays an object.
        """
        packed = _pack(inode)
        if packed is None:
            self[name] = inode
            return False
        if name in self._objects:
            del self._objects[name]
        if self._open() is _NOTHING:
            self._packed = {}
        self._packed[name] = packed
        return True

    def share(self, name: bytes) -> Inode | None:
        """Return a file, if there is one, which is the same object from now on."""
        inode = self.get(name)
        if inode is not None:
            self[name] = inode
        return inode

    def seal(self) -> None:
        """Keep the packed files as bytes until one of them is asked for; this takes time by their number."""
        if self._packed:
            self._sealed = marshal.dumps(self._packed)
            self._packed = _NOTHING

    @property
    def unsealed(self) -> int:
        """The number of packed files that are not sealed."""
        return len(self._packed)

    def objects(self) -> Iterator[Inode]:
        """Yield the files that are not packed: at least all directories, and files with several names."""
        return iter(self._objects.values())

    def in_order(self) -> Iterator[tuple[bytes, Inode]]:
        """Yield the names in byte order, each with its file; sealed files stay sealed."""
        packed = marshal.loads(self._sealed) if self._sealed else self._packed  # noqa: S302 - this class wrote it
        names = [*self._objects, *packed]
        names.sort()
        for name in names:
            yield name, self._objects[name] if name in self._objects else _unpacked(packed[name])

    def copy(self) -> "Children":
        """Return a copy."""
        copy = Children(self._objects)
        copy._packed = self._packed.copy()
        copy._sealed = self._sealed
        return copy

    def _open(self) -> dict[bytes, int | bytes]:
        """Return the packed files, which are not sealed from now on."""
        if self._sealed:
            self._packed = marshal.loads(self._sealed)  # noqa: S302 - this class wrote it
            self._sealed = b""
        return self._packed


class Packer:
    """Packs files into directories, and seals a directory once another gets files.

    A file may go to a sealed directory, which then is opened and later sealed again. So that this takes no time by the
    square of their number, all seals together may take that of `_SEALED` files for each file that was packed.
    """

    def __init__(self) -> None:
        self._last = Children()
        self._left = 0

    def pack(self, children: Children, name: bytes, inode: Inode) -> None:
        """Put a file that has no other name there; nobody else may rely on the object."""
        if not children.pack(name, inode):
            return
        self._left += _SEALED
        if children is not self._last:
            number = self._last.unsealed
            if number <= self._left:
                self._left -= number
                self._last.seal()
            self._last = children


def _pack(inode: Inode) -> int | bytes | None:
    """Return a regular file as a number, a symlink as bytes; None for anything that is rare."""
    if inode.xattrs or inode.uid > _ID or inode.gid > _ID or not 0 <= inode.mtime <= _MTIME:
        return None
    if inode.kind is Kind.SYMLINK:
        return _SYMLINK.pack(inode.mode, inode.uid, inode.gid, inode.mtime) + inode.target
    content = inode.content or 0
    if inode.kind is not Kind.REGULAR or content > _CONTENT:
        return None
    # the size last: it takes no more digits than it has
    number = inode.size << 63 | inode.mtime
    return ((number << 32 | content) << 32 | inode.uid << 16 | inode.gid) << 12 | inode.mode


def _unpacked(file: int | bytes) -> Inode:
    if isinstance(file, bytes):
        mode, uid, gid, mtime = _SYMLINK.unpack_from(file)
        return Inode(Kind.SYMLINK, mode=mode, uid=uid, gid=gid, mtime=mtime, target=file[_SYMLINK.size :])
    return Inode(
        Kind.REGULAR,
        mode=file & _MODE,
        gid=file >> 12 & _ID,
        uid=file >> 28 & _ID,
        content=file >> 44 & _CONTENT or None,
        mtime=file >> 76 & _MTIME,
        size=file >> 139,
    )


def walk(root: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Yield `(path, inode)` for every name in the tree, parents first, siblings in byte order.

    Paths are relative; the root's is `b""`. A hardlinked file is yielded once for each name.
    """
    yield b"", root
    # of each directory on the way its path, and its files that are left
    stack = [(b"", root.children.in_order())] if root.is_directory else []
    while stack:
        prefix, files = stack[-1]
        for name, inode in files:
            path = prefix + name
            yield path, inode
            if inode.kind is Kind.DIRECTORY:
                stack.append((path + b"/", inode.children.in_order()))
                break
        else:
            stack.pop()


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
    directories = [root] if root.is_directory else []
    while directories:
        for child in directories.pop().children.objects():
            if child.is_directory:
                directories.append(child)
            else:
                number = id(child)
                parts[number % _PARTS].append(number)
    counts = ((number, sum(1 for _ in same)) for part in parts for number, same in groupby(sorted(part)))
    return {number: count for number, count in counts if count > 1}
