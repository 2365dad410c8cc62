"""The numbers and texts that a delta is written in (docs/delta-format.md, Numbers)."""

from collections.abc import Callable

MAX_VARINT = 10


def read_varint(byte: Callable[[], int]) -> int:
    """Return the number whose bytes `byte` returns one by one.

    Raises:
        OverflowError: It has more than ten.
    """
    value = 0
    for position in range(MAX_VARINT):
        part = byte()
        value |= (part & 0x7F) << (7 * position)
        if part < 0x80:
            return value
    raise OverflowError


def pack_varint(value: int) -> bytes:
    """Return a number: seven bits a byte, the lowest first, the top bit set on all but the last."""
    packed = bytearray()
    while value >= 0x80:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def pack_text(text: bytes) -> bytes:
    """Return a text: the number of its bytes, and those."""
    return pack_varint(len(text)) + text
