"""How a receiver lays out one path: a recipe of what differs from its predecessor (docs/delta-format.md, Recipes)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nixoci.delta.format.numbers import Cursor
from nixoci.delta.scan import MAX_DEPTH
from nixoci.nix_store.nar import SEGMENT

MAX_CONTENTS = 1 << 21
"""Contents of a delta; each takes some hundred bytes of memory."""

_MAX_PATH = 4096
_MAX_NAME = 255

EXPLICIT, OLD, REWRITTEN, FIRST_CONTENT = range(4)
"""What a piece's number means: an old piece that is named, that of the counterpart, as it is or rewritten; from
`FIRST_CONTENT` on, a content."""


@dataclass(frozen=True, slots=True)
class OldNode:
    """What lies in the base with the index `base` under `name`, a path, below `parent` or the top."""

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
        """Return what lies below it under that name."""
        return OldNode(self.base, name, self)


@dataclass(frozen=True, slots=True)
class OldPiece:
    """Piece `number` of an old file, its references rewritten or not."""

    node: OldNode
    number: int
    rewritten: bool = False


Event = (
    tuple[Literal["copy"], OldNode, bool]
    | tuple[Literal["content"], int, bool]
    | tuple[Literal["pieces"], int, bool, list[int | OldPiece]]
    | tuple[Literal["symlink"], bytes]
    | tuple[Literal["entry"], bytes]
    | tuple[Literal["drop"], bytes]
    | tuple[Literal["changed"], OldNode, bool]
    | tuple[Literal["directory", "end directory", "end entry"]]
)
"""A step in writing a NAR.

`copy` and `changed` say whether references are rewritten; after `changed` come the entries of a directory that differ
from the old one. `content` is a file of that one content, and whether it is executable; `pieces` has the file's size,
whether it is executable, and what it is made of.
"""


class Recipe(Cursor):
    """The recipe of one path, read in place; every read is checked against the bytes that there are.

    Args:
        data: The recipes of all paths.
        start: Where this one starts.
        predecessor: The base that the path comes after, or None.
        bases: How many bases there are.
        what: Names the path in errors.
    """

    def __init__(self, data: bytes, start: int, *, predecessor: int | None, bases: int, what: str) -> None:
        super().__init__(data, start, f"{what}: its recipe")
        self._start = start
        self._top = None if predecessor is None else OldNode(predecessor, b"")
        self._bases = bases
        self._found: dict[int, OldPiece | None] = {}

    def skim(self, found: dict[int, OldPiece | None]) -> int:
        """Check the recipe and return where it ends; add to `found` the old piece where a content is used first.

        Raises:
            DeltaError: It is not a recipe.
        """
        self._found = found
        for _ in self.events():
            pass
        self._found = {}
        return self._at

    def events(self) -> Iterator[Event]:
        """Yield the steps that write the path's NAR."""
        self._at = self._start
        yield from self._node(self._top, 0)

    def _node(self, old: OldNode | None, depth: int, *, droppable: bytes | None = None) -> Iterator[Event]:
        kind = self._bytes(1)
        if kind == b"@":
            old, kind, droppable = self._place(), self._bytes(1), None
        if kind in (b"=", b"~"):
            yield "copy", self._counterpart(old), kind == b"~"
        elif kind == b"-" and droppable is not None:
            yield "drop", droppable
        elif kind == b"l":
            yield "symlink", self._text()
        elif kind in (b"f", b"x"):
            yield "content", self._content(self._number(), old, 0), kind == b"x"
        elif kind in (b"F", b"X"):
            size = self._number()
            yield "pieces", size, kind == b"X", self._pieces(size, old)
        elif kind == b"d" and depth < MAX_DEPTH:
            yield ("directory",)
            yield from self._entries(old, depth, changed=False)
        elif kind in (b"D", b"R") and depth < MAX_DEPTH:
            yield "changed", self._counterpart(old), kind == b"R"
            yield from self._entries(old, depth, changed=True)
        else:
            raise self._broken(f"a node of kind {kind!r} at depth {depth}")

    def _entries(self, old: OldNode | None, depth: int, *, changed: bool) -> Iterator[Event]:
        last = b""
        for _ in range(self._number()):
            name = self._text()
            if name <= last or name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > _MAX_NAME:
                raise self._broken(f"the name {name[:60]!r} of {len(name)} bytes after {last[:60]!r}")
            last = name
            dropped = changed and self._data[self._at : self._at + 1] == b"-"
            if not dropped:
                yield "entry", name
            below = old.entry(name) if old is not None else None
            yield from self._node(below, depth + 1, droppable=name if changed else None)
            if not dropped:
                yield ("end entry",)
        yield ("end directory",)

    def _pieces(self, size: int, old: OldNode | None) -> list[int | OldPiece]:
        count = -(-size // SEGMENT)
        if count > len(self._data) - self._at:
            raise self._broken(f"{count} pieces of a file where {len(self._data) - self._at} bytes are left")
        found: list[int | OldPiece] = []
        for place in range(count):
            number = self._number()
            if number == EXPLICIT:
                found.append(OldPiece(self._place(), self._number()))
            elif number in (OLD, REWRITTEN):
                found.append(OldPiece(self._counterpart(old), place, rewritten=number == REWRITTEN))
            else:
                found.append(self._content(number - FIRST_CONTENT, old, place))
        return found

    def _content(self, number: int, old: OldNode | None, place: int) -> int:
        if number >= MAX_CONTENTS:
            raise self._broken(f"content {number}, where there may be {MAX_CONTENTS}")
        if number not in self._found:
            self._found[number] = OldPiece(old, place) if old is not None else None
        return number

    def _counterpart(self, old: OldNode | None) -> OldNode:
        if old is None:
            raise self._broken("a node like the old one, where none is named")
        return old

    def _place(self) -> OldNode:
        number = self._number()
        if number >= self._bases:
            raise self._broken(f"base {number} of {self._bases}")
        path = self._text()
        if len(path) > _MAX_PATH:
            raise self._broken(f"a path of {len(path)} bytes")
        return OldNode(number, path)

    def _text(self) -> bytes:
        return self._bytes(self._number())
