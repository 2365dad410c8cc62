"""Numbers and texts as Nix writes them, in archives as between programs (Nix manual, Nix Archive (NAR) format)."""

import struct
from collections.abc import Iterable

NUMBER = struct.Struct("<Q")
"""64 bits, the lowest byte first."""


def text(content: bytes) -> bytes:
    """Return the form of a text: its length, itself, and zeros up to a multiple of eight bytes."""
    return NUMBER.pack(len(content)) + content + bytes(-len(content) % 8)


def texts(contents: Iterable[bytes]) -> bytes:
    """Return the form of a list of texts: how many they are, and each of them."""
    items = [text(content) for content in contents]
    return NUMBER.pack(len(items)) + b"".join(items)
