"""A recipe: the description of one store path by its differences from bases (docs/delta-format.md, Recipes).

Sender and receiver share the nodes. The receiver reads the entries of a directory while it goes through them, so that
a recipe takes no memory however large it is.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from nixoci.delta.format.model import MAX_CONTENTS, MAX_DEPTH, SEGMENT_SIZE
from nixoci.delta.format.numbers import Cursor, pack_text, pack_varint

COPY, COPY_REWRITTEN = b"=", b"~"
COUNTERPART = b"@"
SYMLINK = b"l"
FILE, EXECUTABLE = b"f", b"x"
SEGMENTED_FILE, SEGMENTED_EXECUTABLE = FILE.upper(), EXECUTABLE.upper()
DIRECTORY = b"d"
CHANGED, CHANGED_REWRITTEN = b"D", b"R"
DROP = b"-"

EXPLICIT, OLD, OLD_REWRITTEN, FIRST_CONTENT = range(4)
"""The numbers of a segment: an old segment that is named, or that of the counterpart, as it is or rewritten; from
`FIRST_CONTENT` on, a content."""

_MAX_PATH = 4096
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class OldNode:
    """The node of the base with the number `base` at the path `name` below `parent`, or below the base itself."""

    base: int
    name: bytes
    parent: "OldNode | None" = None

    @property
    def path(self) -> bytes:
        """The path inside of the base."""
        names, node = [], self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return b"/".join([*([node.name] if node.name else []), *reversed(names)])

    def entry(self, name: bytes) -> "OldNode":
        """Return the entry of this name."""
        return OldNode(self.base, name, self)


@dataclass(frozen=True, slots=True)
class OldSegment:
    """The segment with an index in an old file, its references rewritten or not."""

    node: OldNode
    index: int
    rewritten: bool = False


Segment = int | OldSegment
"""A segment of a new file: the number of a content, or an old segment."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of an old node, its references rewritten or not."""

    old: OldNode
    rewritten: bool


@dataclass(frozen=True, slots=True)
class Symlink:
    """A new symlink."""

    target: bytes


