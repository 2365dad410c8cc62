"""A function of numbers that is found by looking them up in a table, in place of a search for each."""

import numpy as np

from nixoci.delta.elf.layout import Numbers

_TABLE_BITS, _MIN_BITS = 16, 6
"""Binary logarithms of the most ranges of numbers in a table, and of the numbers in the smallest range."""


class Steps:
    """Adds to each number what belongs to the last step at or before it.

    A search in the steps takes ten times as long as a look into a table of ranges of numbers. Only in the ranges that
    a step divides, the steps are searched.

    Args:
        at: The steps, ascending, at least one.
        added: What is added from each step on, after what is added before the first.
    """

    def __init__(self, at: Numbers, added: Numbers) -> None:
        self._at, self._added = at, added
        self._bits = max(_MIN_BITS, int(at[-1] - at[0]).bit_length() - _TABLE_BITS)
        # one range more at either end, for all numbers there
        self._first = (int(at[0]) >> self._bits) - 1
        self._last = (int(at[-1]) >> self._bits) + 1 - self._first
        edges = np.arange(self._first, self._first + self._last + 2) << self._bits
        steps = np.searchsorted(at, edges[:-1], side="right")
        self._divided = steps != np.searchsorted(at, edges[1:])
        self._in_range = added[steps]

    def __call__(self, numbers: Numbers) -> Numbers:
        """Return the sums."""
        ranges = np.clip((numbers >> self._bits) - self._first, 0, self._last)
        sums: Numbers = numbers + self._in_range.take(ranges)
        divided = np.flatnonzero(self._divided.take(ranges))
        if len(divided):
            chosen = numbers[divided]
            sums[divided] = chosen + self._added[np.searchsorted(self._at, chosen, side="right")]
        return sums
