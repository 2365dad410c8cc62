"""References in the instructions of x86-64, found by the bytes of opcodes: calls, jumps, operands relative to RIP.

Instructions are not decoded one after another: any bytes that look like an opcode count, if the target that follows
them is in the file. What is no reference after all costs little, since it is changed alike in both files.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nixoci.delta.elf.fields import (
    WORD,
    Fields,
    Form,
    are_among,
    compact,
    numbers_at_each_offset,
    within,
)
from nixoci.delta.elf.layout import Bytes, Flags, Layout, Numbers, Section

_CALL, _JUMP, _OPERAND, _ADDRESS = range(1, 5)
_FORMS = {_CALL: Form.LABEL, _JUMP: Form.DISTANCE, _OPERAND: Form.LABEL, _ADDRESS: Form.ADDRESS}
_LONGEST = 12
"""Bytes at the end of a section in which no reference is looked for."""
_BLOCK = 1 << 18
"""Bytes that are looked at together: what is found in them fits into the caches of a processor."""

_OPCODES = {
    0: bytes.fromhex(
        "00010203 08090a0b 10111213 18191a1b 20212223 28292a2b 30313233 38393a3b 63 84858687 88898a8b 8d"
        "d0d1d2d3 d8d9dadbdcdddedf f6f7 fe ff"
    ),
    1: bytes.fromhex("6b 80 83 c0 c1 c6"),
    4: bytes.fromhex("69 81 c7"),
}
"""Opcodes before a ModRM byte, by the bytes of the number that follows a reference."""
_TESTS = {0xF6: 1, 0xF7: 4}
"""Opcodes of which the first two operations are followed by a number, and its bytes."""
_WITH_NUMBER = bytes.fromhex("70717273 a4ac ba c2c4c5c6")
"""Second bytes after 0F of opcodes that end in a number of one byte."""
_IMMEDIATE = bytes.fromhex("05 0d 15 1d 25 2d 35 3d 68 a9 b8b9babbbcbdbebf")
"""Opcodes that an absolute address may follow at once."""
_ABSOLUTE = bytes.fromhex(
    "010203 090a0b 11 13 19 1b 21 23 29 2b 31 33 38393a3b 63 6b 69 8081 83848586 88898a8b 8d c6c7 f6f7 ff"
)
"""Opcodes before a ModRM byte in whose operand an absolute address is likely."""
_RIP, _MODRM_MASK = 0x05, 0xC7
_CLASSES, _HALF = 8, 4
"""Most classes of opcodes with the same second bytes, each a bit of a byte, and those that fit into half of one."""
_SIB_MASK = 0x07
_MAX_NUMBER = 1 << 30
"""Offsets and addresses up to which no sum of one and a distance that is in the file exceeds 32 bits."""


class _Shapes:
    """Instructions with a reference, by their first two bytes: `first | second << 8`.

    Attributes:
        packed: For each pair of bytes a number; 0 if no instruction with a reference begins with it. See `unpacked`.
    """

    def __init__(self) -> None:
        self.packed = np.zeros(1 << 16, np.int32)

    def add(self, first: int, seconds: Iterable[int], kind: int, at: int, *, after: int = 0, sib: bool = False) -> None:
        """Add the instructions that begin with these bytes. If the reference is not after them, a byte is checked."""
        checked = at - 1 if sib or (kind == _OPERAND and at > 2) else 0
        mask = _SIB_MASK if sib else _MODRM_MASK
        for second in seconds:
            self.packed[first | second << 8] = kind | at << 4 | after << 8 | checked << 12 | mask << 16


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A filter of pairs of bytes: a pair passes if the classes of its first and its second byte share a bit.

    Attributes:
        first: The classes of first bytes.
        second: The classes of second bytes; None if they are in the low half of those of `first`.
    """

    first: bytes
    second: bytes | None

    @classmethod
    def of(cls, packed: NDArray[np.int32]) -> "_Pairs":
        """Return the filter of the pairs with a number that is not 0, in a table over `first | second << 8`."""
        # the second bytes of each first byte; numpy's unique takes longer for them than to look at a small file
        rows = [row.tobytes() for row in (packed.reshape(256, 256) != 0).T]
        classes = {row: 1 << number for number, row in enumerate(dict.fromkeys(row for row in rows if any(row)))}
        if len(classes) > _CLASSES:
            raise ValueError(f"{len(classes)} classes of opcodes, at most {_CLASSES} fit into a byte")
        first = bytes(classes.get(row, 0) for row in rows)
        second = bytes(sum(bit for row, bit in classes.items() if row[byte]) for byte in range(256))
        if len(classes) <= _HALF:
            return cls(bytes(one << _HALF | other for one, other in zip(first, second, strict=True)), None)
        return cls(first, second)

    def places(self, data: bytes) -> Numbers:
        """Return the offsets of the pairs in some bytes that pass."""
        classes = np.frombuffer(data.translate(self.first), np.uint8)
        first = classes[:-1]
        if self.second is None:
            first, second = first >> np.uint8(_HALF), classes[1:]
        else:
            second = np.frombuffer(data.translate(self.second), np.uint8)[1:]
        passes: Numbers = np.flatnonzero(first & second != 0)
        return passes