@dataclass(slots=True)
class File:
    """A new file, joined from segments. `size` is None for a file that is one content, whole."""

    executable: bool
    size: int | None
    segments: Sequence[Segment]
    old: OldNode | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of new entries; or, with `changed`, those of an old one that differ, the others being copied."""

    entries: "Iterable[tuple[bytes, Node | Drop]]"
    changed: Literal["copy", "rewrite"] | None = None
    old: OldNode | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """An entry of an old directory that the new one lacks."""


Node = Copy | Symlink | File | Directory
"""A node of a new store path. `old` is its counterpart, the old node that it is made from, or None without one. For the
sender, that is one that the recipe names; `IMPLIED` or None stand for the one that the receiver knows anyway."""

IMPLIED = OldNode(-1, b"")
"""For the sender: the counterpart of a node, and of a segment the one with the same index there."""


class RecipeWriter:
    """Writes recipes.

    Args:
        base: Returns the number of a base in the header, from its number in nodes.
    """

    def __init__(self, base: Callable[[int], int]) -> None:
        self._base = base

    def pack(self, node: Node) -> bytes:
        """Return the recipe of a node."""
        match node:
            case Copy():
                return self._counterpart(node.old) + (COPY_REWRITTEN if node.rewritten else COPY)
            case Symlink():
                return SYMLINK + pack_text(node.target)
            case File():
                return self._counterpart(node.old) + self._file(node)
            case Directory():
                entries = list(node.entries)
                parts = [self._counterpart(node.old), _letter(node), pack_varint(len(entries))]
                for name, entry in entries:
                    parts += [pack_text(name), DROP if isinstance(entry, Drop) else self.pack(entry)]
                return b"".join(parts)
            case _:
                assert_never(node)

    def _counterpart(self, old: OldNode | None) -> bytes:
        return b"" if old is None or old is IMPLIED else COUNTERPART + self._place(old)

    def _place(self, old: OldNode) -> bytes:
        return pack_varint(self._base(old.base)) + pack_text(old.path)

    def _file(self, file: File) -> bytes:
        if file.size is None:
            (content,) = (segment for segment in file.segments if isinstance(segment, int))
            return (EXECUTABLE if file.executable else FILE) + pack_varint(content)
        parts = [SEGMENTED_EXECUTABLE if file.executable else SEGMENTED_FILE, pack_varint(file.size)]
        for segment in file.segments:
            if isinstance(segment, int):
                parts.append(pack_varint(segment + FIRST_CONTENT))
            elif segment.node is IMPLIED:
                parts.append(pack_varint(OLD_REWRITTEN if segment.rewritten else OLD))
            else:
                parts += [pack_varint(EXPLICIT), self._place(segment.node), pack_varint(segment.index)]
        return b"".join(parts)


def _letter(directory: Directory) -> bytes:
    match directory.changed:
        case None:
            return DIRECTORY
        case "copy":
            return CHANGED
        case "rewrite":
            return CHANGED_REWRITTEN
        case _:
            assert_never(directory.changed)


class RecipeReader(Cursor):
    """Reads the recipe of one path in place.

    Args:
        data: The recipes of all paths.
        start: Offset of this one.
        predecessor: The index of the base that is the predecessor of the path, or None.
        bases: The number of bases.
        what: Names the path in errors.
        segment_size: Bytes of a segment.
    """

    def __init__(
        self,
        data: bytes,
        start: int,
        *,
        predecessor: int | None,
        bases: int,
        what: str,
        segment_size: int = SEGMENT_SIZE,
    ) -> None:
        super().__init__(data, start, f"{what}: its recipe")
        self._start = start
        self._top = None if predecessor is None else OldNode(predecessor, b"")
        self._bases = bases
        self._segment_size = segment_size
        self._first_uses: dict[int, OldSegment | None] = {}
        self._repeated: set[int] = set()

    def check(self, first_uses: dict[int, OldSegment | None], repeated: set[int]) -> int:
        """Check the recipe and return the offset of its end.

        Args:
            first_uses: The old segment at the first use of each content; those of this recipe are added.
            repeated: The contents that are used again; those of this recipe are added.

        Raises:
            DeltaError: It is not a recipe.
        """
        self._first_uses, self._repeated = first_uses, repeated
        for _ in walk(self.node()):
            pass
        self._first_uses, self._repeated = {}, set()
        return self._at

    def node(self) -> Node:
        """Return the path's node. Entries of directories are read when they are iterated over, in order and once.

        Raises:
            DeltaError: It is not a recipe, also from the entries.
        """
        self._at = self._start
        node = self._node(self._top, 0)
        if isinstance(node, Drop):
            raise self._broken("a path that is dropped")
        return node

    def _node(self, old: OldNode | None, depth: int, *, droppable: bool = False) -> Node | Drop:
        letter = self._bytes(1)
        if letter == COUNTERPART:
            old, letter, droppable = self._place(), self._bytes(1), False
        if letter == DROP and droppable:
            return Drop()
        if letter in (COPY, COPY_REWRITTEN):
            return Copy(self._existing(old), rewritten=letter == COPY_REWRITTEN)
        if letter == SYMLINK:
            return Symlink(self._packed_text())
        if letter in (DIRECTORY, CHANGED, CHANGED_REWRITTEN) and depth < MAX_DEPTH:
            return self._directory(letter, old, depth)
        return self._file(letter, old, depth)

    def _file(self, letter: bytes, old: OldNode | None, depth: int) -> File:
        if letter in (FILE, EXECUTABLE):
            return File(letter == EXECUTABLE, None, [self._content(self._number(), old, 0)], old)
        if letter in (SEGMENTED_FILE, SEGMENTED_EXECUTABLE):
            size = self._number()
            return File(letter == SEGMENTED_EXECUTABLE, size, self._segments(size, old), old)
        raise self._broken(f"a node of kind {letter!r} at depth {depth}")

    def _directory(self, letter: bytes, old: OldNode | None, depth: int) -> Directory:
        if letter == DIRECTORY:
            return Directory(self._entries(old, depth, changed=False), None, old)
        entries = self._entries(self._existing(old), depth, changed=True)
        return Directory(entries, "copy" if letter == CHANGED else "rewrite", old)

    def _entries(self, old: OldNode | None, depth: int, *, changed: bool) -> Iterator[tuple[bytes, Node | Drop]]:
        last = b""
        for _ in range(self._number()):
            name = self._packed_text()
            if name <= last or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > _MAX_NAME:
                found, before = os.fsdecode(name[:60]), os.fsdecode(last[:60])
                raise self._broken(f"the name {found!r} of {len(name)} bytes after {before!r}")
            last = name
            below = old.entry(name) if old is not None else None
            yield name, self._node(below, depth + 1, droppable=changed)

    def _segments(self, size: int, old: OldNode | None) -> list[Segment]:
        count = -(-size // self._segment_size)
        if count > self._left:
            raise self._broken(f"{count} segments of a file where {self._left} bytes are left")
        segments: list[Segment] = []
        for index in range(count):
            number = self._number()
            if number == EXPLICIT:
                segments.append(OldSegment(self._place(), self._number()))
            elif number in (OLD, OLD_REWRITTEN):
                segments.append(OldSegment(self._existing(old), index, rewritten=number == OLD_REWRITTEN))
            else:
                segments.append(self._content(number - FIRST_CONTENT, old, index))
        return segments

    def _content(self, number: int, old: OldNode | None, index: int) -> int:
        if number >= MAX_CONTENTS:
            raise self._broken(f"content {number}, at most {MAX_CONTENTS} are allowed")
        if number not in self._first_uses:
            self._first_uses[number] = OldSegment(old, index) if old is not None else None
        else:
            self._repeated.add(number)
        return number

    def _existing(self, old: OldNode | None) -> OldNode:
        if old is None:
            raise self._broken("a copy without a predecessor")
        return old

    def _place(self) -> OldNode:
        number = self._number()
        if number >= self._bases:
            raise self._broken(f"base {number} of {self._bases}")
        path = self._packed_text()
        if len(path) > _MAX_PATH:
            raise self._broken(f"a path of {len(path)} bytes")
        return OldNode(number, path)


def walk(node: Node) -> Iterator[Node | Drop]:
    """Yield a node and every node below it, in order."""
    directories: list[Iterator[tuple[bytes, Node | Drop]]] = [iter([(b"", node)])]
    while directories:
        entry = next(directories[-1], None)
        if entry is None:
            directories.pop()
            continue
        yield entry[1]
        if isinstance(entry[1], Directory):
            directories.append(iter(entry[1].entries))
