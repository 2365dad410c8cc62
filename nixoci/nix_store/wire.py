"""Numbers and strings as Nix writes them, in archives and between programs (Nix manual, Nix Archive (NAR) format)."""

import struct
from collections.abc import Iterable

NUMBER = struct.Struct("<Q")
"""64 bits, little-endian."""


def pack_string(content: bytes) -> bytes:
    """Return a string: its length, its bytes, and zeros up to a multiple of eight."""
    return NUMBER.pack(len(content)) + content + bytes(-len(content) % 8)


def pack_strings(contents: Iterable[bytes]) -> bytes:
    """Return a list of strings: their count, and each of them."""
    items = [pack_string(content) for content in contents]
    return NUMBER.pack(len(items)) + b"".join(items)
