"""The bitmap of an archive's pointers, which follows from the words that look like pointers, with few exceptions.

It has a bit for each word of eight bytes from `start` to the bitmap itself, the lowest bit of a byte first.
"""

from dataclasses import dataclass

from nixoci.delta.cds.pointers import WORD, Words

_BITS = 8
_PAGE = 1 << 12
_CHUNK = 64
"""Bytes of a bitmap by which it is found."""
_BUSY = 32
"""Different bytes in such a chunk, for it to be in one place only."""
_TRIES = 64


@dataclass(frozen=True, slots=True)
class Bitmap:
    """A bitmap.

    Attributes:
        start: The offset of the first word.
        offset: The offset of the bitmap.
    """

    start: int
    offset: int


def find_bitmap(content: bytes, address: int) -> Bitmap | None:
    """Return the bitmap of an archive, if there is one. Its first word and itself are at the start of a page."""
    bits = _bits(content, address, 0, len(content) // WORD)
    busy = (at for at in range(0, len(bits), _CHUNK) if len(set(bits[at : at + _CHUNK])) >= _BUSY)
    for at, _ in zip(busy, range(_TRIES), strict=False):
        found = content.find(bits[at : at + _CHUNK])
        if found >= at:
            skipped = -(found - at) % _PAGE
            return Bitmap(skipped * WORD * _BITS, found - at + skipped)
    return None


def flip_bitmap(content: bytearray, bitmap: Bitmap, address: int) -> None:
    """Replace a bitmap by its difference (exclusive or) from the words that look like pointers, or undo that.

    Raises:
        ValueError: The bitmap is not in the archive.
    """
    if bitmap.start % WORD or not bitmap.start <= bitmap.offset <= len(content):
        raise ValueError(f"a bitmap of the words from byte {bitmap.start} on at byte {bitmap.offset} of {len(content)}")
    end = min(bitmap.offset + (bitmap.offset - bitmap.start) // WORD // _BITS, len(content))
    there = content[bitmap.offset : end]
    made = _bits(bytes(content), address, bitmap.start // WORD, len(there) * _BITS)
    number = int.from_bytes(there, "little") ^ int.from_bytes(made, "little")
    content[bitmap.offset : end] = number.to_bytes(len(there), "little")


def _bits(content: bytes, address: int, first: int, count: int) -> bytes:
    """Return the bitmap of some words."""
    bits = bytearray(-(-count // _BITS))
    for index, _ in Words(content, address).pointers(first, first + count):
        place = index - first
        bits[place // _BITS] |= 1 << place % _BITS
    return bytes(bits)
