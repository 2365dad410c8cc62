"""One replacement in the old segment: its offset, the length removed, the bytes inserted."""

import io

from nixoci.delta.codecs.model import Codec, CorruptPayloadError
from nixoci.delta.format.numbers import pack_varint, read_varint

_BLOCK = 1 << 16


def splice(old: bytes, new: bytes) -> tuple[bytes, int]:
    """Return the payload of `new`, and the number of bytes that it inserts."""
    start = _shared(old, new, min(len(old), len(new)))
    end = _shared(old, new, min(len(old), len(new)) - start, at_end=True)
    inserted = new[start : len(new) - end]
    return pack_varint(start) + pack_varint(len(old) - start - end) + inserted, len(inserted)


def _shared(one: bytes, other: bytes, most: int, *, at_end: bool = False) -> int:
    """Return the length of the common start or end, at most `most`."""

    def same(start: int, stop: int) -> bool:
        if at_end:
            return one[len(one) - stop : len(one) - start] == other[len(other) - stop : len(other) - start]
        return one[start:stop] == other[start:stop]

    low = 0
    while low < most and same(low, min(most, low + _BLOCK)):
        low = min(most, low + _BLOCK)
    high = min(most, low + _BLOCK)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if same(low, middle) else (low, middle - 1)
    return low


def _decode(payload: bytes, old: bytes, _limit: int) -> bytes:
    source = io.BytesIO(payload)
    try:
        start, removed = (read_varint(lambda: source.read(1)[0]) for _ in range(2))
    except (IndexError, OverflowError) as error:
        raise CorruptPayloadError("a truncated replacement") from error
    if start + removed > len(old):
        raise CorruptPayloadError(f"a replacement of bytes {start} to {start + removed} of {len(old)}")
    return old[:start] + source.read() + old[start + removed :]


SPLICE = Codec(number=3, name="splice", decode=_decode)
