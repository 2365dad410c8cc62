"""Byte streams: the sinks that data are written to, and reading exactly so many bytes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

from nixoci.progress import Advance

_BLOCK = 1 << 20

Data = bytes | memoryview


class Sink(Protocol):
    """Whatever takes bytes."""

    def write(self, data: Data, /) -> object:
        """Take all of the data, which change afterwards where they are a view."""


class Nowhere:
    """A sink that drops everything."""

    def write(self, _: Data, /) -> None:
        """Drop the data."""


class Watched:
    """A sink that tells how many bytes went through it to where they are written."""

    def __init__(self, write: Callable[[bytes | memoryview], object], advance: Advance) -> None:
        self._write = write
        self._advance = advance

    def write(self, data: bytes | memoryview, /) -> None:
        """Pass the data on."""
        self._write(data)
        self._advance(len(data))


class ThreadedSink:
    """A sink that writes to another in a thread of its own, while the next data are got.

    Raises:
        Exception: From every method, what the other sink raised.
    """

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._pool = ThreadPoolExecutor(1)
        self._block, self._other = (memoryview(bytearray(_BLOCK)) for _ in range(2))
        self._used = 0
        self._running: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write(self, data: Data, /) -> None:
        """Take the data; they are written once there are enough of them."""
        size = len(data)
        if self._used + size > _BLOCK:
            self._hand_over()
        if size > _BLOCK:
            self._write(bytes(data))
        else:
            self._block[self._used : self._used + size] = data
            self._used += size

    def finish(self) -> None:
        """Wait until all is written."""
        self._hand_over()
        self._wait()

    def _hand_over(self) -> None:
        if self._used:
            self._write(self._block[: self._used])
            self._block, self._other = self._other, self._block
            self._used = 0

    def _write(self, data: Data) -> None:
        self._wait()
        self._running = self._pool.submit(self._out.write, data)

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()


def read_fully(read: Callable[[int], bytes], count: int) -> bytes:
    """Return so many bytes of a stream, fewer only where it ends."""
    data = read(count)
    if len(data) == count:
        return data
    parts = bytearray(data)
    while data and len(parts) < count:
        data = read(count - len(parts))
        parts += data
    return bytes(parts)
