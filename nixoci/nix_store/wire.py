"""Numbers and strings as Nix writes them, in archives and between programs (Nix manual, Nix Archive (NAR) format)."""

import struct
from collections.abc import Callable, Iterable

from nixoci.errors import StoreError

NUMBER = struct.Struct("<Q")
"""64 bits, little-endian."""


def pack_string(content: bytes) -> bytes:
    """Return a string: its length, its bytes, and zeros up to a multiple of eight."""
    return NUMBER.pack(len(content)) + content + bytes(-len(content) % 8)


def pack_strings(contents: Iterable[bytes]) -> bytes:
    """Return a list of strings: their count, and each of them."""
    items = [pack_string(content) for content in contents]
    return NUMBER.pack(len(items)) + b"".join(items)


_MAX_TEXT = 1 << 20


class Answers:
    """Reads what a program of Nix answers.

    Args:
        read: Returns exactly that many bytes.
        protocol: Names the protocol in errors.

    Raises:
        StoreError: From every method, if the answer is not one of this protocol.
    """

    def __init__(self, read: Callable[[int], bytes], *, protocol: str) -> None:
        self._read = read
        self._protocol = protocol

    def number(self) -> int:
        """Read a number."""
        number: int = NUMBER.unpack(self._read(NUMBER.size))[0]
        return number

    def text(self) -> str:
        """Read a string."""
        size = self.number()
        if size > _MAX_TEXT:
            raise self.unknown(f"answers with a text of {size} bytes")
        return self._read(size + -size % 8)[:size].decode(errors="replace")

    def texts(self) -> list[str]:
        """Read a list of strings."""
        return [self.text() for _ in range(self.number())]

    def unknown(self, found: str) -> StoreError:
        """Return the error for an answer that is not one of the protocol."""
        return StoreError(f"{self._protocol} {found}; update Nix")