@cache
def _pairs(*, absolute: bool) -> _Pairs:
    """Return the filter of the first two bytes of instructions with a reference."""
    return _Pairs.of(_shapes(absolute=absolute).packed)


@cache
def _shapes(*, absolute: bool) -> _Shapes:
    """Return the instructions with a reference; those with absolute addresses too, if asked for."""
    shapes = _Shapes()
    every = range(256)
    by_rip = [modrm for modrm in every if modrm & _MODRM_MASK == _RIP]
    for after, opcodes in _OPCODES.items():
        for opcode in opcodes:
            shapes.add(opcode, by_rip, _OPERAND, 2, after=after)
    for opcode, after in _TESTS.items():
        shapes.add(opcode, by_rip[:2], _OPERAND, 2, after=after)
    shapes.add(0xE8, every, _CALL, 1)
    shapes.add(0xE9, every, _JUMP, 1)
    shapes.add(0x0F, every, _OPERAND, 3)
    shapes.add(0x0F, _WITH_NUMBER, _OPERAND, 3, after=1)
    shapes.add(0x0F, range(0x80, 0x90), _JUMP, 2)
    shapes.add(0x0F, [0x38], _OPERAND, 4)
    shapes.add(0x0F, [0x3A], _OPERAND, 4, after=1)
    for prefix, at in ((0xC5, 4), (0xC4, 5), (0x62, 6)):  # VEX and EVEX
        shapes.add(prefix, every, _OPERAND, at)
    if absolute:
        for opcode in _IMMEDIATE:
            shapes.add(opcode, every, _ADDRESS, 1)
        for opcode in _ABSOLUTE:
            shapes.add(opcode, [modrm for modrm in every if modrm & 0xC7 == 0x04], _ADDRESS, 3, sib=True)
            shapes.add(opcode, [modrm for modrm in every if modrm & 0xC7 == 0x84], _ADDRESS, 3)
            shapes.add(opcode, [modrm for modrm in every if modrm >> 6 == 2 and modrm & 7 != 4], _ADDRESS, 2)
        for opcode in (0x81, 0xC7):
            shapes.add(opcode, range(0xC0, 0x100), _ADDRESS, 2)
    return shapes


@dataclass(frozen=True, slots=True)
class _Found:
    """Instructions: offsets of their opcodes, kinds, offsets of their references, targets and bases of these."""

    starts: NDArray[Any]
    kinds: NDArray[Any]
    at: NDArray[Any]
    targets: NDArray[Any]
    bases: NDArray[Any]

    def chosen(self, which: Flags) -> "_Found":
        """Return some of the instructions."""
        index = np.flatnonzero(which)  # taking by numbers is much faster than by flags
        return self if len(index) == len(which) else self.numbered(index)

    def numbered(self, index: Numbers) -> "_Found":
        """Return the instructions with these numbers."""
        columns = (self.starts, self.kinds, self.at, self.targets, self.bases)
        return _Found(*(column.take(index) for column in columns))


