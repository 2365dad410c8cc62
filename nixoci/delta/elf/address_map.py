"""The new address of each old one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.layout import Layout, Numbers
from nixoci.delta.elf.steps import Steps

_MAX_STEPS = 1 << 21
"""Most steps, which bounds their memory: there are about as many as covers, unless segments overlap."""


class AddressMap:
    """The new address of each old one, relative to the lowest addresses.

    Of covers that share old bytes, the one that begins first counts, and of those that begin together the longest. An
    address between two covers goes with the nearer one. One that the file does not hold goes with the end of the data
    in the file.

    Args:
        covers: The covers.
        old: The layout of the old file.
        new: The layout of the new file.
    """

    def __init__(self, covers: Covers, old: Layout, new: Layout) -> None:
        order = np.lexsort((covers.new, -covers.length, covers.old))
        starts, shifts = covers.old[order], (covers.new - covers.old)[order]
        ends = starts + covers.length[order]
        before = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
        starts = np.maximum(starts, before)
        kept = starts < ends
        self._starts, self._ends, self._shifts = starts[kept], ends[kept], shifts[kept]
        # offsets from which on the next cover is nearer
        self._turns = np.minimum((self._starts[1:] + self._ends[:-1]) // 2 + 1, self._starts[1:])
        self._old, self._new = old, new
        steps = self._find_steps()
        self._steps = None if steps is None else (steps, np.append(0, self._moved(steps) - steps))
        self.exact = np.zeros(0, np.int64), np.zeros(0, np.int64)

    @property
    def exact(self) -> tuple[Numbers, Numbers]:
        """Old addresses with another new address, in order, and the differences from what follows otherwise."""
        return self._exact

    @exact.setter
    def exact(self, corrections: tuple[Numbers, Numbers]) -> None:
        self._exact = corrections
        self._moves: Steps | None = None

    def __call__(self, addresses: Numbers) -> Numbers:
        """Return the new addresses."""
        moved: Numbers = addresses + self.shifts(addresses)
        return moved

    def shifts(self, addresses: NDArray[np.signedinteger[Any]]) -> NDArray[Any]:
        """Return the new addresses minus the old ones, of 32 bits if all that are possible fit."""
        if self._moves is None and self._steps is not None:
            self._moves = Steps(*self._steps, *self._exact)
        if self._moves is not None:
            return self._moves.added(addresses)
        known, differences = self._exact
        shifts = self._moved(addresses) - addresses
        if len(known):
            index = np.minimum(np.searchsorted(known, addresses), len(known) - 1)
            shifts += np.where(known[index] == addresses, differences[index], 0)
        return shifts

    def places(self, offsets: Numbers, width: int) -> Numbers:
        """Return the offsets in the new file of fields of some bytes in the old one; -1 for those in no cover."""
        if not len(self._starts):
            return np.full(len(offsets), -1, np.int64)
        index = np.maximum(np.searchsorted(self._starts, offsets, side="right") - 1, 0)
        inside = (offsets >= self._starts[index]) & (offsets + width <= self._ends[index])
        return np.where(inside, offsets + self._shifts[index], -1)

    def _find_steps(self) -> Numbers | None:
        """Return the addresses, ascending, at which the distance to the new address changes, and others.

        Return None if they are too many: the segments of one of the files overlap.
        """
        old, new = self._old.segments, self._new.segments
        steps = [np.array([(address, address + held) for address, _, held, _ in old]).reshape(-1)]
        left = _MAX_STEPS
        for address, offset, held, _ in old:
            first, last = np.searchsorted(self._turns, [offset, offset + held]).tolist()
            left -= last - first
            if left < 0:
                return None
            steps.append(self._turns[first:last] + (address - offset))
        inner = np.sort(np.concatenate(steps))  # numpy's unique loads numpy.ma
        if not len(self._starts):
            return inner
        # between these, offsets in the new file differ alike; there its segments begin and end
        offsets = self._old.offsets(inner)
        places = offsets + self._shifts[np.searchsorted(self._turns, offsets, side="right")]
        lengths = np.where(offsets >= 0, np.diff(inner, append=inner[-1]), 0)
        borders = np.sort([end for _, offset, held, _ in new for end in (offset, offset + held)])
        first_border = np.searchsorted(borders, places, side="right")
        counts = np.maximum(np.searchsorted(borders, places + lengths) - first_border, 0)
        if int(counts.sum()) > left:
            return None
        inside = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        crossed = borders[np.repeat(first_border, counts) + inside]
        return np.sort(np.concatenate([inner, crossed + np.repeat(inner - places, counts)]))

    def _moved(self, addresses: NDArray[np.signedinteger[Any]]) -> Numbers:
        offsets = self._old.offsets(addresses)
        moved = addresses + np.where(addresses >= self._old.file_end, self._new.file_end - self._old.file_end, 0)
        if not len(self._starts):
            return moved
        shifts = self._shifts[np.searchsorted(self._turns, offsets, side="right")]
        found = self._new.addresses(offsets + shifts)
        return np.where((offsets >= 0) & (found >= 0), found, moved)
