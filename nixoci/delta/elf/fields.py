"""Fields that refer to addresses: how they are stored, and what they hold in label form."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nixoci.delta.elf.layout import Bytes, Flags, Layout, Numbers

PAGE = 1 << 12
"""Bytes of a page."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A way to store a signed number in a file: reads those at some offsets, and writes them."""

    read: Callable[[Bytes, Numbers], Numbers]
    write: Callable[[Bytes, Numbers, Numbers], None]
    width: int = 4


class Form(Enum):
    """The number that a field holds for the target of its reference; `unit` bytes count as one.

    Attributes:
        LABEL: The distance of the target from the base; in label form the target.
        DISTANCE: The distance of the target from the base, in label form too.
        ADDRESS: The address of the target, whole; 0 stands for the lowest address.
        LENGTH: The length of what begins at the base; the target is its end.
        INDEX: The distance of the target from the start of the section `base`.
        BACKWARD: The distance from the target forward to the field; in label form the distance from the start of its
            section to the target, plus one.
        LOW: The distance of the target from the start of its page, which the instruction at the offset `base` holds.
    """

    LABEL = auto()
    DISTANCE = auto()
    ADDRESS = auto()
    LENGTH = auto()
    INDEX = auto()
    BACKWARD = auto()
    LOW = auto()


_HALF = 1 << 31
_BLOCK = 1 << 16
"""References that are worked on together: their numbers fit into the caches of a processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """References of one form, in arrays of one length. No two fields overlap.

    Attributes:
        form: The form.
        at: The offsets of the fields in the file.
        targets: The targets; -1 if a field refers to none.
        bases: The bases of the distances, relative to the lowest address.
        slot: How the fields are stored.
        unit: Bytes that count as one in distances.
        section: The name of the section that a form needs.
        page: How instructions hold pages.
    """

    form: Form
    at: Numbers
    targets: Numbers
    bases: Numbers
    slot: Slot
    unit: int = 1
    section: bytes = b""
    page: Slot | None = None

    def chosen(self, which: Flags) -> "Fields":
        """Return some of the references."""
        index = np.flatnonzero(which)  # taking by numbers is much faster than by flags
        if len(index) == len(which):
            return self
        return replace(self, at=self.at[index], targets=self.targets[index], bases=self.bases[index])

    def compact(self) -> "Fields":
        """Return the same references in half of the memory, if they are many and allow it."""
        if len(self.at) <= _BLOCK:
            return self
        return replace(self, at=_compact(self.at), targets=_compact(self.targets), bases=_compact(self.bases))

    def wide(self) -> "Fields":
        """Return the same references with numbers of 64 bits."""
        at, targets, bases = (numbers.astype(np.int64, copy=False) for numbers in (self.at, self.targets, self.bases))
        return replace(self, at=at, targets=targets, bases=bases)

    def parts(self) -> Iterator["Fields"]:
        """Yield the references, some at a time; nothing if there are none."""
        if 0 < len(self.at) <= _BLOCK:
            yield self
            return
        for start in range(0, len(self.at), _BLOCK):
            part = slice(start, start + _BLOCK)
            yield replace(self, at=self.at[part], targets=self.targets[part], bases=self.bases[part])


def _compact(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as 32 bits if they fit."""
    fit = numbers.dtype == np.int32 or (numbers.min() >= -_HALF and numbers.max() < _HALF)
    return numbers.astype(np.int32, copy=False) if fit else numbers


def are_equal(one: Bytes, other: Bytes) -> bool:
    """Return whether two files of the same size are equal, with little memory."""
    starts = range(0, len(one), _BLOCK)
    return all(np.array_equal(one[start : start + _BLOCK], other[start : start + _BLOCK]) for start in starts)


_KINDS = {kind: np.dtype(kind) for kind in ("<u2", "<u4", "<i4", "<i8")}


def numbers_at_each_offset(data: Bytes, kind: str) -> NDArray[Any]:
    """Return a view of the numbers of a kind, such as `<u4`, that begin at each offset of a file."""
    dtype = _KINDS[kind]
    return np.ndarray(max(0, len(data) - dtype.itemsize + 1), dtype, data.data, strides=(1,))


def read_word(data: Bytes, at: Numbers) -> Numbers:
    """Return the unsigned little-endian numbers of 32 bits at these offsets."""
    return numbers_at_each_offset(data, "<u4")[at].astype(np.int64)


def write_word(data: Bytes, at: Numbers, values: Numbers) -> None:
    """Write the low 32 bits of numbers at these offsets."""
    numbers_at_each_offset(data, "<u4")[at] = values.astype(np.uint32)


def signed(values: Numbers, bits: int) -> Numbers:
    """Return numbers of some bits as signed ones."""
    half = 1 << (bits - 1)
    return (values & ((1 << bits) - 1) ^ half) - half


def _read_signed_word(data: Bytes, at: Numbers) -> Numbers:
    return numbers_at_each_offset(data, "<i4")[at].astype(np.int64)


def _read_long(data: Bytes, at: Numbers) -> Numbers:
    return numbers_at_each_offset(data, "<i8")[at].astype(np.int64)


def _write_long(data: Bytes, at: Numbers, values: Numbers) -> None:
    numbers_at_each_offset(data, "<i8")[at] = values


WORD = Slot(_read_signed_word, write_word)
LONG = Slot(_read_long, _write_long, 8)


def within(values: NDArray[Any], size: int) -> Flags:
    """Return for each number if it is in `range(size)`."""
    # without a sign, negative numbers are the largest
    unsigned: NDArray[Any] = values.view(np.uint32 if values.itemsize == 4 else np.uint64)
    found: Flags = unsigned < max(size, 0)
    return found


def to_target(values: Numbers, bases: Numbers, size: int) -> Numbers:
    """Replace distances from bases by targets, where these are in `range(size)`.

    A value that is in that range without being such a distance gets one of the values that become free, so that each
    result stands for one value.
    """
    targets = values + bases
    swapped = values - np.sign(bases) * np.maximum(size, np.abs(bases))
    return np.where(within(targets, size), targets, np.where(within(values, size), swapped, values))


def to_distance(values: Numbers, bases: Numbers, size: int) -> Numbers:
    """Undo `to_target`."""
    swapped = values + np.sign(bases) * np.maximum(size, np.abs(bases))
    return np.where(within(values, size), values - bases, np.where(within(values + bases, size), swapped, values))


def reversed_backward(values: Numbers, bases: Numbers) -> Numbers:
    """Replace distances back from a field by distances from its section's start plus one, or the other way round."""
    return np.where((values >= 1) & (values <= bases), bases + 1 - values, values)


def label_fields(
    data: Bytes, layout: Layout, at: Numbers, bases: Numbers, *, labels: bool, slot: Slot = WORD, unit: int = 1
) -> Fields:
    """Return the references of the form `LABEL` at these offsets; `labels` is whether the file is in label form."""
    values = slot.read(data, at)
    targets = (values if labels else values + bases // unit) * unit
    targets = np.where(within(targets, layout.span), targets, -1)
    return Fields(form=Form.LABEL, at=at, targets=targets, bases=bases, slot=slot, unit=unit)
