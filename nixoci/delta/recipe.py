"""How a receiver lays out one path: a recipe of a few bytes per node (docs/delta-format.md, Recipes)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nixoci.delta.format import read_varint
from nixoci.delta.scan import MAX_DEPTH, SEGMENT
from nixoci.errors import DeltaError


@dataclass(frozen=True, slots=True)
class BasePiece:
    """Piece `number` of the file `path` in the base with the index `base`."""

    base: int
    path: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Content:
    """A content of the body: `length` bytes of residue at `offset` make `size` bytes, by way of an old piece."""

    codec: int
    piece: BasePiece | None
    size: int
    offset: int
    length: int


Event = (
    tuple[Literal["copy"], int, bytes]
    | tuple[Literal["pieces"], int, bool, list[int | BasePiece]]
    | tuple[Literal["symlink"], bytes]
    | tuple[Literal["entry"], bytes]
    | tuple[Literal["directory", "end directory", "end entry"]]
)
"""A step in writing a NAR; `pieces` has the file's size, whether it is executable, and what it is made of."""


class Recipe:
    """The recipe of one path, read in place; every read is checked against the bytes that there are."""

    def __init__(self, data: bytes, start: int, *, bases: int, what: str) -> None:
        self._data = data
        self._start = self._at = start
        self._bases = bases
        self._what = what

    @classmethod
    def skim(cls, data: bytes, start: int, *, bases: int, what: str) -> tuple["Recipe", int]:
        """Check the recipe that starts at `start`; return it, and where it ends.

        Args:
            data: The recipes of all paths.
            start: Where this one starts.
            bases: How many bases there are.
            what: Names the path in errors.

        Raises:
            DeltaError: It is not a recipe.
        """
        recipe = cls(data, start, bases=bases, what=what)
        for _ in recipe.events():
            pass
        return recipe, recipe._at

    def events(self) -> Iterator[Event]:
        """Yield the steps that write the path's NAR."""
        self._at = self._start
        yield from self._node(b"", 0)

    def _node(self, path: bytes, depth: int) -> Iterator[Event]:
        kind = self._bytes(1)
        if kind == b"s":
            yield "copy", self._base(), path
        elif kind == b"c":
            yield "copy", self._base(), self._text()
        elif kind == b"l":
            yield "symlink", self._text()
        elif kind in (b"f", b"x"):
            size = self._number()
            yield "pieces", size, kind == b"x", self._pieces(size)
        elif kind == b"d" and depth < MAX_DEPTH:
            yield ("directory",)
            last = b""
            for _ in range(self._number()):
                name = self._text()
                if name <= last or name in (b".", b"..") or b"/" in name or b"\0" in name:
                    raise self._broken(f"the name {name!r} after {last!r}")
                last = name
                yield "entry", name
                yield from self._node(path + b"/" + name if path else name, depth + 1)
                yield ("end entry",)
            yield ("end directory",)
        else:
            raise self._broken(f"a node of kind {kind!r} at depth {depth}")

    def _pieces(self, size: int) -> list[int | BasePiece]:
        found: list[int | BasePiece] = []
        count = self._number() if size else 0
        if count != -(-size // SEGMENT):
            raise self._broken(f"a file of {size} bytes in {count} pieces")
        for _ in range(count):
            number = self._number()
            found.append(number - 1 if number else BasePiece(self._base(), self._text(), self._number()))
        return found

    def _base(self) -> int:
        number = self._number()
        if number >= self._bases:
            raise self._broken(f"base {number} of {self._bases}")
        return number

    def _text(self) -> bytes:
        return self._bytes(self._number())

    def _number(self) -> int:
        if self._at < len(self._data) and (byte := self._data[self._at]) < 0x80:
            self._at += 1
            return byte
        try:
            return read_varint(lambda: self._bytes(1)[0])
        except OverflowError as error:
            raise self._broken("a number of more than ten bytes") from error

    def _bytes(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) != count:
            raise self._broken(f"{count} bytes where {len(data)} are left")
        self._at += count
        return data

    def _broken(self, found: str) -> DeltaError:
        return DeltaError(f"{self._what}: its recipe has {found}; make the delta again")
