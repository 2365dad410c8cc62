"""Pointers in an archive: aligned words of eight bytes whose value is an address in it."""

import sys
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nixoci.delta.codecs.hdiff13 import Cover
from nixoci.delta.format.model import SEGMENT_SIZE

WORD = 8
_SAMPLE = 1 << 16
"""Words at the start of an archive that tell its address."""
_FEW = 16
"""One in as many words of the sample has to be an address."""
_ALIGNED = 24
"""Low bits of the address of an archive that are zero."""
_WORTH = 2
"""Pointers that have to move unlike their neighbours for it to be sent."""


@dataclass(frozen=True, slots=True)
class Move:
    """Targets from `start` on move by `shift` bytes."""

    start: int
    shift: int


class Words:
    """An archive as words of eight bytes, and the targets of those that are pointers, relative to its address.

    Args:
        content: The archive.
        address: The address at which it was dumped.
    """

    def __init__(self, content: bytes, address: int) -> None:
        self._content = content
        self._words = _words(content)
        self._address = address
        self._end = address + SEGMENT_SIZE

    def pointers(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the index of each pointer between two indices, and its target."""
        words = self._words if stop is None else self._words[start:stop]
        for index, word in enumerate(words, start):
            if self._address <= word < self._end:
                yield index, word - self._address

    def target(self, index: int) -> int | None:
        """Return the target of a word; None if it is no pointer."""
        word = self._words[index]
        return word - self._address if self._address <= word < self._end else None

    def blanked(self) -> bytes:
        """Return the archive with its pointers zero."""
        return self._changed((index, 0) for index, _ in self.pointers())

    def moved(self, moves: Sequence[Move]) -> bytes:
        """Return the archive with the targets of its pointers moved. The moves are in order."""
        starts = [move.start for move in moves]
        shifts = [0, *(move.shift for move in moves)]
        address = self._address
        return self._changed(
            (index, (address + target + shifts[bisect_right(starts, target)]) & 0xFFFF_FFFF_FFFF_FFFF)
            for index, target in self.pointers()
        )

    def _changed(self, changes: Iterable[tuple[int, int]]) -> bytes:
        words = self._words[:]
        for index, word in changes:
            words[index] = word
        if sys.byteorder == "big":
            words.byteswap()
        tail = self._content[len(words) * WORD :]
        return words.tobytes() + tail if tail else words.tobytes()


def find_address(content: bytes) -> int | None:
    """Return the address of an archive, from the words at its start; None if few of them look like addresses."""
    sample = _words(content[: _SAMPLE * WORD])
    common = Counter(word >> 32 for word in sample if word >> 32).most_common(1)
    if not common or common[0][1] * _FEW < len(sample):
        return None
    lowest = min(word for word in sample if word >> 32 == common[0][0])
    return lowest >> _ALIGNED << _ALIGNED


def find_moves(old: Words, new: Words, covers: Iterable[Cover]) -> list[Move]:
    """Return the moves of targets that pointers at the same places of covers show."""
    votes: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for old_start, new_start, length in covers:
        if (new_start - old_start) % WORD:
            continue
        distance = (new_start - old_start) // WORD
        for index, target in old.pointers(-(-old_start // WORD), (old_start + length) // WORD):
            moved = new.target(index + distance)
            if moved is not None:
                votes[target][moved - target] += 1
    return list(_joined(votes))


def _joined(votes: dict[int, Counter[int]]) -> Iterator[Move]:
    """Yield a move where most pointers to the targets that follow have another shift than before."""
    current = 0
    waiting: tuple[int, int, int] | None = None
    for target in sorted(votes):
        shift, count = votes[target].most_common(1)[0]
        if shift == current:
            waiting = None
        elif waiting is not None and waiting[1] == shift:
            count += waiting[2]
            start = waiting[0]
            waiting = (start, shift, count)
        else:
            waiting = (target, shift, count)
        if waiting is not None and waiting[2] >= _WORTH:
            current = waiting[1]
            yield Move(waiting[0], current)
            waiting = None


def _words(content: bytes) -> "array[int]":
    words = array("Q")
    words.frombytes(memoryview(content)[: len(content) // WORD * WORD])
    if sys.byteorder == "big":
        words.byteswap()
    return words
