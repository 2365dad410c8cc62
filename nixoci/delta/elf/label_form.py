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
        fields += find_jump_tables(data, layout, np.concatenate([_NONE, *operands]), labels=labels)
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
            one.slot.write(labels, one.at, label_values(one, one.slot.read(data, one.at), one.bases, layout.span))
        known = found.opcodes
        del found  # the references take as much memory as the file
        back, opcodes = _from_labels(labels, layout, skip)
        if are_equal(back, data):
            return labels, skip
        skip = np.union1d(skip, np.setdiff1d(opcodes, known, assume_unique=True))
    raise ValueError("a file whose references overlap")


def from_labels(labels: Bytes, layout: Layout, skip: Numbers) -> Bytes:
    """Return the file that `labels` is the label form of."""
    return _from_labels(labels, layout, skip)[0]


def _from_labels(labels: Bytes, layout: Layout, skip: Numbers) -> tuple[Bytes, Numbers]:
    data = labels.copy()
    found = find_references(labels, layout, labels=True, skip=skip)
    for one in _changed(found.fields):
        values = one.slot.read(labels, one.at)
        if one.form is Form.LABEL:
            values = to_distance(values, one.bases // one.unit, -(-layout.span // one.unit))
        else:
            values = reversed_backward(values, one.bases)
        one.slot.write(data, one.at, values)
    at, expected = found.unwind.index(data, layout)
    WORD.write(data, at, WORD.read(labels, at) + expected)
    return data, found.opcodes


def relative_index(unwind: Unwind, data: Bytes, layout: Layout, labels: Bytes) -> None:
    """Write the index of unwind records in label form: the differences from what is expected."""
    at, expected = unwind.index(data, layout)
    WORD.write(labels, at, WORD.read(data, at) - expected)


def label_values(fields: Fields, values: Numbers, bases: Numbers, span: int) -> Numbers:
    """Return the values in label form of fields that it changes."""
    if fields.form is Form.LABEL:
        return to_target(values, bases // fields.unit, -(-span // fields.unit))
    return reversed_backward(values, bases)


def _changed(fields: list[Fields]) -> Iterator[Fields]:
    return (block for one in fields if one.form in {Form.LABEL, Form.BACKWARD} for block in one.blocks())