def find_code(data: Bytes, layout: Layout, *, labels: bool, skip: Numbers) -> tuple[list[Fields], Numbers]:
    """Return the references in instructions, and the offsets of their opcodes.

    Args:
        data: The file.
        layout: Its layout.
        labels: Whether it is in label form.
        skip: Offsets of opcodes that do not count.
    """
    none = compact(skip[:0])
    starts: list[Numbers] = [none]
    groups = {kind: [_fields(kind, none, none, none)] for kind in _FORMS}
    for section in layout.code():
        for found in _find(data, layout, section, labels=labels, skip=skip):
            starts.append(compact(found.starts))
            for kind, group in groups.items():
                which = np.flatnonzero(found.kinds == kind)
                columns = (column.take(which) for column in (found.at, found.targets, found.bases))
                group.append(_fields(kind, *columns).compact())
    fields = [
        _fields(kind, *(np.concatenate([getattr(one, name) for one in group]) for name in ("at", "targets", "bases")))
        for kind, group in ((kind, groups.pop(kind)) for kind in _FORMS)
    ]
    return fields, np.concatenate(starts)


def _fields(kind: int, at: Numbers, targets: Numbers, bases: Numbers) -> Fields:
    return Fields(form=_FORMS[kind], at=at, targets=targets, bases=bases, slot=WORD)


def _find(data: Bytes, layout: Layout, section: Section, *, labels: bool, skip: Numbers) -> Iterator[_Found]:
    """Yield the references of a section, block by block; no instruction begins before the end of the one before it."""
    highest = end = 0
    stop = section.offset + section.size - _LONGEST
    for start in range(section.offset, stop, _BLOCK):
        found = _candidates(data, start, min(start + _BLOCK, stop), layout, section, labels=labels)
        if len(skip):
            found = found.chosen(~are_among(found.starts, skip))
        if not len(found.starts):
            continue
        ends = found.at + 4
        before = np.maximum(np.maximum.accumulate(ends[:-1]), highest)
        free = np.append(found.starts[0] >= highest, found.starts[1:] >= before)
        overlapping = np.flatnonzero(~free)
        last = -1
        for index, first in zip(overlapping.tolist(), found.starts[overlapping].tolist(), strict=True):
            if index - 1 != last:
                end = int(ends[index - 1]) if index else end
            last = index
            if first >= end:
                free[index] = True
                end = int(ends[index])
        highest = max(highest, int(ends.max()))
        found = found.chosen(free)
        end = int(found.at[-1]) + 4 if len(found.at) else end
        yield found


def _candidates(data: Bytes, start: int, stop: int, layout: Layout, section: Section, *, labels: bool) -> _Found:
    """Return what looks like instructions that begin in a part of the file."""
    moved = section.address - section.offset
    # half of the bytes, if neither offsets nor addresses overflow
    number = np.int32 if abs(moved) + len(data) < _MAX_NUMBER else np.int64
    starts = _pairs(absolute=layout.fixed).places(data[start : stop + 1].tobytes()).astype(number) + start
    shapes = _shapes(absolute=layout.fixed).packed.take(numbers_at_each_offset(data, "<u2")[starts])
    checked = shapes >> 12 & 0xF
    fits = np.flatnonzero((checked == 0) | (data.take(starts + checked) & shapes >> 16 == _RIP))
    shapes, starts = shapes.take(fits), starts.take(fits)
    kinds, at = shapes & 0xF, starts + (shapes >> 4 & 0xF)
    bases = at + (shapes >> 8 & 0xF) + (4 + moved)
    values = numbers_at_each_offset(data, "<i4")[at].astype(number, copy=False)
    ends = values + bases
    label = (kinds == _CALL) | (kinds == _OPERAND)
    targets, others = (np.where(label, values, ends), ends) if labels else (ends, values)
    if layout.fixed:
        addresses = (values.astype(np.int64) & 0xFFFFFFFF) - layout.low
        targets = np.where(kinds == _ADDRESS, addresses, targets)
    known = within(targets, layout.span)
    # a value that label form replaces counts too, so that the same opcodes count on the way back
    counts = np.flatnonzero(known | within(others, layout.span) & label)
    targets = np.where(known, targets, -1)
    return _Found(starts, kinds, at, targets, bases).numbered(counts)
