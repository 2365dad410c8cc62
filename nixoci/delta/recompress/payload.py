"""The bytes of a payload (docs/delta-format.md, Deflate)."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from nixoci.delta.codecs.model import CorruptPayloadError
from nixoci.delta.format.numbers import pack_varint, read_varint
from nixoci.delta.recompress.encoders import ENCODERS, LEVELS, Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload.

    Attributes:
        encoder: The encoder of the content's streams.
        level: Their compression level.
        old: For each inflated stream of the old segment, the bytes between the stream before and this one.
        new: For each inflated stream of the content, the bytes between the stream before and this one.
        sizes: For each of these, the bytes of its data.
        patch: The patch that makes the inflated content from the inflated old segment.
    """

    encoder: Encoder
    level: int
    old: Sequence[int]
    new: Sequence[int]
    sizes: Sequence[int]
    patch: bytes


def pack_payload(payload: Payload) -> bytes:
    """Return the bytes of a payload."""
    packed = bytearray(payload.encoder.letter + bytes([payload.level]))
    for number in (len(payload.old), *payload.old, len(payload.new), *payload.new, *payload.sizes):
        packed += pack_varint(number)
    return bytes(packed) + payload.patch


def read_payload(data: bytes) -> Payload:
    """Parse a payload.

    Raises:
        CorruptPayloadError: It is none, or has more streams than are allowed.
    """
    encoder = ENCODERS.get(data[:1])
    if encoder is None or len(data) < 2 or data[1] not in LEVELS:
        raise CorruptPayloadError(f"an encoder of compressed streams is {data[:2]!r}, which is not known")
    source = io.BytesIO(data)
    source.seek(2)

    def number() -> int:
        return read_varint(lambda: source.read(1)[0])

    def numbers(count: int) -> list[int]:
        return [number() for _ in range(count)]

    def count() -> int:
        value = number()
        if value > encoder.max_streams:
            raise CorruptPayloadError(f"{value} compressed streams, at most {encoder.max_streams} are allowed")
        return value

    try:
        old = numbers(count())
        streams = count()
        new, sizes = numbers(streams), numbers(streams)
    except (IndexError, OverflowError) as error:
        raise CorruptPayloadError("a truncated list of compressed streams") from error
    return Payload(encoder=encoder, level=data[1], old=old, new=new, sizes=sizes, patch=source.read())
