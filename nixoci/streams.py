"""Byte streams: sinks that take data, exact reads, and open files read by blocks."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

from nixoci.progress import Advance

_THREAD_BLOCK = 1 << 20
"""Bytes that are handed to the other thread at a time."""
_CACHED_BLOCK = 1 << 18
"""Bytes that fit into a processor's cache."""

Data = bytes | memoryview


class Sink(Protocol):
    """An object that takes bytes."""

    def write(self, data: Data, /) -> object:
        """Consume all of `data`. A memoryview's buffer is reused after the call: copy it to keep it."""


class NullSink:
    """A sink that drops everything."""

    def write(self, _: Data, /) -> None:
        """Drop the data."""


class ProgressSink:
    """A sink that reports the bytes that it passes on."""

    def __init__(self, write: Callable[[Data], object], advance: Advance) -> None:
        self._write = write
        self._advance = advance

    def write(self, data: Data, /) -> None:
        """Pass the data on."""
        self._write(data)
        self._advance(len(data))


class ThreadedSink:
    """A sink that writes to another in a thread of its own, while the caller prepares the next data.

    Raises:
        Exception: From every method, the exception that the other sink raised.
    """

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._pool = ThreadPoolExecutor(1)
        self._block, self._other = (memoryview(bytearray(_THREAD_BLOCK)) for _ in range(2))
        self._used = 0
        self._running: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write(self, data: Data, /) -> None:
        """Take the data; they are written once a block is full.

        Of large data no more than a block waits, so that those of two calls are not in memory together.
        """
        size = len(data)
        if self._used + size > _THREAD_BLOCK:
            self._hand_over()
        if size > _THREAD_BLOCK:
            for start in range(0, size, _THREAD_BLOCK):
                self._write(bytes(data[start : start + _THREAD_BLOCK]))
        else:
            self._block[self._used : self._used + size] = data
            self._used += size

    def read_file(self, handle: int, start: int, end: int) -> int:
        """Take some bytes of an open file, of those from `start` to `end`, without a copy; return their number."""
        if self._used + min(end - start, _CACHED_BLOCK) > _THREAD_BLOCK:
            self._hand_over()
        count = os.preadv(handle, [self._block[self._used : self._used + end - start]], start)
        self._used += count
        return count

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
    """Return exactly `count` bytes of a stream, fewer only at its end."""
    data = read(count)
    if len(data) == count:
        return data
    parts = bytearray(data)
    while data and len(parts) < count:
        data = read(count - len(parts))
        parts += data
    return bytes(parts)


class Edit(Protocol):
    """A change of bytes that keeps their number. It starts again at every multiple of `segment_size` in a file."""

    @property
    def segment_size(self) -> int:
        """Bytes after which it starts again."""

    def __call__(self, data: bytes) -> bytes:
        """Return the data, edited."""

    def edit_block(self, block: bytearray, end: int, *, last: bool) -> int:
        """Edit the first `end` bytes of a block in place; return how many of those bytes are final.

        The caller passes the other bytes again, at the start of the next block. With `last`, all bytes are final.
        """


class BlockReader:
    """Reads open files by blocks, all into one buffer: a block is valid until the next is asked for."""

    def __init__(self) -> None:
        self._buffer = bytearray(_CACHED_BLOCK)
        self._view = memoryview(self._buffer)

    def read(self, handle: int, start: int, end: int, edit: Edit | None = None) -> Iterator[memoryview]:
        """Yield the bytes of an open file from `start` to `end`, edited; fewer if the file ends early.

        With `edit`, `start` must be a multiple of its segment size.
        """
        if edit is None:
            yield from self._read(handle, start, end, None)
            return
        for segment in range(start, end, edit.segment_size):
            yield from self._read(handle, segment, min(end, segment + edit.segment_size), edit)

    def _read(self, handle: int, start: int, end: int, edit: Edit | None) -> Iterator[memoryview]:
        view = self._view
        kept = 0
        while start < end and (count := os.preadv(handle, [view[kept : kept + end - start]], start)):
            start += count
            filled = kept + count
            final = edit.edit_block(self._buffer, filled, last=start == end) if edit else filled
            yield view[:final]
            kept = filled - final
            view[:kept] = view[final:filled]
