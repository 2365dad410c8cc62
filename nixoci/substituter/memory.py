"""A bound of the memory that requests use at a time."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from nixoci.substituter.body import Waiting


class Memory:
    """Bytes that requests reserve before they use them, in the order in which they come.

    Args:
        size: Bytes in all.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._queue: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def reserve(self, size: int, waiting: Waiting) -> Iterator[None]:
        """Hold that many bytes, or all if that is more, while the block runs.

        Raises:
            TooLateError: Others hold them too long.
        """
        size = min(size, self._size)
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            waiting.until(lambda timeout: self._take(ticket, size, timeout))
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()

    def _take(self, ticket: object, size: int, timeout: float) -> bool:
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue[0] is ticket and self._free >= size, timeout):
                return False
            self._free -= size
            return True
