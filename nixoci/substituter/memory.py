"""Bounds of the memory that requests use at a time, and that the process has."""

import ctypes
import resource
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Condition

from nixoci.substituter.body import Waiting

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
_LARGE = 2 << 20
_KEPT = 8 << 20
"""Bytes at the end of an arena that are kept for the next buffers: the system takes as long to give memory anew as it
takes to decode what is then in it."""


def return_freed_memory() -> None:
    """Let glibc return large buffers to the system when they are freed (mallopt(3)).

    Otherwise each of the threads keeps what it once used for the NAR of one request. Other C libraries do not.
    """
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


_DATA = 448 << 20
"""Bytes of private memory that the process may have: with the next, less than the 800 MB of its unit's `MemoryMax`."""
WORKER_DATA = 256 << 20
"""Bytes of private memory that the worker process may have. A program of 32 MiB needs some 230 MiB."""
_STACK = 512 << 10
"""Bytes of a thread's stack, which counts as a whole: 8 MiB would be the default, for hundreds of threads."""


def bound_memory() -> None:
    """Let an allocation fail that is beyond the memory for this process (setrlimit(2), RLIMIT_DATA).

    A patch that was made to be hard then fails alone, and the ordinary NAR comes. Without a bound, systemd or the
    kernel would end the process, and with it what all others wait for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    lower = _DATA if soft == resource.RLIM_INFINITY else min(_DATA, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (lower, hard))
    threading.stack_size(_STACK)


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

    @property
    def is_used(self) -> bool:
        """Say whether a request holds some of it, or waits for that."""
        with self._changed:
            return self._free < self._size or bool(self._queue)

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
