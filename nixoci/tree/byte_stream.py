"""Streams of bytes that are read by length: of chunks of any size, or of a file."""

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

_CHUNK = 1 << 20


class ByteStream(Protocol):
    """Bytes that are read in order; `position` is the number of bytes before the next one."""

    position: int

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes, or fewer at the end of the stream."""

    def skip(self, length: int) -> bool:
        """Skip `length` bytes; return False if the stream ends before."""

    def pieces(self, length: int) -> Iterator[memoryview]:
        """Yield the next `length` bytes as views, or fewer at the end of the stream."""

    def piece(self, length: int) -> memoryview | None:
        """Return the next `length` bytes as a view, None if they are not in one piece in memory."""

    def drain(self) -> None:
        """Read to the end, if that is what verifies the stream."""


class FileStream:
    """A regular file, which skips by seeking."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.position = file.tell()

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes, or fewer at the end of the file."""
        data = self._file.read(min(length, self._size - self.position))
        self.position += len(data)
        return data

    def skip(self, length: int) -> bool:
        """Skip `length` bytes; return False if the file ends before."""
        end = self.position + length
        self.position = self._file.seek(min(end, self._size))
        return self.position == end

    def pieces(self, length: int) -> Iterator[memoryview]:
        """Yield the next `length` bytes as views, or fewer at the end of the file."""
        while length and (data := self.read(min(length, _CHUNK))):
            length -= len(data)
            yield memoryview(data)

    def piece(self, length: int) -> memoryview | None:  # noqa: ARG002 - the protocol's
        """Return None: nothing is in memory."""
        return None

    def drain(self) -> None:
        """Do nothing: what follows the archive is not part of it."""


class ChunkStream:
    """Chunks of bytes, read by length and skipped without a copy."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = memoryview(b"")
        self._at = 0
        self.position = 0

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes, or fewer at the end of the stream."""
        end = self._at + length
        if end <= len(self._chunk):
            data = bytes(self._chunk[self._at : end])
            self._at = end
            self.position += length
            return data
        parts = []
        while length and self._refill():
            part = bytes(self._chunk[self._at : self._at + length])
            parts.append(part)
            self._at += len(part)
            self.position += len(part)
            length -= len(part)
        return b"".join(parts)

    def skip(self, length: int) -> bool:
        """Skip `length` bytes; return False if the stream ends before."""
        while length and self._refill():
            step = min(length, len(self._chunk) - self._at)
            self._at += step
            self.position += step
            length -= step
        return not length

    def pieces(self, length: int) -> Iterator[memoryview]:
        """Yield the next `length` bytes as views of the chunks, or fewer at the end of the stream."""
        while length and self._refill():
            piece = self._chunk[self._at : self._at + length]
            self._at += len(piece)
            self.position += len(piece)
            length -= len(piece)
            yield piece

    def piece(self, length: int) -> memoryview | None:
        """Return the next `length` bytes as a view, None if they are not in one chunk."""
        end = self._at + length
        if end > len(self._chunk):
            return None
        piece = self._chunk[self._at : end]
        self._at = end
        self.position += length
        return piece

    def drain(self) -> None:
        """Read to the end."""
        while self._refill():
            self.position += len(self._chunk) - self._at
            self._at = len(self._chunk)

    def _refill(self) -> bool:
        """Make sure that there is an unread byte; return False at the end."""
        while self._at == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._chunk = memoryview(chunk)
            self._at = 0
        return True
