from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.cds.bitmap import Bitmap, find_bitmap, flip_bitmap
from tests.delta.cds.samples import ADDRESS, SKEW, archive, names


def test_the_bitmap_of_an_archive_is_found_and_differs_in_nothing() -> None:
    content = archive(names(900))
    bitmap = find_bitmap(content, ADDRESS)
    assert bitmap is not None
    assert bitmap.start == SKEW
    assert bitmap.offset % SKEW == 0
    flipped = bytearray(content)
    flip_bitmap(flipped, bitmap, ADDRESS)
    assert flipped == content[: bitmap.offset].ljust(len(content), b"\0")


def test_an_archive_without_a_bitmap_has_none() -> None:
    content = archive(names(900))
    bitmap = find_bitmap(content, ADDRESS)
    assert bitmap is not None
    assert find_bitmap(content[: bitmap.offset], ADDRESS) is None
    assert find_bitmap(b"", ADDRESS) is None


words = st.lists(st.integers(0, (1 << 64) - 1) | st.integers(ADDRESS, ADDRESS + 99), max_size=40)


@given(words, st.binary(max_size=9), st.integers(0, 330), st.integers(0, 330))
def test_flipping_twice_changes_nothing(words: list[int], tail: bytes, start: int, offset: int) -> None:
    content = struct.pack(f"<{len(words)}Q", *words) + tail
    flipped = bytearray(content)
    if start % 8 or not start <= offset <= len(content):
        with pytest.raises(ValueError, match=f"a bitmap of the words from byte {start} on at byte {offset}"):
            flip_bitmap(flipped, Bitmap(start, offset), ADDRESS)
    else:
        flip_bitmap(flipped, Bitmap(start, offset), ADDRESS)
        assert flipped[:offset] == content[:offset]
        bits = int.from_bytes(flipped[offset:], "little") ^ int.from_bytes(content[offset:], "little")
        count = min((offset - start) // 64 * 8, 8 * (len(content) - offset))
        expected = [ADDRESS <= word < ADDRESS + (64 << 20) for word in words[start // 8 :][:count]]
        assert [bool(bits >> place & 1) for place in range(len(expected))] == expected
        flip_bitmap(flipped, Bitmap(start, offset), ADDRESS)
    assert flipped == content
