import random
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.elf.layout import read_layout
from tests.delta.elf.linker import AARCH64, X86_64, link, random_program

FILE = link(random_program(random.Random(1), X86_64, 5))
FIXED = link(random_program(random.Random(1), AARCH64, 5, low=0x400000))
_SECTIONS_AT = 40
"""Offset of the field that holds the offset of the section headers."""


def section_header(number: int, field: int) -> int:
    (table,) = struct.unpack_from("<Q", FILE, _SECTIONS_AT)
    return int(table) + 64 * number + field


@pytest.mark.parametrize(("data", "machine", "low"), [(FILE, X86_64, 0), (FIXED, AARCH64, 0x400000)])
def test_segments_and_sections_are_read(data: bytes, machine: int, low: int) -> None:
    layout = read_layout(data)
    assert layout is not None
    assert (layout.machine, layout.low, layout.fixed) == (machine, low, bool(low))
    (code,), held = layout.code(), layout.named(b".data")
    assert held is not None
    assert (code.name, code.address, code.offset) == (b".text", code.offset, code.offset)
    assert held.address == held.offset + 0x1000
    assert layout.span == layout.file_end + 64 == held.address + held.size + 64


def named_sections(length: int, count: int) -> bytes:
    """Return a file with sections that share one name."""
    names_at = 64 + 56
    table = names_at + length + 1
    file = bytearray(names_at) + b"n" * length + bytes(1)
    file += bytes(64) + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, length + 1, 0, 0, 1, 0)
    file += struct.pack("<IIQQQQIIQQ", 0, 7, 0, 0, 0, 1, 0, 0, 1, 0) * count
    head = b"\x7fELF", 2, 1, 1, 3, X86_64, 1, 0, 64, table, 0, 64, 56, 1, 64, count + 2, 1
    struct.pack_into("<4sBBB9xHHIQQQIHHHHHH", file, 0, *head)
    struct.pack_into("<IIQQQQQQ", file, 64, 1, 5, 0, 0, 0, len(file), len(file), 4096)
    return bytes(file)


def test_names_of_sections_do_not_take_more_than_the_file() -> None:
    short, long = read_layout(named_sections(20, 4000)), named_sections(1 << 20, 4000)
    assert short is not None
    assert {section.name for section in short.sections.values()} == {b"n" * 20}
    tracemalloc.start()
    assert read_layout(long) is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_addresses_and_offsets_are_each_others_inverse() -> None:
    layout = read_layout(FILE)
    assert layout is not None
    every = np.arange(-5, layout.span + 5)
    offsets = layout.offsets(every)
    held = offsets >= 0
    assert np.array_equal(layout.addresses(offsets[held]), every[held])
    assert np.array_equal(layout.addresses(np.arange(len(FILE) + 9)) >= 0, np.isin(np.arange(len(FILE) + 9), offsets))


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (0, "4s", b"\x7fELG"),
        (4, "B", 1),  # 32 bits
        (5, "B", 2),  # big-endian
        (58, "H", 40),  # section headers of another size
        (54, "H", 32),  # program headers of another size
        (60, "H", 0xFFFF),  # more sections than there are
        (62, "H", 99),  # names in a section that is not there
        (_SECTIONS_AT, "Q", 1 << 63),
        (32, "Q", (1 << 64) - 8),
        (64 + 8, "Q", len(FILE)),  # a segment behind the end of the file
        (64 + 40, "Q", 1 << 40),  # a segment of a terabyte
        (64 + 16, "Q", 1 << 63),
        (120 + 16, "Q", 0),  # segments over one another
    ],
)
def test_another_file_has_no_layout(at: int, form: str, value: int | bytes) -> None:
    data = bytearray(FILE)
    struct.pack_into("<" + form, data, at, value)
    assert read_layout(bytes(data)) is None


@given(
    st.lists(st.tuples(st.integers(min_value=0, max_value=len(FILE) - 1), st.integers(0, 255)), max_size=8), st.data()
)
@settings(deadline=None)
def test_a_damaged_file_has_a_layout_inside_of_it_or_none(changes: list[tuple[int, int]], data: st.DataObject) -> None:
    damaged = bytearray(FILE[: data.draw(st.integers(0, len(FILE)))] if data.draw(st.booleans()) else FILE)
    for at, byte in changes:
        if at < len(damaged):
            damaged[at] = byte
    layout = read_layout(bytes(damaged))
    if layout is not None:
        assert all(one.offset + one.size <= len(damaged) for one in layout.sections.values())
        assert all(offset + size <= len(damaged) for _, offset, size, _ in layout.segments)
