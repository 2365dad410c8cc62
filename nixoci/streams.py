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
_PIECE = 1 << 16
"""Bytes of a file that are worth a read of their own."""

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


class BlockSink:
    """A sink that gathers data in a block, and writes that to another sink once it is full.

    Args:
        out: Takes the blocks; the buffer of each is reused after the call.
        size: Bytes of a block.
    """

    def __init__(self, out: Sink, size: int = _CACHED_BLOCK) -> None:
        self._out = out
        self._size = size
        self._buffer = bytearray(size)
        self._block = memoryview(self._buffer)
        self._used = 0

    def write(self, data: Data, /) -> None:
        """Take the data; they are written once a block is full."""
        used = self._used
        end = used + len(data)
        if end > self._size:
            self.flush()
            used, end = 0, len(data)
            if end > self._size:
                self._pass_on(data)
                return
        self._block[used:end] = data
        self._used = end

    def write_file(self, handle: int, size: int, edit: "Edit | None" = None) -> int:
        """Take the first bytes of an open file without a copy, edited; return their number, less if it ends early.

        Args:
            handle: The file.
            size: Bytes to take; with `edit`, no more than a block has, and no more than its segment size.
            edit: A change of the bytes.
        """
        at = 0
        while at < size:
            left = size - at
            if self._used + min(left, self._size if edit else _PIECE) > self._size:
                self.flush()
            count = os.preadv(handle, [self._block[self._used : self._used + left]], at)
            if not count:
                break
            at += count
            self._used += count
        if edit:
            edit.edit_block(self._buffer, self._used, last=True, start=self._used - at)
        return at

    def fits(self, size: int) -> bool:
        """Return whether a block has room for so many bytes."""
        return size <= self._size

    def flush(self) -> None:
        """Write what was taken."""
        if self._used:
            self._pass_on(self._block[: self._used])
            self._used = 0

    def _pass_on(self, data: Data) -> None:
        """Write a block, or data that are larger than one."""
        self._out.write(data)


class ThreadedSink(BlockSink):
    """A sink that writes to another in a thread of its own, while the caller prepares the next block.

    Raises:
        Exception: From every method, the exception that the other sink raised.
    """

    def __init__(self, out: Sink) -> None:
        super().__init__(out, _THREAD_BLOCK)
        self._pool = ThreadPoolExecutor(1)
        self._other = bytearray(_THREAD_BLOCK)
        self._running: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def finish(self) -> None:
        """Wait until all is written."""
        self.flush()
        self._wait()

    def _pass_on(self, data: Data) -> None:
        """Write a block while the other one is filled. Of larger data no more than a block waits."""
        size = len(data)
        if size <= self._size:
            self._wait()
            self._running = self._pool.submit(self._out.write, data)
            self._buffer, self._other = self._other, self._buffer
            self._block = memoryview(self._buffer)
            return
        for start in range(0, size, self._size):  # so that those of two calls are not in memory together
            self._wait()
            self._running = self._pool.submit(self._out.write, bytes(data[start : start + self._size]))

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

    def edit_block(self, block: bytearray, end: int, *, last: bool, start: int = 0) -> int:
        """Edit the bytes of a block from `start` to `end` in place; return the end of those that are final.

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
