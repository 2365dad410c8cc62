from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.cds.pointers import Move, Words, find_address, find_moves
from nixoci.delta.codecs.hdiff13 import Cover
from tests.delta.cds.samples import ADDRESS, archive, names

numbers = st.integers(0, 500).map(lambda value: ADDRESS + value) | st.integers(0, (1 << 64) - 1)
moves = st.dictionaries(st.integers(0, 500), st.integers(-(1 << 36), 1 << 36)).map(
    lambda found: [Move(start, found[start]) for start in sorted(found)]
)


@given(st.lists(numbers, max_size=30), st.binary(max_size=7), moves)
def test_pointers_move_by_the_last_move_before_their_target(words: list[int], tail: bytes, moves: list[Move]) -> None:
    def expected(word: int) -> int:
        if not ADDRESS <= word < ADDRESS + (64 << 20):
            return word
        before = [move.shift for move in moves if move.start <= word - ADDRESS]
        return (word + (before[-1] if before else 0)) % (1 << 64)

    content = struct.pack(f"<{len(words)}Q", *words) + tail
    made = struct.pack(f"<{len(words)}Q", *map(expected, words)) + tail
    assert Words(content, ADDRESS).moved(moves) == made


def test_blanked_archives_have_no_pointers() -> None:
    content = struct.pack("<4Q", 7, ADDRESS, ADDRESS + 9, 1 << 60) + b"end"
    words = Words(content, ADDRESS)
    assert list(words.pointers()) == [(1, 0), (2, 9)]
    assert words.blanked() == struct.pack("<4Q", 7, 0, 0, 1 << 60) + b"end"
    assert [words.target(index) for index in range(4)] == [None, 0, 9, None]


def test_the_address_is_that_of_most_pointers() -> None:
    assert find_address(archive(names(50))) == ADDRESS
    assert find_address(b"") is None
    assert find_address(bytes(1000)) is None
    assert find_address(struct.pack("<Q", ADDRESS) + bytes(8 * 40)) is None


def test_moves_are_those_that_most_pointers_show() -> None:
    targets = [0, 8, 8, 100, 104, 104, 200, 300]
    shifts = {0: 0, 8: 0, 100: 16, 104: 16, 200: -8, 300: 16}
    old = Words(struct.pack("<8Q", *(ADDRESS + target for target in targets)), ADDRESS)
    new = Words(bytes(8) + struct.pack("<8Q", *(ADDRESS + target + shifts[target] for target in targets)), ADDRESS)
    # one pointer alone is not worth a move
    assert find_moves(old, new, [Cover(0, 8, 64)]) == [Move(100, 16)]
    assert find_moves(old, new, [Cover(0, 9, 60)]) == []
    # words that are in a cover only in part do not count
    assert find_moves(old, new, [Cover(1, 9, 62)]) == [Move(100, 16)]
    assert find_moves(old, new, [Cover(1, 9, 30)]) == []
