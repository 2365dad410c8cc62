"""References in the instructions of x86-64, found by the bytes of opcodes: calls, jumps, operands relative to RIP.

Instructions are not decoded one after another: any bytes that look like an opcode count, if the target that follows
them is in the file. What is no reference after all costs little, since it is changed alike in both files.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nixoci.delta.elf.fields import WORD, Fields, Form, numbers_at_each_offset, within
from nixoci.delta.elf.layout import Bytes, Flags, Layout, Numbers, Section
from nixoci.delta.elf.opcodes import ADDRESS, CALL, JUMP, MODRM_MASK, OPERAND, RIP, shapes

_FORMS = {CALL: Form.LABEL, JUMP: Form.DISTANCE, OPERAND: Form.LABEL, ADDRESS: Form.ADDRESS}
_LONGEST = 12
"""Bytes at the end of a section in which no reference is looked for."""
_REACH = 10
"""Bytes of the longest instruction up to the end of its reference."""
_BLOCK = 1 << 17
_PART = 1 << 20
"""Bytes that are looked at together, and those of which references are read together: they fit into the caches."""
_MOSTLY = 0.8
"""The part of the places up to which it takes less time to leave out the others than to read them."""
_GAP = 64
"""Most bytes between two sections that are looked at together."""
_MAX_NUMBER = 1 << 30
"""Offsets and addresses up to which no sum of one and a distance that is in the file exceeds 32 bits."""
_HALF, _WHOLE = 1 << 31, 1 << 32
_NONE = np.zeros(0, np.int32)


@dataclass(slots=True)
class _Run:
    """Code sections one after another.

    Attributes:
        start: The offset at which the first one begins.
        moved: The difference of addresses and offsets in them.
        stops: The offsets of the ends of all but the last bytes of each, where no reference is looked for.
        starts: The offsets at which the others begin.
    """

    start: int
    moved: int
    stops: list[int]
    starts: list[int]

    @classmethod
    def of(cls, section: Section) -> Self:
        """Return a run of one section."""
        return cls(section.offset, section.address - section.offset, [section.offset + section.size - _LONGEST], [])

    def add(self, section: Section) -> bool:
        """Add a section; return whether it follows the last one."""
        gap = section.offset - (self.stops[-1] + _LONGEST)
        follows = 0 <= gap <= _GAP and section.address - section.offset == self.moved and section.size > _LONGEST
        if follows:
            self.starts.append(section.offset)
            self.stops.append(section.offset + section.size - _LONGEST)
        return follows

    @property
    def stop(self) -> int:
        """The offset at which the search ends."""
        return self.stops[-1]

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the offsets between which no reference is looked for."""
        return zip(self.stops, self.starts, strict=False)


@dataclass(frozen=True, slots=True)
class _ByteFilter:
    """A filter of one of the bytes of numbers in a range, by default the highest of 32 bits."""

    first: int
    count: int

    @classmethod
    def of(cls, low: int, high: int, *, bit: int = 24) -> Self:
        """Return the filter of the byte from a bit on, of the numbers in `range(low, high)`."""
        return cls(low >> bit, max(0, (high - 1 >> bit) - (low >> bit) + 1))

    def __call__(self, data: Bytes) -> Flags:
        """Return for each byte whether it passes."""
        if not self.count:
            return np.zeros(len(data), np.bool_)
        passes: Flags = data + np.uint8(-self.first & 0xFF) <= np.uint8(min(self.count - 1, 0xFF))
        return passes


