"""All codecs by their number, and decoding by any of them."""

from importlib import import_module

from nixoci.delta.codecs.elf import ELF
from nixoci.delta.codecs.formats import CDS, JIMAGE
from nixoci.delta.codecs.hdiff import HDIFF
from nixoci.delta.codecs.model import OldData, corruption_named
from nixoci.delta.codecs.plain import PLAIN
from nixoci.delta.codecs.splice import SPLICE
from nixoci.delta.codecs.zstd import ZSTD
from nixoci.delta.recompress.codec import DEFLATE
from nixoci.errors import DeltaError

CODECS = {codec.number: codec for codec in (PLAIN, HDIFF, ZSTD, SPLICE, ELF, DEFLATE, CDS, JIMAGE)}


def load() -> None:
    """Load what decoding needs, which takes longer than to decode a small file, and else happens with the first one.

    A worker process loads the rest.
    """
    import_module("hdiffpatch")


def require(number: int, payload: bytes) -> None:
    """Check that programs of this machine make the bytes that a payload relies on.

    Raises:
        DeltaError: One makes others, or the payload is damaged.
        ProcessError: One is missing.
    """
    codec = CODECS.get(number)
    if codec is not None and codec.require is not None:
        with corruption_named():
            codec.require(payload)


def decode(number: int, payload: bytes, old: bytes | OldData, limit: int) -> bytes:
    """Return the content of a payload, at most `limit` bytes.

    Args:
        number: The codec's.
        payload: The payload.
        old: The old segment; empty for a codec that uses none.
        limit: The largest size of a content.

    Raises:
        DeltaError: The codec is unknown, or the payload is damaged; the text names neither path nor content.
    """
    codec = CODECS.get(number)
    if codec is None:
        raise DeltaError(f"codec {number} is not known; update nixoci")
    with corruption_named():
        # in no variable, so that the codec can free it
        new = codec.decode(payload, old.take() if isinstance(old, OldData) else old, limit)
    if len(new) > limit:
        raise DeltaError(f"a content has {len(new)} bytes, more than {limit}")
    return new
