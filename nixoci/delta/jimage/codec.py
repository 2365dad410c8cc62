"""Both directions of the codec."""

import io

from nixoci.delta.codecs.hdiff import HDIFF, patch, patch_source
from nixoci.delta.codecs.model import CorruptPayloadError
from nixoci.delta.codecs.source import Rest, Source
from nixoci.delta.format.numbers import pack_text, read_varint
from nixoci.delta.jimage.index import HEAD, MAX_SHORT, index_size, restore, shorten


def encode(old: Source, new: Source) -> bytes | None:
    """Return the payload of `new`, or None if the contents are no files of modules whose index can be made again."""
    old_index, index = (source.read(0, index_size(source.read(0, HEAD))) for source in (old, new))
    try:
        short = shorten(index)
        if restore(short) != index:
            return None
        index_patch = patch(shorten(old_index), short)
    except ValueError:
        return None
    return pack_text(index_patch) + patch_source(old, Rest(new, len(index)))


def decode(data: bytes, old: bytes, limit: int) -> bytes:
    """Return the new file of modules.

    Args:
        data: The payload.
        old: The old one.
        limit: The largest size of the new one.

    Raises:
        CorruptPayloadError: The payload is damaged, or does not belong to the old one.
    """
    source = io.BytesIO(data)
    try:
        size = read_varint(lambda: source.read(1)[0])
    except (IndexError, OverflowError) as error:
        raise CorruptPayloadError("a truncated index of modules") from error
    index_patch = source.read(size)
    try:
        short = shorten(old)
        index = restore(HDIFF.decode(index_patch, short, MAX_SHORT))
    except ValueError as error:
        raise CorruptPayloadError(f"an index of modules cannot be made ({error})") from error
    if len(index) > limit:
        raise CorruptPayloadError(f"a content has more than {limit} bytes")
    return index + HDIFF.decode(source.read(), old, limit - len(index))
