"""The parts of an ELF file that locate references: machine, segments and sections, read with every bound checked."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

X86_64, AARCH64 = 62, 183
_HEADER = struct.Struct("<4sBBB9xHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_MAGIC, _64_BITS, _LITTLE_ENDIAN = b"\x7fELF", 2, 1
_RELOCATABLE, _EXECUTABLE = 1, 2
_LOAD, _NULL, _NO_BITS = 1, 0, 8
_MAX_PARTS = 1 << 12
_MAX_ADDRESS = 1 << 62
_MAX_SPAN = 1 << 30
"""Bytes from the lowest to the highest address, so that each distance is a signed number of 32 bits."""

EXECUTABLE, ALLOCATED, WRITABLE = 4, 2, 1
"""Flags of sections."""
PROGRAM, SYMBOLS, RELOCATIONS, DYNAMIC, DYNAMIC_SYMBOLS = 1, 2, 4, 6, 11
ARRAYS = frozenset({14, 15, 16})
"""Types of sections."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section with its bytes in the file.

    Attributes:
        name: Its name.
        kind: Its type (`sh_type`).
        flags: Its flags (`sh_flags`).
        address: The address of its first byte, relative to the lowest address of the file.
        offset: The offset of its first byte in the file.
        size: Its bytes.
        link: The number of a section that it refers to (`sh_link`).
    """

    name: bytes
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True)
class Layout:
    """Segments and sections of an ELF file.

    Attributes:
        machine: Its `e_machine`.
        fixed: Whether it is linked to fixed addresses.
        low: The lowest address; all others are relative to it.
        segments: Of each loaded segment the address, the offset, the bytes in the file and in memory; in the order of
            addresses, none overlapping another.
        sections: The sections that have bytes in the file, by their number.
        headers: The first and the last offset plus one of each part of the file that the layout was read from.
    """

    machine: int
    fixed: bool
    low: int
    segments: tuple[tuple[int, int, int, int], ...]
    sections: dict[int, Section]
    headers: tuple[tuple[int, int], ...]

    @property
    def span(self) -> int:
        """The highest address plus one."""
        address, _, _, size = self.segments[-1]
        return address + size

    @property
    def file_end(self) -> int:
        """The address after the last byte that the file holds."""
        address, _, size, _ = self.segments[-1]
        return address + size

    @cached_property
    def _by_address(self) -> tuple[Numbers, ...]:
        return tuple(np.array(column, np.int64) for column in zip(*self.segments, strict=True))

    @cached_property
    def _by_offset(self) -> tuple[Numbers, ...]:
        by_offset = sorted((offset, size, address) for address, offset, size, _ in self.segments)
        return tuple(np.array(column, np.int64) for column in zip(*by_offset, strict=True))

    def offsets(self, addresses: Numbers) -> Numbers:
        """Return the offsets in the file of addresses; -1 where the file has none."""
        starts, offsets, sizes, _ = self._by_address
        index = np.maximum(np.searchsorted(starts, addresses, side="right") - 1, 0)
        inside = addresses - starts[index]
        return np.where((inside >= 0) & (inside < sizes[index]), inside + offsets[index], -1)

    def addresses(self, offsets: Numbers) -> Numbers:
        """Return the addresses of offsets in the file; -1 where they are not in memory."""
        starts, sizes, addresses = self._by_offset
        index = np.maximum(np.searchsorted(starts, offsets, side="right") - 1, 0)
        inside = offsets - starts[index]
        return np.where((inside >= 0) & (inside < sizes[index]), inside + addresses[index], -1)

    @cached_property
    def _by_name(self) -> dict[bytes, Section]:
        return {section.name: section for section in reversed(self.sections.values())}

    def named(self, name: bytes) -> Section | None:
        """Return the first section of this name."""
        return self._by_name.get(name)

    @cached_property
    def apart(self) -> bool:
        """No byte of the file is in two sections."""
        ranges = sorted((section.offset, section.offset + section.size) for section in self.sections.values())
        return all(one[1] <= other[0] for one, other in pairwise(ranges))

    def code(self) -> list[Section]:
        """Return the sections of instructions."""
        return [section for section in self.sections.values() if section.kind == PROGRAM and section.flags & EXECUTABLE]


def read_layout(data: bytes) -> Layout | None:
    """Return the layout of an ELF file; None if data are none, damaged, or not of 64 bits and little-endian."""
    return read_layout_by(len(data), lambda start, stop: data[start:stop])


def read_layout_by(file_size: int, read: Callable[[int, int], bytes]) -> Layout | None:
    """Return the layout of an ELF file, as `read_layout` does, from its headers alone.

    Args:
        file_size: Bytes of the file.
        read: Returns the bytes between two offsets, fewer at the end of the file.
    """
    try:
        return _read(file_size, read)
    except (struct.error, OverflowError, IndexError):
        return None


def _read(file_size: int, read: Callable[[int, int], bytes]) -> Layout | None:
    magic, bits, order, _, kind, machine, _, _, programs, headers, _, _, program_size, count, size, sections, names = (
        _HEADER.unpack(read(0, _HEADER.size))
    )
    known = (magic, bits, order, size) == (_MAGIC, _64_BITS, _LITTLE_ENDIAN, _SECTION.size)
    if not known or count > _MAX_PARTS or not names < sections <= _MAX_PARTS:
        return None
    relocatable = kind == _RELOCATABLE
    loaded = [(0, 0, file_size, file_size)]
    if not relocatable:
        table = read(programs, programs + count * _PROGRAM.size)
        loaded = _segments(table, count) if program_size == _PROGRAM.size else []
    overlap = any(one[0] + one[3] > other[0] for one, other in pairwise(loaded))
    if not loaded or overlap or any(offset + held > file_size or held > memory for _, offset, held, memory in loaded):
        return None
    low = loaded[0][0]
    if loaded[-1][0] + loaded[-1][3] - low > _MAX_SPAN or loaded[-1][0] > _MAX_ADDRESS:
        return None
    table = read(headers, headers + sections * size)
    raw = [_SECTION.unpack_from(table, number * size) for number in range(sections)]
    if sum(one[5] for one in raw if one[1] not in {_NULL, _NO_BITS}) > file_size:
        return None  # some of them overlap: looking at all could take long
    start, end = raw[names][4], raw[names][4] + raw[names][5]
    found = _sections(file_size, raw, read(start, end), None if relocatable else low)
    if found is None:
        return None
    return Layout(
        machine=machine,
        fixed=kind == _EXECUTABLE,
        low=low,
        segments=tuple((address - low, offset, held, memory) for address, offset, held, memory in loaded),
        sections=found,
        headers=(
            (0, _HEADER.size),
            (programs, programs + count * _PROGRAM.size),
            (headers, headers + sections * size),
            (start, end),
        ),
    )


def _segments(table: bytes, count: int) -> list[tuple[int, int, int, int]]:
    """Return address, offset, bytes in the file and in memory of each loaded segment, in the order of addresses."""
    loaded = []
    for number in range(count):
        part, _, offset, address, _, held, memory, _ = _PROGRAM.unpack_from(table, number * _PROGRAM.size)
        if part == _LOAD and memory:
            loaded.append((address, offset, held, memory))
    return sorted(loaded)


def _sections(held: int, raw: Iterable[tuple[int, ...]], strings: bytes, low: int | None) -> dict[int, Section] | None:
    """Return the sections with bytes in a file of `held` bytes; without a lowest address, it is not linked.

    Return None if their names have more bytes than the file: they overlap, and could take all memory.
    """
    found = {}
    left = held
    for number, (name, kind, flags, address, offset, size, link, _, _, _) in enumerate(raw):
        start = offset if low is None else address - low
        if kind in {_NULL, _NO_BITS} or not size or offset + size > held or abs(start) > _MAX_ADDRESS:
            continue
        end = strings.find(b"\0", name, name + left + 1)
        left -= max(end if end >= 0 else len(strings), name) - name
        if left < 0:
            return None
        label = strings[name : max(end, name)] if name < len(strings) else b""
        found[number] = Section(label, kind, flags, start, offset, size, link)
    return found
