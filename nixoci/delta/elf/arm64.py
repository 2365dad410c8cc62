"""References in the instructions of 64-bit ARM: branches, and addresses made of a page and an offset in it."""

import numpy as np
from numpy.typing import NDArray

from nixoci.delta.elf.fields import (
    PAGE,
    Fields,
    Form,
    Slot,
    label_fields,
    numbers_at_each_offset,
    read_word,
    signed,
    within,
    write_word,
)
from nixoci.delta.elf.layout import Bytes, Flags, Layout, Numbers, Section

_MAX_SPAN = 1 << 27
"""Bytes from the lowest to the highest address up to which each target fits into a call."""
_NEAR = 16
"""Instructions after one that makes the address of a page in which its offsets are looked for."""
_BRANCHES = ((0xFC000000, 0x14000000, 0, 26), (0xFF000010, 0x54000000, 5, 19), (0x7E000000, 0x34000000, 5, 19))
_NEAR_BRANCHES = ((0x7E000000, 0x36000000, 5, 14), (0x3B000000, 0x18000000, 5, 19))
"""Masks, what is under them, and the first bit and the bits of a distance in instructions: B, B.cond, CBZ; TBZ, LDR."""
_CALL, _PAGE_ADDRESS, _ADD, _LOAD = (
    (0xFC000000, 0x94000000),
    (0x9F000000, 0x90000000),
    (0xFFC00000, 0x91000000),
    (0x3B000000, 0x39000000),
)


def _bits(first: int, bits: int) -> Slot:
    """Return the slot of some bits of an instruction."""
    mask = (1 << bits) - 1 << first

    def read(data: Bytes, at: Numbers) -> Numbers:
        return signed(read_word(data, at) >> first, bits)

    def write(data: Bytes, at: Numbers, values: Numbers) -> None:
        write_word(data, at, read_word(data, at) & ~mask | values << first & mask)

    return Slot(read, write)


def _read_page(data: Bytes, at: Numbers) -> Numbers:
    word = read_word(data, at)
    return signed(word >> 29 & 3 | word >> 3 & 0x1FFFFC, 21)


def _write_page(data: Bytes, at: Numbers, values: Numbers) -> None:
    word = read_word(data, at) & 0x9F00001F
    write_word(data, at, word | (values & 3) << 29 | (values & 0x1FFFFC) << 3)


def _scale(word: Numbers) -> Numbers:
    """Return the binary logarithm of the unit of offsets: for ADD one byte, for a load the size of what it loads."""
    vector = (word >> 26 & 1 == 1) & (word >> 23 & 1 == 1)
    mask, value = _ADD
    return np.where(word & mask == value, 0, np.where(vector, 4, word >> 30))


def _read_offset(data: Bytes, at: Numbers) -> Numbers:
    word = read_word(data, at)
    return (word >> 10 & 0xFFF) << _scale(word)


def _write_offset(data: Bytes, at: Numbers, values: Numbers) -> None:
    word = read_word(data, at)
    write_word(data, at, word & ~0x3FFC00 | (values & PAGE - 1) >> _scale(word) << 10)


_PAGE_SLOT, _OFFSET_SLOT = Slot(_read_page, _write_page), Slot(_read_offset, _write_offset)


def _is(words: NDArray[np.uint32], kind: tuple[int, int]) -> Flags:
    mask, value = kind
    found: Flags = words & np.uint32(mask) == np.uint32(value)
    return found


def find_code(data: Bytes, layout: Layout, *, labels: bool, skip: Numbers) -> tuple[list[Fields], Numbers]:
    """Return the references in instructions, as `x86.find_code` does; there are no opcodes that must not count."""
    fields: list[Fields] = []
    if layout.span < _MAX_SPAN and layout.low % PAGE == 0:
        for section in layout.code():
            fields += _find(data, layout, section, labels=labels)
    return fields, skip[:0]


def _find(data: Bytes, layout: Layout, section: Section, *, labels: bool) -> list[Fields]:
    first = section.offset + -section.address % 4
    stop = max(0, section.offset + section.size - 3)
    words = numbers_at_each_offset(data, "<u4")[first:stop:4].astype(np.uint32)
    moved = section.address - section.offset
    calls, pages = (first + 4 * np.flatnonzero(_is(words, kind)) for kind in (_CALL, _PAGE_ADDRESS))
    of_calls = label_fields(data, layout, calls, calls + moved, labels=labels, slot=_bits(0, 26), unit=4)
    of_pages = label_fields(data, layout, pages, pages + moved & -PAGE, labels=labels, slot=_PAGE_SLOT, unit=PAGE)
    if labels:
        return [of_calls, of_pages]
    fields = [of_calls, *_pairs(words, first, of_pages)]
    for mask, value, bit, bits in (*_BRANCHES, *_NEAR_BRANCHES):
        at = first + 4 * np.flatnonzero(_is(words, (mask, value)))
        slot = _bits(bit, bits)
        bases = at + moved
        targets = bases + slot.read(data, at) * 4
        targets = np.where(within(targets, layout.span), targets, -1)
        fields.append(Fields(form=Form.DISTANCE, at=at, targets=targets, bases=bases, slot=slot, unit=4))
    return fields


def _pairs(words: NDArray[np.uint32], first: int, pages: Fields) -> list[Fields]:
    """Return the pages with the targets that their offsets complete, and the offsets.

    Args:
        words: The instructions of a section.
        first: The offset of the first one in the file.
        pages: The instructions that make the address of a page.
    """
    users = np.flatnonzero(_is(words, _ADD) | _is(words, _LOAD))
    word = words[users].astype(np.int64)
    offsets = (word >> 10 & 0xFFF) << _scale(word)
    # numbers in which the nearest page of the same register is the one before
    apart = len(words) + _NEAR + 1
    numbers = (pages.at - first) // 4
    keys = (words[numbers] & 31).astype(np.int64) * apart + numbers
    order = np.argsort(keys)
    keys, wanted = np.append(-apart, keys[order]), (word >> 5 & 31) * apart + users
    nearest = np.searchsorted(keys, wanted)
    known = np.flatnonzero((offsets < PAGE) & (wanted - keys[nearest - 1] <= _NEAR))
    users, offsets, number = users[known], offsets[known], order[nearest[known] - 2]
    targets = np.where(pages.targets[number] >= 0, pages.targets[number] + offsets, -1)
    complete = pages.targets.copy()
    complete[number[::-1]] = targets[::-1]  # of several offsets, the first one counts
    at, bases = first + 4 * users, pages.at[number]
    return [
        Fields(form=Form.LABEL, at=pages.at, targets=complete, bases=pages.bases, slot=pages.slot, unit=pages.unit),
        Fields(form=Form.LOW, at=at, targets=targets, bases=bases, slot=_OFFSET_SLOT, page=_PAGE_SLOT),
    ]
