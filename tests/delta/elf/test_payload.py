import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.elf import payload
from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.payload import MAX_FILE, Differences, Payload
from nixoci.delta.format.numbers import pack_text, pack_varint

gaps = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 200)), max_size=12)


def some(rng: random.Random, runs: list[tuple[int, int]]) -> Differences:
    """Return differences of gaps and lengths."""
    lengths = np.array([length for _, length in runs], np.int64)
    at = np.cumsum(np.array([gap for gap, _ in runs], np.int64) + lengths) - lengths
    return Differences(at=at, lengths=lengths, values=np.frombuffer(rng.randbytes(int(lengths.sum())), np.uint8))


@given(gaps, st.integers(0, 9), st.sampled_from([1, 3, 1 << 14]))
def test_differences_are_added_run_by_run(runs: list[tuple[int, int]], seed: int, together: int) -> None:
    rng = random.Random(seed)
    differences = some(rng, runs)
    old = rng.randbytes(sum(map(sum, runs)) + 5)
    expected, values, at = bytearray(old), iter(differences.values.tolist()), 0
    for gap, length in runs:
        for place in range(at + gap, at + gap + length):
            expected[place] = expected[place] + next(values) & 255
        at += gap + length
    new = np.frombuffer(bytearray(old), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload, "_RUNS", together)
        differences.add_to(new)
    assert new.tobytes() == bytes(expected)


@given(gaps, gaps, st.integers(0, 9))
def test_a_payload_is_read_as_it_was_written(
    covers: list[tuple[int, int]], runs: list[tuple[int, int]], seed: int
) -> None:
    rng = random.Random(seed)
    lengths = np.array([length for _, length in covers], np.int64)
    at = np.cumsum(np.array([gap for gap, _ in covers], np.int64) + lengths) - lengths
    old = np.array([rng.randrange(300) for _ in covers], np.int64)
    rest = rng.randbytes(sum(gap for gap, _ in covers) + 3000)
    made = Payload(
        size=int(lengths.sum()) + len(rest),
        skip=np.array([3, 90], np.int64),
        exact=(np.array([0, 5, 1 << 33], np.int64), np.array([-1, 1 << 30, -(1 << 33)], np.int64)),
        covers=Covers(old=old, new=at, length=lengths),
        differences=some(rng, runs),
        rest=rest,
    )
    read = Payload.unpack(made.pack(), 500, 1 << 20)
    for one, other in (
        (read.skip, made.skip),
        (read.exact[0], made.exact[0]),
        (read.exact[1], made.exact[1]),
        (read.covers.old, old),
        (read.covers.new, at),
        (read.covers.length, lengths),
        (read.differences.at, made.differences.at),
        (read.differences.lengths, made.differences.lengths),
        (read.differences.values, made.differences.values),
    ):
        assert one.tolist() == other.tolist()
    assert (read.size, read.rest) == (made.size, rest)


@given(gaps, gaps, st.integers(0, 9), st.data())
def test_a_part_of_the_new_file_is_made_alone(
    covers: list[tuple[int, int]], runs: list[tuple[int, int]], seed: int, data: st.DataObject
) -> None:
    rng = random.Random(seed)
    lengths = np.array([length for _, length in covers], np.int64)
    at = np.cumsum(np.array([gap for gap, _ in covers], np.int64) + lengths) - lengths
    rest = rng.randbytes(max(sum(gap for gap, _ in covers), sum(map(sum, runs)) - sum(lengths.tolist())) + 5)
    made = Payload(
        size=int(lengths.sum()) + len(rest),
        skip=np.zeros(0, np.int64),
        exact=(np.zeros(0, np.int64), np.zeros(0, np.int64)),
        covers=Covers(old=np.array([rng.randrange(300) for _ in covers], np.int64), new=at, length=lengths),
        differences=some(rng, runs),
        rest=rest,
    )
    old = np.frombuffer(rng.randbytes(500), np.uint8)
    start, stop = (data.draw(st.integers(0, made.size + 9)) for _ in range(2))
    assert made.part(old, start, stop) == made.apply(old).tobytes()[start:stop]


def test_many_covers_take_little_memory() -> None:
    count = 1 << 17
    new = np.arange(count, dtype=np.int64) * 2
    covers = Covers(old=new % 7, new=new, length=np.ones(count, np.int64))
    old, rest = np.frombuffer(b"ABCDEFG", np.uint8), b"r" * count
    tracemalloc.start()
    made, part = covers.filled(old, rest), covers.part(old, rest, 1, 2 * count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.tobytes() == (b"ArCrErGrBrDrFr" * count)[: 2 * count]
    assert part == made[1:].tobytes()
    assert peak < 64 * count


def packed(size: int = 4, rest: bytes = b"rest", **columns: bytes) -> bytes:
    texts = [columns.get(f"c{number}", b"") for number in range(1, 10)]
    return pack_varint(size) + b"".join(map(pack_text, texts)) + rest


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "cut short"),
        (packed()[:5], "cut short"),
        (packed(101, bytes(101)), "a content of 101 bytes from one of 50, at most 100"),
        (packed(5), "a content of 5 bytes made from 4"),
        (packed(c4=b"\0"), "columns of 1, 0 and 0 covers"),
        (packed(5, b"rest", c4=b"\0", c5=b"\0", c6=b"\0"), "a cover of no bytes"),
        (packed(9, b"rest", c4=b"\0", c5=b"\5", c6=b"\5"), "not in the file"),
        (packed(9, b"rest", c4=b"\x01", c5=b"\0", c6=b"\5"), "not in the file"),
        (packed(9, b"rest", c4=b"\x5e", c5=b"\0", c6=b"\5"), "not in the file"),
        (packed(c7=b"\0"), "0 differences in 1 places and 0 runs"),
        (packed(c7=b"\0", c8=b"\1", c9=b"a"), "1 differences in 1 places and 1 runs"),
        (packed(c7=b"\4", c8=b"\0", c9=b"a"), "a difference at byte 5 of 4"),
        (packed(c2=b"\0"), "0 corrections of 1 addresses"),
        (packed(c1=b"\x80"), "column"),
    ],
)
def test_a_payload_that_contradicts_itself_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        Payload.unpack(data, 50, 100)


def test_large_files_are_refused_before_anything_is_made() -> None:
    with pytest.raises(ValueError, match="at most"):
        Payload.unpack(packed(MAX_FILE + 1), 50, 1 << 26)
    with pytest.raises(ValueError, match="at most"):
        Payload.unpack(packed(), MAX_FILE + 1, 1 << 26)
