"""The codec: a patch between the inflated forms of the old segment and the content."""

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence

from nixoci.delta.codecs.hdiff import HDIFF, patch
from nixoci.delta.codecs.model import Codec
from nixoci.delta.recompress.encoders import ENCODERS, LEVELS, Encoder
from nixoci.delta.recompress.inflated import MAX_INFLATED, deflate_streams, inflate_streams
from nixoci.delta.recompress.payload import Payload, pack_payload, read_payload
from nixoci.delta.recompress.streams import Stream, find_cut_stream, find_streams, inflate, inflate_start

_TRIED = 1 << 17
"""Bytes of the largest data that are deflated to find the encoder, if any are smaller."""
_MOSTLY = 0.25
"""The part of a content that has to be in deflate streams: a program may have a small archive in it."""
_MAX_ADDED = 24 << 20
"""Bytes of the data of the streams that are inflated; bounds the memory of the sender."""
_ENOUGH = 1 << 17
"""Bytes of a stream's start that tell the encoder."""


def encode(old: bytes, new: bytes) -> bytes | None:
    """Return the payload of `new`, or None if it is not mostly deflate streams that an encoder makes again.

    Streams that both contents have stay deflated.
    """
    found = list(find_streams(new, MAX_INFLATED))
    if sum(stream.end - stream.start for stream in found) < len(new) * _MOSTLY:
        return None
    old_found = list(find_streams(old, MAX_INFLATED))
    both = {_digest(old, stream) for stream in old_found} & {_digest(new, stream) for stream in found}
    found = list(_chosen(new, found, both))
    made = _find_encoder(new, found)
    if made is None:
        return None
    encoder, level = made
    again = (stream for stream in found if _is_made_by(encoder, level, new, stream))
    streams = list(_within(new, again, encoder.max_streams))
    old_streams = list(_within(old, _chosen(old, old_found, both), encoder.max_streams))
    gaps, old_gaps = _gaps(streams), _gaps(old_streams)
    return pack_payload(
        Payload(
            encoder=encoder,
            level=level,
            old=old_gaps,
            new=gaps,
            sizes=[stream.size for stream in streams],
            patch=patch(inflate_streams(old, old_gaps), inflate_streams(new, gaps)),
        )
    )


def is_recompressible(head: bytes) -> bool:
    """Return whether an encoder makes the first deflate streams again, judging by the first bytes of a content."""
    streams = list(find_streams(head, MAX_INFLATED))
    if streams:
        return _find_encoder(head, streams) is not None
    cut = find_cut_stream(head)
    if cut is None or cut.end - cut.start < _ENOUGH:
        return False
    data = inflate_start(head, cut)
    # the end differs, because an encoder knows the data of a whole block before it writes the block
    sure = (cut.end - cut.start) // 4
    start = head[cut.start : cut.start + sure]
    return any(encoder.deflate(data, level)[:sure] == start for encoder, level in _encoders(cut))


def _find_encoder(content: bytes, streams: Sequence[Stream]) -> tuple[Encoder, int] | None:
    """Return the encoder and the level that make one of the streams again, if there are any."""
    few = [stream for stream in streams if stream.size <= _TRIED]
    if few:
        tried = max(few, key=lambda stream: stream.size)
    elif streams:
        tried = min(streams, key=lambda stream: stream.size)
    else:
        return None
    return next((found for found in _encoders(tried) if _is_made_by(*found, content, tried)), None)


def _encoders(stream: Stream) -> Iterator[tuple[Encoder, int]]:
    """Yield the encoders of this machine and their levels, the likeliest for a stream first.

    zlib comes before gzip, which makes the same of small data and takes a process.
    """
    for level in sorted(LEVELS, key=lambda level: (level != stream.level, level != LEVELS[-1], -level)):
        for encoder in ENCODERS.values():
            if encoder.usable(level):
                yield encoder, level


def _digest(content: bytes, stream: Stream) -> bytes:
    return hashlib.sha256(memoryview(content)[stream.start : stream.end]).digest()


def _chosen(content: bytes, streams: Iterable[Stream], both: Container[bytes]) -> Iterator[Stream]:
    return (stream for stream in streams if _digest(content, stream) not in both)


def _is_made_by(encoder: Encoder, level: int, content: bytes, stream: Stream) -> bool:
    data, end = inflate(content, stream.start, stream.size)
    return encoder.deflate(data, level) == content[stream.start : end]


def _within(content: bytes, streams: Iterable[Stream], most: int) -> Iterator[Stream]:
    """Yield the first streams that may be inflated."""
    left = min(_MAX_ADDED, MAX_INFLATED - len(content))
    for stream in streams:
        if not most:
            return
        if stream.size <= left:
            left -= stream.size
            most -= 1
            yield stream


def _gaps(streams: Iterable[Stream]) -> list[int]:
    gaps, at = [], 0
    for stream in streams:
        gaps.append(stream.start - at)
        at = stream.end
    return gaps


def _decode(data: bytes, old: bytes, limit: int) -> bytes:
    payload = read_payload(data)
    inflated = HDIFF.decode(payload.patch, inflate_streams(old, payload.old), MAX_INFLATED)
    streams = zip(payload.new, payload.sizes, strict=True)
    return deflate_streams(inflated, streams, lambda data: payload.encoder.deflate(data, payload.level), limit)


def _require(data: bytes) -> None:
    payload = read_payload(data)
    payload.encoder.require(payload.level)


DEFLATE = Codec(number=5, name="deflate", version=2, require=_require, decode=_decode)
