"""Small archives: symbols, objects that point to each other and to symbols, and the table of the symbols."""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = 0x8_0000_0000
SKEW = 4096
"""The offset of what is dumped to `ADDRESS`."""


def names(count: int, *, more: int = 0) -> list[bytes]:
    """Return different texts; `more` are among them besides, at random places."""
    pick = random.Random(1)
    found = [b"java/lang/Name%d" % pick.getrandbits(30) for _ in range(count)]
    other = random.Random(2)
    for number in range(more):
        found.insert(other.randrange(len(found)), b"new/Symbol%d" % number)
    return found


def hashed(text: bytes) -> int:
    value = 0
    for byte in text:
        value = (31 * value + byte) % (1 << 32)
    return value


def symbol(text: bytes, number: int = 0) -> bytes:
    data = struct.pack("<HHH", 0xFFFF, number, len(text)) + text.ljust(2, b"\0")
    return data + bytes(-len(data) % 8)


def random_numbers() -> Iterator[int]:
    state = 0x12345678
    while True:
        state = state * 16807 % (2**31 - 1)
        yield state % 2**16


def bitmap(content: bytes) -> bytes:
    """Return the bits of the pointers from `SKEW` on."""
    words = struct.unpack(f"<{(len(content) - SKEW) // 8}Q", content[SKEW:])
    bits = bytearray(-(-len(words) // 8))
    for index, word in enumerate(words):
        if ADDRESS <= word < ADDRESS + 64 * 2**20:
            bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def table(offsets: dict[bytes, int], buckets: int) -> bytes:
    """Return both arrays, each after its length."""
    by_bucket = defaultdict(list)
    for text, offset in offsets.items():
        by_bucket[hashed(text) % buckets].append((hashed(text), offset))
    first, entries = b"", b""
    for number in range(buckets):
        found = by_bucket[number]
        kind = 1 if len(found) == 1 else 0
        first += struct.pack("<I", len(entries) // 4 + (kind << 30))
        entries += struct.pack("<I", found[0][1]) if kind else b"".join(struct.pack("<II", *entry) for entry in found)
    first += struct.pack("<I", len(entries) // 4 + (3 << 30))
    return struct.pack("<I", buckets + 1) + first + bytes(8) + struct.pack("<I", len(entries) // 4) + entries


def archive(
    texts: list[bytes], *, buckets: int = 97, objects: int = 3000, tail: bytes = b"", drawn: bool = True
) -> bytes:
    """Return an archive in which each object has words that point to symbols and objects, and numbers.

    The symbols have the numbers that a JVM draws, or none.
    """
    at = 24 * objects
    offsets = {}
    symbols = b""
    for text, number in zip(texts, random_numbers(), strict=False):
        offsets[text] = at + len(symbols)
        symbols += symbol(text, number if drawn else 0)
    pick = random.Random(3)
    old = [text for text in texts if not text.startswith(b"new")]
    dump = b""
    for number in range(objects):
        targets = offsets[pick.choice(old)], 24 * pick.randrange(objects), offsets[pick.choice(old)]
        words = [ADDRESS + target if pick.random() < 0.7 else number for target in targets]
        dump += struct.pack("<3Q", *words)
    content = b"\xa2\xab\x0b\xf0".ljust(SKEW, b"\0") + dump + symbols + table(offsets, buckets)
    content += bytes(-len(content) % SKEW)
    return content + bitmap(content) + tail
