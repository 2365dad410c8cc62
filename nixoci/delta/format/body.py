"""The body of a delta: the recipes, then the contents (docs/delta-format.md, Body and Contents)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nixoci.delta.format.model import MAX_RECIPES, SEGMENT_SIZE
from nixoci.delta.format.numbers import pack_varint
from nixoci.delta.format.stream import MAX_FRAME, DeltaReader


@dataclass(frozen=True, slots=True)
class ContentHead:
    """The start of a content: its codec, whether its old segment is rewritten, and the bytes of its payload."""

    codec: int
    rewritten: bool
    size: int


def pack_body_start(recipes: Sequence[bytes], contents: int) -> bytes:
    """Return the bytes of the body before its contents: all recipes, and the number of contents."""
    joined = b"".join(recipes)
    return pack_varint(len(joined)) + joined + pack_varint(contents)


def pack_content_head(head: ContentHead) -> bytes:
    """Return the bytes of a content before its payload."""
    return pack_varint(head.codec << 1 | head.rewritten) + pack_varint(head.size)


class BodyReader:
    """Reads a body in order: `recipes`, `count`, and for each content `head` and `payload`.

    Attributes:
        version: The version of the stream.

    Raises:
        DeltaError: From every method, if the stream is damaged or declares more than the format allows.
    """

    def __init__(self, stream: DeltaReader, *, segment_size: int = SEGMENT_SIZE) -> None:
        self._stream = stream
        self.version = stream.version
        self._segment_size = segment_size

    def recipes(self) -> bytes:
        """Return the recipes of all paths, joined."""
        return self._stream.read(self._stream.at_most(self._stream.varint(), MAX_RECIPES))

    def count(self) -> int:
        """Return the number of contents."""
        return self._stream.varint()

    def head(self) -> ContentHead:
        """Return the start of the next content."""
        codec = self._stream.varint()
        return ContentHead(codec >> 1, bool(codec & 1), self._stream.at_most(self._stream.varint(), self._segment_size))

    def payload(self, head: ContentHead) -> Iterator[bytes]:
        """Yield the payload that follows `head`, by blocks."""
        left = head.size
        while left:
            block = self._stream.some(min(left, MAX_FRAME))
            left -= len(block)
            yield block