class _Search:
    """The search for references in a file.

    Args:
        data: The file.
        layout: Its layout.
        labels: Whether it is in label form.
        skip: Offsets of opcodes that do not count, in order.
    """

    def __init__(self, data: Bytes, layout: Layout, *, labels: bool, skip: Numbers) -> None:
        self._data, self._labels, self._skip = data, labels, skip
        self._span, self._low = layout.span, layout.low
        self._shapes = shapes(absolute=layout.fixed)
        self._addresses: tuple[_ByteFilter, _ByteFilter] | None = None
        if layout.fixed:
            low, high = min(layout.low, _WHOLE), min(layout.low + layout.span, _WHOLE)
            self._addresses = _ByteFilter.of(low, high), _ByteFilter.of(low, high, bit=16)

    def run(self, run: _Run) -> Iterator["_Found"]:
        """Yield the references in some sections, part by part; none begins before the end of the one before it."""
        distances = self._distances(run)
        order = _Order()
        for start in range(run.start, run.stop, _PART):
            stop = min(start + _PART, run.stop)
            blocks = [self._places(at, min(at + _BLOCK, stop), run, distances) for at in range(start, stop, _BLOCK)]
            found = self._read(np.concatenate(blocks), run.moved)
            counting = found.counting
            index = order.apart(found.starts.take(counting), found.at.take(counting) + 4)
            counting = counting if index is None else counting.take(index)
            yield replace(found, counting=counting, kinds=found.kinds.take(counting))

    def _distances(self, run: _Run) -> _ByteFilter:
        """Return the filter of the values of distances and labels that may be in the file."""
        first, last = run.start + run.moved, run.stop + _LONGEST + run.moved  # of all bases
        return _ByteFilter.of(max(min(0, -last), -_HALF), min(max(self._span, self._span - first), _HALF))

    def _places(self, start: int, stop: int, run: _Run, distances: _ByteFilter) -> Numbers:
        """Return the places in a part of the file where an instruction with a reference may begin.

        References are few, and most bytes are not such opcodes, so that this looks at the bytes by their kinds alone;
        there are 32 of them in a register of the processor.
        """
        data = self._data[start : stop + _REACH - 1]
        count = stop - start
        near = distances(data)
        rip = (data & np.uint8(MODRM_MASK) == np.uint8(RIP))[:-4]
        rip &= near[4:]
        first = data[:count]
        places: Flags = (first & np.uint8(0xFE) == np.uint8(0xE8)) & near[4 : count + 4]
        places |= rip[1 : count + 1]
        escape = first == np.uint8(0x0F)
        places |= escape & near[5 : count + 5]
        longer = rip[2 : count + 2] | rip[3 : count + 3]
        longer |= rip[4 : count + 4]
        longer |= rip[5:]
        escape |= first & np.uint8(0xFE) == np.uint8(0xC4)
        escape |= first == np.uint8(0x62)
        places |= longer & escape
        if self._addresses is not None:
            highest, next_byte = self._addresses
            near = highest(data)
            near[1:] &= next_byte(data)[:-1]
            second = data[1 : count + 1]
            places |= near[4 : count + 4]
            places |= near[5 : count + 5] & (second >= np.uint8(0x80))
            places |= near[6 : count + 6] & (second & np.uint8(0x47) == np.uint8(0x04))
        for begin, end in run.gaps():
            places[max(begin - start, 0) : max(end - start, 0)] = False
        if len(self._skip):
            begin, end = np.searchsorted(self._skip, [start, stop]).tolist()
            places[self._skip[begin:end] - start] = False
        return _numbered(places, start)

    def _read(self, places: Numbers, moved: int) -> "_Found":
        """Return what looks like instructions at some places."""
        data, span = self._data, self._span
        held = numbers_at_each_offset(data, "<i8")[places]  # nearly all of each instruction, read at once
        found = self._shapes.take(held & 0xFFFF)
        checked = np.flatnonzero(found >= 1 << 16)
        shape = found.take(checked)
        differ = data.take(places.take(checked) + (shape >> 16 & 0xF)) & shape >> 20 != RIP
        found[checked[differ]] = 0
        kept = np.flatnonzero(found)
        if len(kept) < len(found) * _MOSTLY:
            found, places, held = found.take(kept), places.take(kept), held.take(kept)
        # half of the bytes, if neither offsets nor addresses overflow
        number = np.int32 if abs(moved) + len(data) < _MAX_NUMBER else np.int64
        starts: NDArray[Any] = places.astype(number)
        inside = found >> 4 & 0xF
        at = starts + inside
        bases = starts + (found >> 8 & 0xFF)
        bases += moved
        kinds = (found & 0xF).astype(np.uint8)
        values = (held >> (inside << 3)).astype(np.int32)
        cut = np.flatnonzero(inside > 4)
        values[cut] = numbers_at_each_offset(data, "<i4")[at.take(cut)]
        values = values.astype(number, copy=False)
        targets = values + bases
        if self._addresses is not None:
            absolute = np.flatnonzero(kinds == ADDRESS)
            addresses = (values[absolute].astype(np.int64) & _WHOLE - 1) - self._low
            targets[absolute] = np.where(within(addresses, span), addresses, -1)
        # a value that label form replaces counts too, so that the same opcodes count on the way back
        counts = within(values, span) & (kinds & np.uint8(1)).view(np.bool_)
        counts |= within(targets, span) & (kinds != 0)
        targets = values if self._labels else targets
        return _Found(np.flatnonzero(counts), starts, kinds, at, targets, bases)


