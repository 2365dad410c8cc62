"""References in the instructions of 64-bit ARM: branches, and addresses made of a page and an offset in it."""

import numpy as np

from nixoci.delta.elf.fields import PAGE, Fields, Form, Slot, label_fields, read_word, signed, within, write_word
from nixoci.delta.elf.layout import Bytes, Flags, Layout, Numbers

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
    return np.where(_is(word, _ADD), 0, np.where(vector, 4, word >> 30))


def _read_offset(data: Bytes, at: Numbers) -> Numbers:
    word = read_word(data, at)
    return (word >> 10 & 0xFFF) << _scale(word)


def _write_offset(data: Bytes, at: Numbers, values: Numbers) -> None:
    word = read_word(data, at)
    write_word(data, at, word & ~0x3FFC00 | (values & PAGE - 1) >> _scale(word) << 10)


_PAGE_SLOT, _OFFSET_SLOT = Slot(_read_page, _write_page), Slot(_read_offset, _write_offset)


def _is(word: Numbers, kind: tuple[int, int]) -> Flags:
    mask, value = kind
    found: Flags = word & mask == value
    return found


def find_code(data: Bytes, layout: Layout, *, labels: bool, skip: Numbers) -> tuple[list[Fields], Numbers]:
    """Return the references in instructions, as `x86.find_code` does; there are no opcodes that must not count."""
    fields: list[Fields] = []
    if layout.span < _MAX_SPAN and layout.low % PAGE == 0:
        for section in layout.code():
            first = section.offset + -section.address % 4
            at = np.arange(first, section.offset + section.size - 3, 4)
            fields += _find(data, layout, at, at - section.offset + section.address, labels=labels)
    return fields, skip[:0]


def _find(data: Bytes, layout: Layout, at: Numbers, addresses: Numbers, *, labels: bool) -> list[Fields]:
    word = read_word(data, at)
    call, page = _is(word, _CALL), _is(word, _PAGE_ADDRESS)
    calls = label_fields(data, layout, at[call], addresses[call], labels=labels, slot=_bits(0, 26), unit=4)
    starts = addresses[page] & -PAGE
    pages = label_fields(data, layout, at[page], starts, labels=labels, slot=_PAGE_SLOT, unit=PAGE)
    if labels:
        return [calls, pages]
    fields = [calls, *_pairs(word, at, page, pages)]
    for mask, value, first, bits in (*_BRANCHES, *_NEAR_BRANCHES):
        chosen = _is(word, (mask, value))
        slot = _bits(first, bits)
        bases = addresses[chosen]
        targets = bases + slot.read(data, at[chosen]) * 4
        targets = np.where(within(targets, layout.span), targets, -1)
        fields.append(Fields(form=Form.DISTANCE, at=at[chosen], targets=targets, bases=bases, slot=slot, unit=4))
    return fields


def _pairs(word: Numbers, at: Numbers, page: Flags, pages: Fields) -> list[Fields]:
    """Return the pages with the targets that their offsets complete, and the offsets."""
    offsets = (word >> 10 & 0xFFF) << _scale(word)
    users = np.flatnonzero((_is(word, _ADD) | _is(word, _LOAD)) & (offsets < PAGE))
    wanted = word[users] >> 5 & 31
    found = np.full(len(users), -1, np.int64)
    for back in range(1, _NEAR + 1):
        before = np.maximum(users - back, 0)
        fits = (found < 0) & (users >= back) & page[before] & (word[before] & 31 == wanted)
        found[fits] = before[fits]
    users, found = users[found >= 0], found[found >= 0]
    number = np.searchsorted(pages.at, at[found])
    targets = np.where(pages.targets[number] >= 0, pages.targets[number] + offsets[users], -1)
    complete = pages.targets.copy()
    complete[number[::-1]] = targets[::-1]  # of several offsets, the first one counts
    return [
        Fields(form=Form.LABEL, at=pages.at, targets=complete, bases=pages.bases, slot=pages.slot, unit=pages.unit),
        Fields(form=Form.LOW, at=at[users], targets=targets, bases=at[found], slot=_OFFSET_SLOT, page=_PAGE_SLOT),
    ]
