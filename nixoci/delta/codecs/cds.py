"""Patches of class data archives of the JVM with their pointers moved (`nixoci.delta.cds`)."""

from nixoci.delta.codecs.model import Codec


def _decode(payload: bytes, old: bytes, limit: int) -> bytes:
    from nixoci.delta.cds.codec import decode  # noqa: PLC0415 - few deltas need it

    return decode(payload, old, limit)


CDS = Codec(number=6, name="cds", version=2, decode=_decode)
