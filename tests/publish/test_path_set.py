"""Sets of paths: what is written is read, in the room that the information takes."""

from __future__ import annotations

import base64
import random
from contextlib import suppress
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.nix_store.hashes import NIX32
from nixoci.publish.path_set import DIGITS, decode, encode, member

SPACE = 32**DIGITS

members = st.integers(0, SPACE - 1)


@given(st.lists(members) | st.lists(st.integers(0, 300)) | st.lists(st.integers(SPACE - 300, SPACE - 1)))
def test_a_set_is_read_as_it_was_written(numbers: list[int]) -> None:
    assert decode(encode(numbers)) == set(numbers)


@given(st.text(NIX32, min_size=32, max_size=32), st.text(NIX32, min_size=32, max_size=32))
def test_the_first_digits_stand_for_a_path(one: str, other: str) -> None:
    assert (member(one) == member(other)) == (one[:DIGITS] == other[:DIGITS])
    assert 0 <= member(one) < SPACE


@pytest.mark.parametrize("count", [0, 1, 300, 1000, 5000, 100_000])
def test_a_set_is_small(count: int) -> None:
    """A member takes at most two bits more than are needed to say which ones of so many there are."""
    numbers = random.Random(count).sample(range(SPACE), count)
    text = encode(numbers)
    assert decode(text) == set(numbers)
    assert len(base64.b64decode(text)) <= 2 + count * (log2(SPACE / max(1, count)) + 2) / 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no size"),
        (bytes([21]), "no size"),
        (bytes([20, 0]), "ends in a lower part"),
        (bytes([20, 0x80, 0, 3]), "a member that no hash part has"),
        (bytes([0, 255]), "a member that no hash part has"),
        (bytes([0, 0, 255]), "a member that no hash part has"),
    ],
)
def test_what_is_no_set(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(base64.b64encode(data).decode())


@given(st.text(max_size=30) | st.binary(max_size=30).map(lambda data: base64.b64encode(data).decode()))
def test_any_text_is_a_set_or_refused(text: str) -> None:
    with suppress(ValueError):
        found = decode(text)
        assert all(0 <= number < SPACE for number in found)
        assert decode(encode(found)) == found
