"""Windows and patches by windows, with pieces of some kilobytes."""

import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs import windows as module
from nixoci.delta.codecs.hdiff import HDIFF, patch, patch_by_windows
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.source import Held
from nixoci.delta.codecs.windows import PIECE, WINDOW, windows

_SMALL = {"_BLOCK": 256, "PIECE": 256 * 12, "_BESIDE": 4, "_MORE": 4, "_RARITY": 64, "_READ": 1000, "_FEW": 2}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _SMALL.items():
        monkeypatch.setattr(module, name, value)


def text(seed: int, lines: int) -> bytes:
    rng = random.Random(seed)
    words = [rng.randbytes(3).hex().encode() for _ in range(400)]
    return b"\n".join(b" ".join(rng.choices(words, k=7)) for _ in range(lines))


parts = st.lists(
    st.sampled_from([b"", b"a", bytes(5000), b"ab" * 700, text(1, 90), text(2, 30), random.Random(3).randbytes(4000)]),
    max_size=5,
).map(b"".join)


@given(parts.filter(len), parts)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@pytest.mark.usefixtures("small")
def test_any_file_comes_from_any_other_by_windows(old: bytes, new: bytes) -> None:
    found = list(windows(Held(old), Held(new)))
    assert [end for end, _ in found] == sorted({end for end, _ in found})
    assert not new or found[-1][0] == len(new)
    for _, ranges in found:
        assert sum(end - start for start, end in ranges) <= 256 * (12 + 1 + 4 + 4)
        borders = [border for each in ranges for border in each]
        assert borders == sorted(set(borders))
        assert borders[0] >= 0
        assert borders[-1] <= len(old)
    assert decode(HDIFF.number, patch_by_windows(Held(old), Held(new)), old, len(new)) == new


@pytest.mark.usefixtures("small")
def test_what_moved_far_is_found() -> None:
    one, other, more = text(4, 400), text(5, 400), text(6, 400)
    old, new = one + other + more, more + one + b"a new line\n" + other
    made = patch_by_windows(Held(old), Held(new))
    assert decode(HDIFF.number, made, old, len(new)) == new
    assert len(made) < len(patch(old, new)) + 400


@pytest.mark.usefixtures("small")
def test_what_is_only_changed_is_found_in_place() -> None:
    old = bytearray(text(7, 900))
    for at in range(0, len(old), 400):
        old[at] ^= 1
    new = bytes(old[:20_000]) + b"inserted" * 200 + bytes(old[20_000:])
    made = patch_by_windows(Held(bytes(old)), Held(new))
    assert decode(HDIFF.number, made, bytes(old), len(new)) == new
    assert len(made) < 8 * 200 + 100


class Counted:
    """A source of changed lines, whose largest read is noted."""

    def __init__(self, size: int, every: int) -> None:
        self.size = size
        self.largest = 0
        self._text = text(8, 5000)
        self._every = every

    def read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size)
        self.largest = max(self.largest, stop - start)
        first = start // len(self._text)
        copies = (b"%08d" % number + self._text[8:] for number in range(first, stop // len(self._text) + 1))
        joined = bytearray(b"".join(copies))
        skipped = start - first * len(self._text)
        part = joined[skipped : skipped + stop - start]
        for at in range(-start % self._every, len(part), self._every):
            part[at] ^= 1
        return bytes(part)


def test_a_large_file_is_never_in_memory_as_a_whole() -> None:
    old, new = Counted(8 << 20, 9973), Counted(13 << 20, 7919)
    tracemalloc.start()
    made = patch_by_windows(old, new)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(old.largest, new.largest) <= WINDOW
    assert peak < 4 * WINDOW + 2 * len(made)
    assert decode(HDIFF.number, made, old.read(0, old.size), new.size) == new.read(0, new.size)
    assert len(list(windows(old, new))) == -(-new.size // PIECE)
