"""Contents and old segments that need not be in memory."""

from dataclasses import dataclass
from typing import Protocol


class Source(Protocol):
    """Bytes that are read by ranges."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer at the end."""


@dataclass(frozen=True, slots=True)
class Rest:
    """The bytes of another source from an offset on."""

    source: Source
    start: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return max(0, self.source.size - self.start)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer at the end."""
        return self.source.read(self.start + start, self.start + stop)


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes in memory."""

    data: bytes | memoryview

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`, fewer at the end."""
        return bytes(self.data[start:stop])
