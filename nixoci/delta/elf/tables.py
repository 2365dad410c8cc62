"""References in the tables of an ELF file: jump tables, relocations, symbols, addresses in data."""

from collections.abc import Iterator

import numpy as np

from nixoci.delta.elf.fields import LONG, WORD, Fields, Form, label_fields, read_word, within
from nixoci.delta.elf.layout import (
    ALLOCATED,
    ARRAYS,
    DYNAMIC,
    DYNAMIC_SYMBOLS,
    EXECUTABLE,
    PROGRAM,
    RELOCATIONS,
    SYMBOLS,
    WRITABLE,
    Bytes,
    Flags,
    Layout,
    Numbers,
    Section,
)

_GNU_HASH = 0x6FFFFFF6
_RELATIVE_RELOCATIONS = 19
_RELOCATION, _SYMBOL, _PAIR = 24, 24, 16
_SMALL = 512
"""Smallest number in data that counts as an address."""


def find_jump_tables(data: Bytes, layout: Layout, operands: Numbers, *, labels: bool) -> list[Fields]:
    """Return the entries of tables in `.rodata` that hold the distances of instructions from the table.

    A table begins where an operand refers to. It ends before the next one, or with the first entry that is no such
    distance.

    Args:
        data: The file.
        layout: Its layout.
        operands: The targets of operands.
        labels: Whether the file is in label form.
    """
    section, code = layout.named(b".rodata"), layout.code()
    if section is None or not code:
        return []
    first, end = -(-section.address // 4) * 4, section.address + section.size
    starts = np.sort(operands[within(operands - first, end - 3 - first) & (operands % 4 == 0)])
    if not len(starts):
        return []
    starts = starts[np.flatnonzero(np.diff(starts, prepend=-1))].astype(np.int64)
    moved = section.offset - section.address
    low, high = min(one.address for one in code), max(one.address + one.size for one in code)

    def elsewhere(at: Numbers, bases: Numbers) -> Flags:
        targets = WORD.read(data, at + moved) + (0 if labels else bases)
        return (targets < low) | (targets >= high)

    counts = np.diff(starts, append=starts[0] + (end - starts[0]) // 4 * 4) // 4
    counts[elsewhere(starts, starts)] = 1  # most are no tables
    bases = np.repeat(starts, counts)
    opens = np.cumsum(counts) - counts
    words = bases + 4 * (np.arange(len(bases)) - np.repeat(opens, counts))
    other = elsewhere(words, bases)
    before: Numbers = np.cumsum(other) - other
    chosen = np.flatnonzero(before == np.repeat(before[opens], counts))
    return [label_fields(data, layout, words[chosen] + moved, bases[chosen], labels=labels)]


def find_addresses(data: Bytes, layout: Layout) -> Iterator[Fields]:
    """Yield the references by address, and those by the number of a symbol or the offset of a name."""
    for section in layout.sections.values():
        end = section.offset + section.size
        linked = layout.sections.get(section.link)
        if linked is not None and not linked.flags & ALLOCATED:
            linked = None
        if section.kind == RELOCATIONS:
            entries = np.arange(section.offset, end - _RELOCATION + 1, _RELOCATION)
            yield _addresses(data, layout, entries)
            yield _addresses(data, layout, entries + 16)
            if linked is not None:
                yield _numbers(data, entries + 12, linked, _SYMBOL)
        elif section.kind in {SYMBOLS, DYNAMIC_SYMBOLS}:
            entries = np.arange(section.offset, end - _SYMBOL + 1, _SYMBOL)
            yield _addresses(data, layout, entries + 8)
            if linked is not None:
                yield _numbers(data, entries, linked, 1)
        elif section.kind == DYNAMIC:
            yield _addresses(data, layout, np.arange(section.offset, end - _PAIR + 1, _PAIR) + 8)
        elif section.kind == _GNU_HASH and linked is not None and section.size >= 16:
            buckets, _, bloom = read_word(data, section.offset + np.arange(0, 12, 4)).tolist()
            start = section.offset + 16 + 8 * bloom
            yield _numbers(data, np.arange(start, min(start + 4 * buckets, end) - 3, 4), linked, _SYMBOL)
        elif section.kind == _RELATIVE_RELOCATIONS or (
            section.kind in ARRAYS or (section.kind == PROGRAM and section.flags & (WRITABLE | EXECUTABLE) == WRITABLE)
        ):
            yield _addresses(data, layout, np.arange(-(-section.offset // 8) * 8, end - 7, 8))


def _addresses(data: Bytes, layout: Layout, at: Numbers) -> Fields:
    values = LONG.read(data, at)
    at = at[within(values - layout.low, layout.span + 1) & (values >= _SMALL)]
    targets = LONG.read(data, at) - layout.low
    return Fields(form=Form.ADDRESS, at=at, targets=targets, bases=np.zeros(len(at), np.int64), slot=LONG)


def _numbers(data: Bytes, at: Numbers, section: Section, unit: int) -> Fields:
    values = WORD.read(data, at)
    at = at[within(values - 1, section.size // unit)]
    targets = section.address + unit * WORD.read(data, at)
    bases = np.full(len(at), section.address, np.int64)
    return Fields(form=Form.INDEX, at=at, targets=targets, bases=bases, slot=WORD, unit=unit, section=section.name)
