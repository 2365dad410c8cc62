"""Patches by HDiffPatch (`HDIFF13`), not compressed: the body is."""

from collections.abc import Iterator

from nixoci.delta.codecs.model import Codec, CorruptPayloadError

_MAGIC = b"HDIFF13&\0"
"""Constant magic bytes, left out of the delta."""
_HEADER_NUMBERS = 11
_COVERS = 2
"""The number of the header that counts covers."""


def patch(old: bytes, new: bytes) -> bytes:
    """Return the payload of `new`."""
    import hdiffpatch  # noqa: PLC0415 - takes longer to load than a delta without patches takes to apply

    return hdiffpatch.diff(old, new, validate=False, big_cache_match=True).removeprefix(_MAGIC)


def _decode(payload: bytes, old: bytes, limit: int) -> bytes:
    import hdiffpatch  # noqa: PLC0415 - as in patch

    if declared_size(payload) > limit:
        raise CorruptPayloadError(f"a patch makes more than {limit} bytes")
    try:
        return hdiffpatch.apply(old, _MAGIC + payload)
    except hdiffpatch.HDiffPatchError as error:
        raise CorruptPayloadError(f"a patch does not apply ({error})") from error


def declared_size(payload: bytes) -> int:
    """Return the size that a patch declares for its result (HDiffPatch, `serializeCompressedDiff`)."""
    value = 0
    for byte in payload[:10]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value
    raise CorruptPayloadError("a patch is cut short")


def patch_covers(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield what a patch copies, in order: the offsets in the old content and in the new one, and the bytes.

    `payload` is one that `patch` returned (HDiffPatch, `serializeCompressedDiff`).
    """
    at = 0

    def number(tag_bits: int = 0) -> tuple[int, int]:
        """Return a tag and a number, whose highest bits come first."""
        nonlocal at
        first, bits = payload[at], 7 - tag_bits
        value, more = first & (1 << bits) - 1, first >> bits & 1
        at += 1
        while more:
            value, more = value << 7 | payload[at] & 0x7F, payload[at] >> 7
            at += 1
        return first >> (8 - tag_bits), value

    header = [number()[1] for _ in range(_HEADER_NUMBERS)]
    old = new = 0
    for _ in range(header[_COVERS]):
        backward, step = number(1)
        old += -step if backward else step
        new += number()[1]
        length = number()[1]
        yield old, new, length
        old, new = old + length, new + length


HDIFF = Codec(number=1, name="hdiff", decode=_decode)
