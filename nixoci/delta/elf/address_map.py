"""The new address of each old one."""

import numpy as np

from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.layout import Layout, Numbers


class AddressMap:
    """The new address of each old one, relative to the lowest addresses.

    Of covers that share old bytes, the one that begins first counts, and of those that begin together the longest. An
    address between two covers goes with the nearer one. One that the file does not hold goes with the end of the data
    in the file.

    Args:
        covers: The covers.
        old: The layout of the old file.
        new: The layout of the new file.

    Attributes:
        exact: Old addresses with another new address, in order, and the differences from what follows otherwise.
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
        self.exact: tuple[Numbers, Numbers] = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def __call__(self, addresses: Numbers) -> Numbers:
        """Return the new addresses."""
        moved = self._moved(addresses)
        known, differences = self.exact
        if len(known):
            index = np.minimum(np.searchsorted(known, addresses), len(known) - 1)
            moved += np.where(known[index] == addresses, differences[index], 0)
        return moved

    def places(self, offsets: Numbers, width: int) -> Numbers:
        """Return the offsets in the new file of fields of some bytes in the old one; -1 for those in no cover."""
        if not len(self._starts):
            return np.full(len(offsets), -1, np.int64)
        index = np.maximum(np.searchsorted(self._starts, offsets, side="right") - 1, 0)
        inside = (offsets >= self._starts[index]) & (offsets + width <= self._ends[index])
        return np.where(inside, offsets + self._shifts[index], -1)

    def _moved(self, addresses: Numbers) -> Numbers:
        offsets = self._old.offsets(addresses)
        moved = addresses + np.where(addresses >= self._old.file_end, self._new.file_end - self._old.file_end, 0)
        if not len(self._starts):
            return moved
        shifts = self._shifts[np.searchsorted(self._turns, offsets, side="right")]
        found = self._new.addresses(offsets + shifts)
        return np.where((offsets >= 0) & (found >= 0), found, moved)
