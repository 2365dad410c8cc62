"""The payload: covers, corrections, the differences from the prediction, and the bytes in no cover."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.layout import Bytes, Layout, Numbers
from nixoci.delta.elf.numbers import fold, pack_column, unfold, unpack_column
from nixoci.delta.format.numbers import pack_text, pack_varint, read_varint

_MAX_NUMBERS = 1 << 22
_COLUMNS = 9
_SHORT, _RUNS = 64, 1 << 14
"""Bytes of the longest run of differences that is short, and the number of such runs that are added together."""

MAX_FILE = 32 << 20
"""Bytes of the largest file; the memory for its references takes some times as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Runs of bytes that differ from the prediction.

    Attributes:
        at: Their offsets in the new file.
        lengths: Their lengths.
        values: What is added to the bytes of all runs.
    """

    at: Numbers
    lengths: Numbers
    values: Bytes

    def add_to(self, new: Bytes) -> None:
        """Change the bytes of a prediction to what is there; short runs together, some at a time to bound memory."""
        ends = np.cumsum(self.lengths)
        starts = ends - self.lengths
        for run in np.flatnonzero(self.lengths > _SHORT).tolist():
            at = self.at[run]
            new[at : at + self.lengths[run]] += self.values[starts[run] : ends[run]]
        short = np.flatnonzero(self.lengths <= _SHORT)
        for first in range(0, len(short), _RUNS):
            runs = short[first : first + _RUNS]
            lengths = self.lengths[runs]
            inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            values = self.values[np.repeat(starts[runs], lengths) + inside]
            new[np.repeat(self.at[runs], lengths) + inside] += values

    def add_to_part(self, part: Bytes, start: int) -> None:
        """Change the bytes of a part of a prediction that begins at an offset in the new file."""
        run_ends = self.at + self.lengths
        first, last = int(np.searchsorted(run_ends, start, "right")), int(np.searchsorted(self.at, start + len(part)))
        if first >= last:
            return
        at, ends = self.at[first:last], np.cumsum(self.lengths)
        begin, until = min(start, int(at[0])), max(start + len(part), int(run_ends[last - 1]))  # with all of the runs
        longer = np.zeros(until - begin, np.uint8)
        inside = longer[start - begin :][: len(part)]
        inside[:] = part
        values = self.values[ends[first] - self.lengths[first] : ends[last - 1]]
        Differences(at=at - begin, lengths=self.lengths[first:last], values=values).add_to(longer)
        part[:] = inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """The parts of a payload.

    Attributes:
        size: Bytes of the new file.
        skip: Offsets of opcodes in the new file that do not count.
        exact: Old addresses, and how far from where the covers say they are in the new file.
        covers: The covers.
        differences: The differences from the prediction.
        rest: The bytes of the new file, in label form, that are in no cover.
    """

    size: int
    skip: Numbers
    exact: tuple[Numbers, Numbers]
    covers: Covers
    differences: Differences
    rest: bytes

    def pack(self) -> bytes:
        """Return the bytes of the payload."""
        differences = self.differences
        ends = differences.at + differences.lengths
        columns = [
            _pack_ascending(self.skip),
            _pack_ascending(self.exact[0]),
            pack_column(fold(self.exact[1])),
            *self.covers.pack(),
            pack_column(differences.at - np.concatenate([[0], ends])[:-1]),
            pack_column(differences.lengths - 1),
            differences.values.tobytes(),
        ]
        return pack_varint(self.size) + b"".join(map(pack_text, columns)) + self.rest

    def apply(self, predicted: Bytes) -> Bytes:
        """Return the new file, made from an old one."""
        new = self.covers.filled(predicted, self.rest)
        self.differences.add_to(new)
        return new

    def part(self, old: Bytes, start: int, stop: int) -> bytes:
        """Return the bytes between two offsets of the new file, made from an old one; fewer at its end."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        part = np.frombuffer(self.covers.part(old, self.rest, start, stop), np.uint8)
        self.differences.add_to_part(part, start)
        return part.tobytes()

    @classmethod
    def unpack(cls, data: bytes, old_size: int, limit: int) -> "Payload":
        """Undo `pack`.

        Args:
            data: The payload.
            old_size: Bytes of the old file.
            limit: Largest size of the new file.

        Raises:
            ValueError: The payload contradicts itself or the sizes.
        """
        source = io.BytesIO(data)
        try:
            size = read_varint(lambda: source.read(1)[0])
            columns = [source.read(read_varint(lambda: source.read(1)[0])) for _ in range(_COLUMNS)]
        except (IndexError, OverflowError) as error:
            raise ValueError("a payload that is cut short") from error
        if size > min(limit, MAX_FILE) or old_size > MAX_FILE:
            raise ValueError(f"a content of {size} bytes from one of {old_size}, at most {limit} are allowed")
        rest = source.read()
        covers = Covers.unpack(columns[3:6], old_size, size)
        joined = int(covers.length.sum())
        if joined + len(rest) != size:
            raise ValueError(f"a content of {size} bytes made from {joined + len(rest)}")
        lengths = unpack_column(columns[7], _MAX_NUMBERS) + 1
        ends = unpack_column(columns[6], _MAX_NUMBERS)
        values = np.frombuffer(columns[8], np.uint8)
        if len(ends) != len(lengths) or int(lengths.sum()) != len(values):
            raise ValueError(f"{len(values)} differences in {len(ends)} places and {len(lengths)} runs")
        ends = np.cumsum(ends + lengths)
        if len(ends) and ends[-1] > size:
            raise ValueError(f"a difference at byte {ends[-1]} of {size}")
        places, shifts = unpack_column(columns[1], _MAX_NUMBERS), unfold(unpack_column(columns[2], _MAX_NUMBERS))
        if len(places) != len(shifts):
            raise ValueError(f"{len(shifts)} corrections of {len(places)} addresses")
        return cls(
            size=size,
            skip=np.cumsum(unpack_column(columns[0], _MAX_NUMBERS)),
            exact=(np.cumsum(places), shifts),
            covers=covers,
            differences=Differences(at=ends - lengths, lengths=lengths, values=values),
            rest=rest,
        )


def difference(covers: Covers, old: Bytes, predicted: Bytes, labels: Bytes, new: Layout) -> tuple[Differences, bytes]:
    """Return the differences of the covered parts of a new file from the prediction, and the other bytes.

    In the headers they are the differences from the old file itself, because the prediction depends on the new headers.
    """
    rest = covers.rest(labels)
    headers = held_headers(covers.filled(old, rest), new)
    values = covers.filled(predicted, rest)
    write_headers(values, new, headers)
    np.subtract(labels, values, out=values)  # each copy of a file may take 32 MiB
    changed = np.flatnonzero(values)
    first = np.flatnonzero(np.diff(changed, prepend=-2) > 1)
    lengths = np.diff(np.append(first, len(changed)))
    differences = Differences(at=changed[first], lengths=lengths, values=values[changed])
    return differences, rest


def held_headers(data: Bytes, layout: Layout) -> list[Bytes]:
    """Return copies of the headers of a file."""
    return [data[start:end].copy() for start, end in layout.headers]


def write_headers(data: Bytes, layout: Layout, headers: Iterable[Bytes]) -> None:
    """Write the headers of a file."""
    for (start, end), header in zip(layout.headers, headers, strict=True):
        data[start:end] = header


def _pack_ascending(numbers: Numbers) -> bytes:
    return pack_column(np.diff(numbers, prepend=0))
