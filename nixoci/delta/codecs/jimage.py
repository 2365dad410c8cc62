"""Patches of the file of a Java runtime's modules, whose index is made again (`nixoci.delta.jimage`)."""

from nixoci.delta.codecs.model import Codec


def _decode(payload: bytes, old: bytes, limit: int) -> bytes:
    from nixoci.delta.jimage.codec import decode  # noqa: PLC0415 - few deltas need it

    return decode(payload, old, limit)


JIMAGE = Codec(number=7, name="jimage", version=2, decode=_decode)
