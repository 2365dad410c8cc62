"""Both directions of the codec."""

import io
from typing import NamedTuple

from nixoci.delta.codecs.hdiff import HDIFF, patch
from nixoci.delta.codecs.model import Codec, CorruptPayloadError
from nixoci.delta.format.numbers import pack_text, read_varint
from nixoci.delta.jimage.index import MAX_SHORT, is_modules, restore, shorten


def encode(old: bytes, new: bytes) -> bytes | None:
    """Return the payload of `new`, or None if the contents are no files of modules whose index can be made again."""
    encoded = encode_index(old, new)
    return None if encoded is None else encoded.part + patch(old, new[encoded.size :])


class EncodedIndex(NamedTuple):
    """The start of a payload, which makes the index of the new content, and the bytes of that index."""

    part: bytes
    size: int


def encode_index(old: bytes, new: bytes) -> EncodedIndex | None:
    """Return the start of the payload of `new`. Of both contents only the bytes of their indices are read."""
    if not (is_modules(old) and is_modules(new)):
        return None
    try:
        (old_short, _), (short, size) = shorten(old), shorten(new)
        if restore(short) != new[:size]:
            return None
    except ValueError:
        return None
    return EncodedIndex(pack_text(patch(old_short, short)), size)


def _decode(data: bytes, old: bytes, limit: int) -> bytes:
    source = io.BytesIO(data)
    try:
        size = read_varint(lambda: source.read(1)[0])
    except (IndexError, OverflowError) as error:
        raise CorruptPayloadError("a truncated index of modules") from error
    index_patch = source.read(size)
    try:
        short, _ = shorten(old)
        index = restore(HDIFF.decode(index_patch, short, MAX_SHORT))
    except ValueError as error:
        raise CorruptPayloadError(f"an index of modules cannot be made ({error})") from error
    if len(index) > limit:
        raise CorruptPayloadError(f"a content has more than {limit} bytes")
    return index + HDIFF.decode(source.read(), old, limit - len(index))


JIMAGE = Codec(number=7, name="jimage", version=2, decode=_decode)
