"""Items in the order of their sizes, to find the one of the nearest size without a look at each."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", str, tuple[int, bytes])


class BySize(Generic[Key]):
    """Items, each a size and a key that no other has; some may be removed.

    A search takes about as many steps as the number of items has bits.
    """

    def __init__(self, items: Iterable[tuple[int, Key]]) -> None:
        self._items: list[tuple[int, Key]] = sorted(items)
        # of removed items, by their index: an index that leads to the next one that is left, on either side
        self._after: dict[int, int] = {}
        self._before: dict[int, int] = {}

    def __len__(self) -> int:
        """Return the number of items, with those that were removed."""
        return len(self._items)

    def nearest(self, size: int) -> tuple[int, Key] | None:
        """Return the item of the nearest size; of several, the one with the lowest key."""
        at = bisect_left(self._items, size, key=_size)
        found = [_left(at, self._after)]
        below = _left(at - 1, self._before)
        if below >= 0:  # others of its size may come before it
            found.append(_left(bisect_left(self._items, _size(self._items[below]), key=_size), self._after))
        items = (self._items[index] for index in found if index < len(self._items))
        return min(items, key=lambda item: (abs(item[0] - size), item[1]), default=None)

    def remove(self, item: tuple[int, Key]) -> None:
        """Remove an item that is there."""
        at = bisect_left(self._items, item)
        self._after[at], self._before[at] = at + 1, at - 1


def _size(item: tuple[int, Key]) -> int:
    return item[0]


def _left(index: int, links: dict[int, int]) -> int:
    """Return the index of the nearest item that is left, from an index on."""
    passed = []
    while (to := links.get(index)) is not None:
        passed.append(index)
        index = to
    for one in passed:
        links[one] = index
    return index
