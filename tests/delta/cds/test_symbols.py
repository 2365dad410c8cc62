from __future__ import annotations

import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixoci.delta.cds.symbols import SymbolTable, blank_table, fill_table, find_table, hash_code
from tests.delta.cds.samples import SKEW, archive, hashed, names

texts = st.lists(st.binary(max_size=40), min_size=120, max_size=200, unique=True)


def test_the_hash_is_that_of_java() -> None:
    assert hash_code(b"hello") == 99162322  # "hello".hashCode()
    assert hash_code(b"java/lang/Object") == hashed(b"java/lang/Object")


@given(texts, st.integers(64, 300))
@settings(deadline=None, max_examples=40)
def test_a_table_is_found_and_made_again(found: list[bytes], buckets: int) -> None:
    content = archive(found, buckets=buckets, objects=3)
    table = find_table(content)
    if table is None:  # too few buckets of several symbols
        assert buckets > len(found)
        return
    assert (table.count, table.symbols, table.skew, table.first) == (buckets, len(found), SKEW, SKEW + 72)
    blank = bytearray(content)
    blank_table(blank, table)
    assert blank != content
    fill_table(blank, table)
    assert blank == content


def test_a_table_that_is_not_that_of_its_symbols_is_not_found() -> None:
    content = bytearray(archive(names(500)))
    table = find_table(bytes(content))
    assert table is not None
    content[table.entries + 8] ^= 1
    assert find_table(bytes(content)) is None
    assert find_table(b"") is None
    assert find_table(bytes(4000)) is None
    assert find_table(b"\xff" * 4000) is None


words = st.builds(lambda kind, index: kind << 30 | index, st.integers(0, 3), st.integers(0, 3))


@given(st.lists(words, max_size=40))
@example([3 << 30 | 1, 0, 1, 0])  # a table of no buckets
def test_words_like_those_of_a_small_table_are_read(found: list[int]) -> None:
    assert find_table(b"".join(word.to_bytes(4, "little") for word in found)) is None


_SOUND = archive(names(300), objects=10)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"count": 0}, "a table of 300 symbols in 0 buckets"),
        ({"count": 1 << 40}, f"a table of 300 symbols in {1 << 40} buckets"),
        ({"symbols": 1 << 40}, f"a table of {1 << 40} symbols in 97 buckets"),
        ({"symbols": 4000}, r"a symbol at byte [0-9]+ of "),
        ({"first": 1 << 60}, f"a symbol at byte {1 << 60} of"),
        ({"skew": 1 << 60}, "before the dump"),
        ({"words": 5}, "words, expected 5"),
        ({"words": 1 << 40}, f"in 97 buckets with {1 << 40} words"),
        ({"entries": 1 << 60}, r"a table of symbols ends at byte [0-9]+ of "),
        ({"buckets": len(_SOUND)}, r"a table of symbols ends at byte [0-9]+ of "),
    ],
)
def test_a_table_that_does_not_fit_is_refused(changes: dict[str, int], found: str) -> None:
    table = find_table(_SOUND)
    assert table is not None
    with pytest.raises(ValueError, match=found):
        fill_table(bytearray(_SOUND), dataclasses.replace(table, **changes))


numbers = st.integers(0, 70) | st.integers(0, 1 << 69)


@given(st.binary(max_size=300), st.lists(numbers, min_size=8, max_size=8))
def test_any_table_is_made_or_refused(content: bytes, numbers: list[int]) -> None:
    filled = bytearray(content)
    for change in (blank_table, fill_table):
        try:
            change(filled, SymbolTable(*numbers))
        except ValueError:
            continue
    assert len(filled) == len(content)
