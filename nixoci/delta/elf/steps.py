"""A function of numbers that is found by looking them up in a table, in place of a search for each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nixoci.delta.elf.layout import Numbers
from nixoci.delta.elf.numbers import changes

_TABLE_BITS, _MIN_BITS = 16, 6
"""Binary logarithms of the most ranges of numbers in a table, and of the numbers in the smallest range."""
_MAX_SHORT = 1 << 29
"""What is added up to which it is held in 32 bits: the difference of two and a distance in a file fit, too."""
_NONE = np.zeros(0, np.int64)


class Steps:
    """Adds to each number what belongs to the last step at or before it, and more to some.

    A search in the steps takes ten times as long as a look into a table of ranges of numbers. Only in the ranges that
    a step divides, or that have some of the other numbers, they are searched.

    Args:
        at: The steps, ascending, at least one.
        added: What is added from each step on, after what is added before the first.
        others: Numbers to which more is added, ascending; of several that are equal, the first counts.
        more: What is added to these besides.
    """

    def __init__(self, at: Numbers, added: Numbers, others: Numbers = _NONE, more: Numbers = _NONE) -> None:
        self._at, self._added, self._others, self._more = at, added, others, more
        self._bits = max(_MIN_BITS, int(at[-1] - at[0]).bit_length() - _TABLE_BITS)
        # one range more at either end, for all numbers there
        self._first = (int(at[0]) >> self._bits) - 1
        count = (int(at[-1]) >> self._bits) + 2 - self._first
        largest = max(int(np.abs(added).max()) + int(np.abs(more).max(initial=0)), 0)
        number = np.int32 if largest < _MAX_SHORT else np.int64
        self._searched = np.iinfo(number).min
        begin = -(-at >> self._bits) - self._first  # the first range as a whole after each step
        self._in_range = np.repeat(added.astype(number), changes(np.append(begin, count)))
        inside = at[at & (1 << self._bits) - 1 != 0]
        self._in_range[(inside >> self._bits) - self._first] = self._searched
        if len(others):
            self._in_range[np.clip((others >> self._bits) - self._first, 0, count - 1)] = self._searched

    def added(self, numbers: NDArray[np.signedinteger[Any]]) -> NDArray[Any]:
        """Return what is added to numbers."""
        added = self._in_range.take((numbers >> self._bits) - self._first, mode="clip")
        searched = np.flatnonzero(added == self._searched)
        if len(searched):
            chosen = numbers.take(searched).astype(np.int64)
            exact = self._added[np.searchsorted(self._at, chosen, side="right")]
            if len(self._others):
                index = np.minimum(np.searchsorted(self._others, chosen), len(self._others) - 1)
                exact += np.where(self._others[index] == chosen, self._more[index], 0)
            added[searched] = exact
        return added
