"""The unwind records of `.eh_frame`, and the index of them in `.eh_frame_hdr`."""

import struct
from dataclasses import dataclass

import numpy as np

from nixoci.delta.elf.fields import WORD, Fields, Form, label_fields
from nixoci.delta.elf.layout import Bytes, Layout, Numbers

_RECORD = struct.Struct("<II")
_SHORTEST = 20
"""Bytes of the shortest record of a function."""
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
        """Return the references: of each record the start and end of its function, its handlers, and its CIE."""
        at = self.records + 8
        functions = label_fields(data, layout, at, at + self.moved, labels=labels)
        handlers = label_fields(data, layout, self.handlers, self.handlers + self.moved, labels=labels)
        lengths = WORD.read(data, at + 4)
        ends = np.where((functions.targets >= 0) & (lengths > 0), functions.targets + lengths, -1)
        most = at - 4 - self.start
        back = WORD.read(data, at - 4)
        start = self.start + self.moved
        cie = np.where((back >= 1) & (back <= most), start + (back - 1 if labels else most - back), -1)
        return [
            functions,
            handlers,
            Fields(form=Form.LENGTH, at=at + 4, targets=ends, bases=functions.targets, slot=WORD),
            Fields(form=Form.BACKWARD, at=at - 4, targets=cie, bases=most, slot=WORD, section=b".eh_frame"),
        ]

    def index(self, data: Bytes, layout: Layout) -> tuple[Numbers, Numbers]:
        """Return the offsets of the numbers in the index, and what they are expected to be."""
        section = layout.named(b".eh_frame_hdr")
        if section is None:
            return self.records[:0], self.records[:0]
        at = self.records + 8
        functions = WORD.read(data, at) + at + self.moved
        order = np.lexsort((self.records, functions))
        expected = np.stack([functions[order], self.records[order] + self.moved], axis=1).reshape(-1) - section.address
        places = np.arange(section.offset + _HEADER, section.offset + section.size - 3, 4)
        count = min(len(places), len(expected))
        return places[:count], expected[:count]


def read_unwind(data: Bytes, layout: Layout) -> Unwind:
    """Return the records of a file; in label form they are the same."""
    section = layout.named(b".eh_frame")
    records, handlers = [], []
    at = start = moved = 0
    if section is not None:
        start, moved = section.offset, section.address - section.offset
        held = data[start : start + section.size].tobytes()
        read, last = _RECORD.unpack_from, len(held) - _SHORTEST
        while at <= last:
            length, cie = read(held, at)
            after = at + 4 + length
            if length < 8 or after > len(held):
                break
            if cie and length >= _SHORTEST - 4:
                records.append(at)
                if length > _SHORTEST and held[at + 16] == 4:
                    handlers.append(at + 17)
            at = after
    at_records, at_handlers = (np.array(found, np.int64) + start for found in (records, handlers))
    return Unwind(records=at_records, handlers=at_handlers, start=start, moved=moved)
