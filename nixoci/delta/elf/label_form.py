"""Label form: a file whose calls, operands and tables hold targets instead of distances, and the way back."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nixoci.delta.elf import arm64, x86
from nixoci.delta.elf.fields import WORD, Fields, Form, are_equal, reversed_backward, to_distance, to_target
from nixoci.delta.elf.layout import AARCH64, X86_64, Bytes, Layout, Numbers
from nixoci.delta.elf.tables import find_jump_tables
from nixoci.delta.elf.unwind import Unwind, read_unwind

_FIND_CODE = {X86_64: x86.find_code, AARCH64: arm64.find_code}
_NONE = np.zeros(0, np.int64)
_MAX_ROUNDS = 4
"""Largest number of attempts to find the opcodes that must not count; real files take one or two."""


@dataclass(frozen=True, slots=True)
class References:
    """References that label form changes.

    Attributes:
        fields: The references, in the order in which they are written.
        opcodes: The offsets of the opcodes before those in instructions.
        unwind: The unwind records.
    """

    fields: list[Fields]
    opcodes: Numbers
    unwind: Unwind


def find_references(data: Bytes, layout: Layout, *, labels: bool = False, skip: Numbers = _NONE) -> References:
    """Return the references that label form changes.

    Args:
        data: The file.
        layout: Its layout.
        labels: Whether it is in label form.
        skip: Offsets of opcodes that do not count.
    """
    find = _FIND_CODE.get(layout.machine)
    fields, opcodes = find(data, layout, labels=labels, skip=skip) if find is not None else ([], _NONE)
    if layout.machine == X86_64:
        operands = [one.targets for one in fields if one.form is Form.LABEL]
        fields += find_jump_tables(data, layout, operands, labels=labels)
    unwind = read_unwind(data, layout)
    fields += unwind.fields(data, layout, labels=labels)
    return References([one.compact() for one in fields], opcodes, unwind)


def to_labels(data: Bytes, layout: Layout) -> tuple[Bytes, Numbers]:
    """Return a file in label form, and the offsets of the opcodes that must not count on the way back.

    Raises:
        ValueError: There is no way back.
    """
    skip = _NONE
    for _ in range(_MAX_ROUNDS):
        found = find_references(data, layout, skip=skip)
        labels = data.copy()
        relative_index(found.unwind, data, layout, labels)
        for one in _changed(found.fields):
            wide = one.wide()
            one.slot.write(labels, one.at, label_values(wide, one.slot.read(data, one.at), wide.bases, layout.span))
        known = found.opcodes
        del found  # the references take as much memory as the file
        back = labels.copy()
        opcodes = from_labels(back, layout, skip)
        if are_equal(back, data):
            return labels, skip
        skip = np.union1d(skip, np.setdiff1d(opcodes, known, assume_unique=True))
    raise ValueError("a file whose references overlap")


def from_labels(data: Bytes, layout: Layout, skip: Numbers) -> Numbers:
    """Change a file in label form to the file that it is of, and return the offsets of opcodes, as in `References`."""
    found = find_references(data, layout, labels=True, skip=skip)
    parts = list(_changed(found.fields))
    # what depends on the file in label form, before any of it is changed
    others = [_without_target(one, data, layout.span) for one in parts]
    at = found.unwind.index_places(layout)
    index = WORD.read(data, at)
    for one, (chosen, changed) in zip(parts, others, strict=True):
        if len(chosen) == len(one.at):
            values = changed
        else:
            values = one.targets - one.bases if one.unit == 1 else one.targets // one.unit - one.bases // one.unit
            values[chosen] = changed
        one.slot.write(data, one.at, values)
    WORD.write(data, at, index + found.unwind.expected_index(data, layout)[: len(at)])
    return found.opcodes


def _without_target(fields: Fields, labels: Bytes, span: int) -> tuple[Numbers, Numbers]:
    """Return the numbers of the references of which the value does not follow from the target, and their values."""
    if fields.form is Form.BACKWARD:
        wide = fields.wide()
        return np.arange(len(fields.at)), reversed_backward(fields.slot.read(labels, fields.at), wide.bases)
    others = np.flatnonzero(fields.targets < 0)
    bases = fields.bases.take(others).astype(np.int64)
    values = fields.slot.read(labels, fields.at.take(others))
    return others, to_distance(values, bases // fields.unit, -(-span // fields.unit))


def relative_index(unwind: Unwind, data: Bytes, layout: Layout, labels: Bytes) -> None:
    """Write the index of unwind records in label form: the differences from what is expected."""
    at = unwind.index_places(layout)
    WORD.write(labels, at, WORD.read(data, at) - unwind.expected_index(data, layout)[: len(at)])


def label_values(fields: Fields, values: Numbers, bases: Numbers, span: int) -> Numbers:
    """Return the values in label form of fields that it changes."""
    if fields.form is Form.LABEL:
        return to_target(values, bases // fields.unit, -(-span // fields.unit))
    return reversed_backward(values, bases)


def _changed(fields: list[Fields]) -> Iterator[Fields]:
    return (block for one in fields if one.form in {Form.LABEL, Form.BACKWARD} for block in one.parts())
