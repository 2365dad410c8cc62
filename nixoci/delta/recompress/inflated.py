"""Contents with some of their deflate streams replaced by the inflated data, and back."""

import zlib
from collections.abc import Callable, Iterable

from nixoci.delta.codecs.model import CorruptPayloadError
from nixoci.delta.recompress.streams import inflate

MAX_INFLATED = 64 << 20
"""Bytes of an inflated content."""


def inflate_streams(content: bytes, gaps: Iterable[int]) -> bytes:
    """Return a content with the deflate streams inflated that follow each other after these gaps.

    Raises:
        CorruptPayloadError: There is no such stream, or the result has more than `MAX_INFLATED` bytes.
    """
    inflated = bytearray()
    at = 0
    for gap in gaps:
        inflated += content[at : at + gap]
        try:
            data, at = inflate(content, at + gap, MAX_INFLATED - len(inflated))
        except (EOFError, OverflowError, ValueError, zlib.error) as error:
            raise CorruptPayloadError(f"a compressed stream of the old content does not inflate ({error})") from error
        inflated += data
    if len(inflated) + len(content) - at > MAX_INFLATED:
        raise CorruptPayloadError(f"the old content inflates to more than {MAX_INFLATED} bytes")
    inflated += content[at:]
    return bytes(inflated)


def deflate_streams(
    inflated: bytes, streams: Iterable[tuple[int, int]], deflate: Callable[[bytes], bytes], limit: int
) -> bytes:
    """Return a content from its inflated form: the opposite of `inflate_streams`.

    Args:
        inflated: The inflated content.
        streams: The gap before the data of each stream, and the bytes of the data.
        deflate: The encoder.
        limit: The most bytes that the content may have.

    Raises:
        CorruptPayloadError: The streams do not fit.
    """
    content = bytearray()
    at = 0
    for gap, size in streams:
        end = at + gap + size
        if end > len(inflated):
            raise CorruptPayloadError(f"a compressed stream ends at byte {end} of {len(inflated)}")
        content += inflated[at : at + gap]
        content += deflate(inflated[at + gap : end])
        if len(content) > limit:
            raise CorruptPayloadError(f"a content has more than {limit} bytes")
        at = end
    content += inflated[at:]
    return bytes(content)