def _numbered(flags: Flags, first: int) -> Numbers:
    """Return the numbers of the flags that are set, from `first` on, in less time than numpy's `flatnonzero`.

    That takes longest for flags of which some per cent are set: it cannot foresee which.
    """
    eights = np.concatenate([flags, np.zeros(-len(flags) % 8, np.bool_)]).view(np.uint64)
    some = np.flatnonzero(eights != 0)
    inside = np.flatnonzero(eights.take(some).view(np.bool_))
    numbers: Numbers = ((some << 3) + first).take(inside >> 3)
    numbers += inside & 7
    return numbers


class _Order:
    """Chooses instructions that do not overlap, the first ones first."""

    def __init__(self) -> None:
        self._end = 0

    def apart(self, starts: NDArray[Any], ends: NDArray[Any]) -> Numbers | None:
        """Return the numbers of the instructions that begin after the end of the one before them; None for all.

        Args:
            starts: The offsets of instructions, ascending, that follow on those of the call before.
            ends: The ends of their references.
        """
        if not len(starts):
            return None
        free = np.append(starts[0] >= self._end, starts[1:] >= np.maximum(np.maximum.accumulate(ends[:-1]), self._end))
        overlapping = np.flatnonzero(~free)
        if len(overlapping):
            # one after a free one overlaps that; one after another may follow on the free one before both
            last, end = -1, self._end
            for index in overlapping[1:][np.diff(overlapping) == 1].tolist():
                if index - 1 != last:
                    end = int(ends[index - 2]) if index > 1 else end
                last = index
                if starts[index] >= end:
                    free[index] = True
                    end = int(ends[index])
            index = np.flatnonzero(free)
            if len(index):
                self._end = int(ends[index[-1]])
            return index
        self._end = int(ends[-1])
        return None


@dataclass(frozen=True, slots=True)
class _Found:
    """Bytes that look like instructions, in columns.

    Attributes:
        counting: The numbers of those that count.
        starts: The offsets of their opcodes.
        kinds: The kinds of their references; of those that count alone, once it is known which overlap.
        at: The offsets of these.
        targets: Their targets, or other numbers if they have none.
        bases: Their bases.
    """

    counting: Numbers
    starts: NDArray[Any]
    kinds: NDArray[np.uint8]
    at: NDArray[Any]
    targets: NDArray[Any]
    bases: NDArray[Any]

    def group(self, kind: int) -> tuple[NDArray[Any], ...]:
        """Return offsets, targets and bases of the references of a kind that count."""
        chosen = self.counting.take(np.flatnonzero(self.kinds == kind))
        return tuple(column.take(chosen) for column in (self.at, self.targets, self.bases))


def find_code(data: Bytes, layout: Layout, *, labels: bool, skip: Numbers) -> tuple[list[Fields], Numbers]:
    """Return the references in instructions, in label form only those that it changes, and the offsets of all opcodes.

    Args:
        data: The file.
        layout: Its layout.
        labels: Whether it is in label form.
        skip: Offsets of opcodes that do not count.
    """
    search = _Search(data, layout, labels=labels, skip=skip)
    groups: dict[int, list[tuple[NDArray[Any], ...]]] = {
        kind: [(_NONE, _NONE, _NONE)] for kind, form in _FORMS.items() if form is Form.LABEL or not labels
    }
    starts = [_NONE]
    for run in _runs(layout):
        for found in search.run(run):
            starts.append(found.starts.take(found.counting))
            for kind, group in groups.items():
                group.append(found.group(kind))
    fields = []
    for kind, group in groups.items():
        at, targets, bases = map(np.concatenate, zip(*group, strict=True))
        targets[~within(targets, layout.span)] = -1
        fields.append(Fields(form=_FORMS[kind], at=at, targets=targets, bases=bases, slot=WORD))
    return fields, np.concatenate(starts)


def _runs(layout: Layout) -> list[_Run]:
    """Return the sections of instructions, those together that are one after another."""
    runs: list[_Run] = []
    for section in layout.code():
        if section.size > _LONGEST and not (runs and runs[-1].add(section)):
            runs.append(_Run.of(section))
    return runs
