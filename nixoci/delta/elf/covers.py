"""The covers of a patch, packed in columns."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nixoci.delta.elf.layout import Bytes, Numbers
from nixoci.delta.elf.numbers import fold, pack_column, unfold, unpack_column

_MAX_COVERS = 1 << 20
_SOME = 1 << 14
"""Covers that are objects of Python at a time: each takes some hundred bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covers:
    """Parts of the old file that parts of the new one are made from, in the order of the new file.

    Attributes:
        old: Their offsets in the old file.
        new: Their offsets in the new file.
        length: Their bytes.
    """

    old: Numbers
    new: Numbers
    length: Numbers

    def pack(self) -> list[bytes]:
        """Return columns: changes of the distance from old to new, gaps between covers in the new file, and lengths."""
        shifts = self.old - self.new
        gaps = self.new - np.concatenate([[0], self.new + self.length])[:-1]
        return [pack_column(column) for column in (fold(np.diff(shifts, prepend=0)), gaps, self.length)]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int]]) -> "Covers":
        """Return covers of their old offset, new offset and length; those of no bytes are left out."""
        columns = np.array([row for row in rows if row[2]], np.int64).reshape(-1, 3)
        return cls(old=columns[:, 0], new=columns[:, 1], length=columns[:, 2])

    @classmethod
    def unpack(cls, columns: list[bytes], old_size: int, new_size: int) -> "Covers":
        """Undo `pack`.

        Raises:
            ValueError: A cover is not in one of the files.
        """
        shifts, gaps, lengths = (unpack_column(column, _MAX_COVERS) for column in columns)
        if not len(shifts) == len(gaps) == len(lengths):
            raise ValueError(f"columns of {len(shifts)}, {len(gaps)} and {len(lengths)} covers")
        ends = np.cumsum(gaps + lengths)
        new = ends - lengths
        covers = cls(old=new + np.cumsum(unfold(shifts)), new=new, length=lengths)
        if len(ends) and (
            lengths.min() < 1 or ends[-1] > new_size or covers.old.min() < 0 or (covers.old + lengths).max() > old_size
        ):
            raise ValueError("a cover of no bytes, or of bytes that are not in the file")
        return covers

    def filled(self, old: Bytes, rest: bytes) -> Bytes:
        """Return the new file: the covered parts are from the old one, the others from `rest`, one after another."""
        source, others = old.data, memoryview(rest)
        filled = np.empty(int(self.length.sum()) + len(rest), np.uint8)
        made = filled.data
        end = used = 0
        for first in range(0, len(self.length), _SOME):
            rows = (column[first : first + _SOME].tolist() for column in (self.old, self.new, self.length))
            for start, at, length in zip(*rows, strict=True):
                made[end:at] = others[used : used + at - end]
                made[at : at + length] = source[start : start + length]
                used, end = used + at - end, at + length
        made[end:] = others[used:]
        return filled

    def part(self, old: Bytes, rest: bytes, start: int, stop: int) -> bytearray:
        """Return the bytes of the new file between two offsets that are in it, as `filled` makes them."""
        made, source, others = bytearray(stop - start), old.data, memoryview(rest)
        first, last = int(np.searchsorted(self.new + self.length, start, "right")), int(np.searchsorted(self.new, stop))
        end, covered = start, int(self.length[:first].sum())
        for number in range(first, last, _SOME):
            chosen = slice(number, min(number + _SOME, last))
            rows = (column[chosen].tolist() for column in (self.old, self.new, self.length))
            for there, at, length in zip(*rows, strict=True):
                begin, until = max(at, start), min(at + length, stop)
                made[end - start : begin - start] = others[end - covered : begin - covered]
                made[begin - start : until - start] = source[there + begin - at : there + until - at]
                end, covered = until, covered + length
        made[end - start :] = others[end - covered : stop - covered]
        return made

    def rest(self, new: Bytes) -> bytes:
        """Return the parts of the new file that are in no cover, joined."""
        ends = [0, *(self.new + self.length).tolist()]
        starts = [*self.new.tolist(), len(new)]
        source = new.data
        return b"".join(source[end:start] for end, start in zip(ends, starts, strict=True))
