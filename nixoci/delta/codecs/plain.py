"""The codec without an old segment: the payload is the content."""

from nixoci.delta.codecs.model import Codec


def _decode(payload: bytes, _old: bytes, _limit: int) -> bytes:
    return payload


PLAIN = Codec(number=0, name="plain", uses_old=False, decode=_decode)
