"""The covers of a patch: found by HDiffPatch, packed in columns."""

from dataclasses import dataclass

import numpy as np

from nixoci.delta.elf.layout import Bytes, Numbers
from nixoci.delta.elf.numbers import fold, pack_column, unfold, unpack_column

_MAX_COVERS = 1 << 20
_HEADER_NUMBERS = 11


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

    def filled(self, old: Bytes, rest: bytes) -> bytearray:
        """Return the new file: the covered parts are from the old one, the others from `rest`, one after another."""
        parts: list[memoryview] = []
        source, others = old.data, memoryview(rest)
        end = used = 0
        for start, at, length in zip(self.old.tolist(), self.new.tolist(), self.length.tolist(), strict=True):
            parts += others[used : used + at - end], source[start : start + length]
            used, end = used + at - end, at + length
        parts.append(others[used:])
        return bytearray().join(parts)

    def rest(self, new: Bytes) -> bytes:
        """Return the parts of the new file that are in no cover, joined."""
        ends = [0, *(self.new + self.length).tolist()]
        starts = [*self.new.tolist(), len(new)]
        source = new.data
        return b"".join(source[end:start] for end, start in zip(ends, starts, strict=True))


def patch_covers(patch: bytes) -> Covers:
    """Return the covers of a patch by HDiffPatch (`HDIFF13`, without its magic number and not compressed)."""
    at = 0

    def number(tag_bits: int = 0) -> tuple[int, int]:
        """Return a number with the highest bits first, and the tag in the first bits."""
        nonlocal at
        first, bits = patch[at], 7 - tag_bits
        value, more = first & (1 << bits) - 1, first >> bits & 1
        at += 1
        while more:
            value, more = value << 7 | patch[at] & 0x7F, patch[at] >> 7
            at += 1
        return value, first >> (8 - tag_bits)

    header = [number()[0] for _ in range(_HEADER_NUMBERS)]
    rows = []
    old = new = 0
    for _ in range(header[2]):
        step, backward = number(1)
        old += -step if backward else step
        new += number()[0]
        length = number()[0]
        rows.append((old, new, length))
        old, new = old + length, new + length
    columns = np.array(rows, np.int64).reshape(-1, 3)
    kept = columns[columns[:, 2] > 0]
    return Covers(old=kept[:, 0], new=kept[:, 1], length=kept[:, 2])
