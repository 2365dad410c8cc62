"""References in the tables of an ELF file: jump tables, relocations, symbols, addresses in data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of references in tables: by address, or by the number of `unit` bytes from the start of a section."""

    section: Section | None = None
    unit: int = 1


_BY_ADDRESS = _Kind()


def find_jump_tables(data: Bytes, layout: Layout, operands: Iterable[Numbers], *, labels: bool) -> list[Fields]:
    """Return the entries of tables in `.rodata` that hold the distances of instructions from the table.

    A table begins where an operand refers to. It ends before the next one, or with the first entry that is no such
    distance.

    Args:
        data: The file.
        layout: Its layout.
        operands: The targets of operands, -1 where they have none.
        labels: Whether the file is in label form.
    """
    section, code = layout.named(b".rodata"), layout.code()
    if section is None or not code:
        return []
    end = section.address + section.size
    first, last = max(section.address, 0), min(end - 3, layout.span)
    if first >= last:
        return []
    referred = np.zeros(last - first, np.bool_)
    for targets in operands:
        inside = targets - first
        referred[inside[within(inside, last - first)]] = True
    starts = np.flatnonzero(referred[-first & 3 :: 4]) * 4 + (first + 3 & -4)
    if not len(starts):
        return []
    moved = section.offset - section.address
    low, high = min(one.address for one in code), max(one.address + one.size for one in code)

    def elsewhere(at: Numbers, bases: Numbers) -> Flags:
        targets = WORD.read(data, at + moved) + (0 if labels else bases)
        return (targets < low) | (targets >= high)

    counts = np.append(starts[1:], starts[0] + (end - starts[0]) // 4 * 4) - starts >> 2
    counts[elsewhere(starts, starts)] = 1  # most are no tables
    bases = np.repeat(starts, counts)
    opens = np.cumsum(counts) - counts
    words = bases + 4 * (np.arange(len(bases)) - np.repeat(opens, counts))
    other = elsewhere(words, bases)
    before: Numbers = np.cumsum(other) - other
    chosen = np.flatnonzero(before == np.repeat(before[opens], counts))
    return [label_fields(data, layout, words[chosen] + moved, bases[chosen], labels=labels)]


def find_addresses(data: Bytes, layout: Layout) -> list[Fields]:
    """Return the references by address, and those by the number of a symbol or the offset of a name."""
    if not layout.apart:  # some may overlap, so that their order matters
        return [_fields(data, layout, kind, at) for kind, at in _places(data, layout)]
    kinds: dict[_Kind, list[Numbers]] = {}
    for kind, at in _places(data, layout):
        kinds.setdefault(kind, []).append(at)
    return [_fields(data, layout, kind, np.concatenate(places)) for kind, places in kinds.items()]


def _places(data: Bytes, layout: Layout) -> Iterator[tuple[_Kind, Numbers]]:
    """Yield the offsets of words that may be references, section by section, with their kind."""
    for section in layout.sections.values():
        end = section.offset + section.size
        linked = layout.sections.get(section.link)
        if linked is not None and not linked.flags & ALLOCATED:
            linked = None
        if section.kind == RELOCATIONS:
            entries = np.arange(section.offset, end - _RELOCATION + 1, _RELOCATION)
            yield _BY_ADDRESS, entries
            yield _BY_ADDRESS, entries + 16
            if linked is not None:
                yield _Kind(linked, _SYMBOL), entries + 12
        elif section.kind in {SYMBOLS, DYNAMIC_SYMBOLS}:
            entries = np.arange(section.offset, end - _SYMBOL + 1, _SYMBOL)
            yield _BY_ADDRESS, entries + 8
            if linked is not None:
                yield _Kind(linked, 1), entries
        elif section.kind == DYNAMIC:
            yield _BY_ADDRESS, np.arange(section.offset, end - _PAIR + 1, _PAIR) + 8
        elif section.kind == _GNU_HASH and linked is not None and section.size >= 16:
            buckets, _, bloom = read_word(data, section.offset + np.arange(0, 12, 4)).tolist()
            start = section.offset + 16 + 8 * bloom
            yield _Kind(linked, _SYMBOL), np.arange(start, min(start + 4 * buckets, end) - 3, 4)
        elif section.kind == _RELATIVE_RELOCATIONS or (
            section.kind in ARRAYS or (section.kind == PROGRAM and section.flags & (WRITABLE | EXECUTABLE) == WRITABLE)
        ):
            yield _BY_ADDRESS, np.arange(-(-section.offset // 8) * 8, end - 7, 8)


def _fields(data: Bytes, layout: Layout, kind: _Kind, at: Numbers) -> Fields:
    """Return the references of a kind at some offsets, without the words that are none."""
    section, unit = kind.section, kind.unit
    if section is None:
        values = LONG.read(data, at)
        index = np.flatnonzero(within(values - layout.low, layout.span + 1) & (values >= _SMALL))
        bases = np.zeros(len(index), np.int64)
        targets = values[index] - layout.low
        return Fields(form=Form.ADDRESS, at=at[index], targets=targets, bases=bases, slot=LONG).compact()
    values = WORD.read(data, at)
    index = np.flatnonzero(within(values - 1, section.size // unit))
    bases = np.full(len(index), section.address, np.int64)
    targets = bases + unit * values[index]
    fields = Fields(
        form=Form.INDEX, at=at[index], targets=targets, bases=bases, slot=WORD, unit=unit, section=section.name
    )
    return fields.compact()
