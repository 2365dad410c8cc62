"""Patches by HDiffPatch (`HDIFF13`), not compressed: the body is."""

from nixoci.delta.codecs.model import Codec, CorruptPayloadError

_MAGIC = b"HDIFF13&\0"
"""Constant magic bytes, left out of the delta."""


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


HDIFF = Codec(number=1, name="hdiff", decode=_decode)
