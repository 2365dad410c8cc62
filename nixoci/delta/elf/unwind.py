"""The unwind records of `.eh_frame`, and the index of them in `.eh_frame_hdr`."""

from dataclasses import dataclass

import numpy as np

from nixoci.delta.elf.fields import WORD, Fields, Form, label_fields, read_word
from nixoci.delta.elf.layout import Bytes, Layout, Numbers

_SHORTEST, _SHORTEST_LENGTH = 20, 8
"""Bytes of the shortest record of a function, and the smallest length that a record may say."""
_ONE_REFERENCE = 4
"""The length of augmentation data that are a reference to a table of handlers."""
_HEADER = 12
"""Bytes of `.eh_frame_hdr` before its table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwind:
    """The records of functions.

    Attributes:
        records: Their offsets in the file.
        handlers: Offsets of references to a function's table of handlers.
        start: The offset of `.eh_frame`.
        moved: The difference of addresses and offsets in it.
    """

    records: Numbers
    handlers: Numbers
    start: int
    moved: int

    def fields(self, data: Bytes, layout: Layout, *, labels: bool) -> list[Fields]:
        """Return the references: of each record the start and end of its function, its handlers, and its CIE.

        In label form the ends are left out, which are the same.
        """
        at = self.records + 8
        functions = label_fields(data, layout, at, at + self.moved, labels=labels)
        handlers = label_fields(data, layout, self.handlers, self.handlers + self.moved, labels=labels)
        most = at - 4 - self.start
        back = WORD.read(data, at - 4)
        start = self.start + self.moved
        cie = np.where((back >= 1) & (back <= most), start + (back - 1 if labels else most - back), -1)
        backward = Fields(form=Form.BACKWARD, at=at - 4, targets=cie, bases=most, slot=WORD, section=b".eh_frame")
        if labels:
            return [functions, handlers, backward]
        lengths = WORD.read(data, at + 4)
        ends = np.where((functions.targets >= 0) & (lengths > 0), functions.targets + lengths, -1)
        length = Fields(form=Form.LENGTH, at=at + 4, targets=ends, bases=functions.targets, slot=WORD)
        return [functions, handlers, length, backward]

    def index_places(self, layout: Layout) -> Numbers:
        """Return the offsets of the numbers in the index, at most two for each record."""
        section = layout.named(b".eh_frame_hdr")
        if section is None:
            return self.records[:0]
        return np.arange(section.offset + _HEADER, section.offset + section.size - 3, 4)[: 2 * len(self.records)]

    def expected_index(self, data: Bytes, layout: Layout) -> Numbers:
        """Return what two numbers in the index are expected to be for each record, those of all joined."""
        section = layout.named(b".eh_frame_hdr")
        if section is None:
            return self.records[:0]
        at = self.records + 8
        functions = WORD.read(data, at) + at + self.moved
        order = np.argsort(functions, kind="stable")  # of several records of a function, the first one first
        expected = np.empty((len(order), 2), np.int64)
        expected[:, 0], expected[:, 1] = functions[order], self.records[order] + self.moved
        return expected.reshape(-1) - section.address


def read_unwind(data: Bytes, layout: Layout) -> Unwind:
    """Return the records of a file; in label form they are the same."""
    section = layout.named(b".eh_frame")
    if section is None:
        none = np.zeros(0, np.int64)
        return Unwind(records=none, handlers=none, start=0, moved=0)
    held = data[section.offset : section.offset + section.size]
    starts = np.array(_starts(held), np.int64)
    lengths, cies = read_word(held, starts), read_word(held, starts + 4)
    records = starts[(cies != 0) & (lengths >= _SHORTEST - 4)]
    augmented = records[read_word(held, records) > _SHORTEST]
    handlers = augmented[held[augmented + 16] == _ONE_REFERENCE] + 17
    start = section.offset
    return Unwind(records=records + start, handlers=handlers + start, start=start, moved=section.address - start)


def _starts(held: Bytes) -> list[int]:
    """Return the offsets in a section of the records that it holds as a whole, of functions and others."""
    # the length at each offset: at those that are 0, 1, 2 or 3 modulo 4
    words = [
        held[first : first + (len(held) - first) // 4 * 4].view("<u4").astype(np.uint32).data for first in range(4)
    ]
    starts = []
    at, last = 0, len(held) - _SHORTEST
    while at <= last and (length := words[at & 3][at >> 2]) >= _SHORTEST_LENGTH:
        starts.append(at)
        at += 4 + length
    if at > len(held):
        starts.pop()
    return starts
