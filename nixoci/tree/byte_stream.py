"""A stream of bytes that arrives in chunks of any size."""

from collections.abc import Iterable, Iterator


class ByteStream:
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
