"""How one piece of content becomes residue: whole, or as its difference to an old piece."""

import io
from enum import Enum, IntEnum

from nixoci.compression import (
    CompressionParameter,
    DecompressionParameter,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdDict,
    ZstdError,
    compress,
)
from nixoci.delta.format.numbers import pack_varint, read_varint
from nixoci.delta.format.stream import ZSTD, Packing, lzma_packing
from nixoci.errors import DeltaError

_HDIFF_MAGIC = b"HDIFF13&\0"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""What all patches, and all frames, start with: it does not travel."""
_MAX_WINDOW_LOG = 31
_MIN_WINDOW_LOG = 10
_PACKED = 0.98
"""What compression leaves of a content, at least, that is taken for packed."""


class Codec(IntEnum):
    """How residue is read; the numbers are the format's."""

    PLAIN = 0
    HDIFF = 1
    ZSTD = 2
    SPLICE = 3


_MIN_PREFIX = 8
"""Bytes that zstd wants of an old content at least."""

_BLOCK = 1 << 16
_SMALL_SPLICE = 32
"""Bytes of a replacement that no other codec makes smaller."""


class Effort(Enum):
    """How much a sender spends for fewer bytes: time for `DEFAULT`, memory for `BEST`, which pays where much is new."""

    FAST = "fast"
    DEFAULT = "default"
    BEST = "best"


def body_packing(effort: Effort) -> Packing:
    """Return the packing for the one stream over all residue that compresses.

    On patches of programs LZMA is smaller than zstd by 7% in the same time. A larger dictionary than these finds
    little in what is sorted, and costs 12 times its size.
    """
    if effort is Effort.FAST:
        options: dict[int, int] = {
            CompressionParameter.compression_level: 3,
            CompressionParameter.window_log: 25,
            CompressionParameter.enable_long_distance_matching: 1,
        }
        return Packing(ZSTD, lambda: ZstdCompressor(options=options))
    return lzma_packing({Effort.DEFAULT: 8 << 20, Effort.BEST: 16 << 20}[effort])


def packed_packing() -> Packing:
    """Return the packing for residue that hardly compresses, such as that of packed contents."""
    return Packing(ZSTD, lambda: ZstdCompressor(level=3))


def is_packed(data: bytes) -> bool:
    """Tell whether a sample of some content is as good as incompressible: compressed, encrypted or random."""
    return len(compress(data, 1)) >= _PACKED * len(data)


def encode(new: bytes, old: bytes | None, effort: Effort, *, packed: bool = False) -> tuple[Codec, bytes]:
    """Return the residue that makes `new` from `old`, by the codec that is expected to be smallest in the body.

    Of `packed` contents the patch is made only where old and new have something in common, which is seldom.
    """
    if not new or not old:
        return Codec.PLAIN, new
    spliced, replaced = _splice(old, new)
    if len(new) <= len(spliced):
        best = Codec.PLAIN, new
    else:
        best = Codec.SPLICE, spliced
        if replaced <= _SMALL_SPLICE:
            return best
    if len(old) < _MIN_PREFIX:
        return best
    if effort is Effort.FAST or packed:
        against = _zstd_against(old, new, level=3 if effort is Effort.FAST else 1)
        if len(against) >= (_PACKED if packed else 1) * len(best[1]):
            return best
        if effort is Effort.FAST:
            return Codec.ZSTD, against
    patch = _hdiff(old, new)
    return (Codec.HDIFF, patch) if len(patch) < len(best[1]) else best


def decode(codec: int, residue: bytes, old: bytes, limit: int) -> bytes:
    """Return what residue and old piece make, at most `limit` bytes.

    Raises:
        DeltaError: They do not, or make more; the text says why and names neither.
    """
    try:
        if codec == Codec.PLAIN:
            new = residue
        elif codec == Codec.HDIFF:
            new = _hdiffed(old, residue, limit)
        elif codec == Codec.ZSTD:
            unpack = ZstdDecompressor(
                zstd_dict=ZstdDict(old, is_raw=True).as_prefix,
                options={DecompressionParameter.window_log_max: _MAX_WINDOW_LOG},
            )
            new = unpack.decompress(_ZSTD_MAGIC + residue, limit + 1)
            if not unpack.eof or unpack.unused_data:
                raise DeltaError(f"a compressed content does not end within {limit} bytes")
        elif codec == Codec.SPLICE:
            new = _spliced(old, residue)
        else:
            raise DeltaError(f"codec {codec} is not known")
    except (ZstdError, EOFError, ValueError, MemoryError) as error:
        raise DeltaError(f"a patch does not apply ({error})") from error
    if len(new) > limit:
        raise DeltaError(f"a content has {len(new)} bytes, more than {limit}")
    return new


def _hdiff(old: bytes, new: bytes) -> bytes:
    import hdiffpatch  # noqa: PLC0415 - takes longer to load than a delta without patches takes to apply

    return hdiffpatch.diff(old, new, validate=False, big_cache_match=True).removeprefix(_HDIFF_MAGIC)


def _hdiffed(old: bytes, residue: bytes, limit: int) -> bytes:
    import hdiffpatch  # noqa: PLC0415 - as in _hdiff

    if hdiff_size(residue) > limit:
        raise DeltaError(f"a patch makes more than {limit} bytes")
    try:
        return hdiffpatch.apply(old, _HDIFF_MAGIC + residue)
    except hdiffpatch.HDiffPatchError as error:
        raise DeltaError(f"a patch does not apply ({error})") from error


def hdiff_size(patch: bytes) -> int:
    """Return the size that a patch declares for what it makes (HDiffPatch, `serializeCompressedDiff`)."""
    value = 0
    for byte in patch[:10]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value
    raise DeltaError("a patch is cut short")


def _splice(old: bytes, new: bytes) -> tuple[bytes, int]:
    """Return where in `old` so many bytes are replaced by what, to make `new`; and how many bytes that is."""
    start = _shared(old, new, min(len(old), len(new)))
    end = _shared(old, new, min(len(old), len(new)) - start, at_end=True)
    replacement = new[start : len(new) - end]
    return pack_varint(start) + pack_varint(len(old) - start - end) + replacement, len(replacement)


def _spliced(old: bytes, residue: bytes) -> bytes:
    source = io.BytesIO(residue)
    try:
        start, removed = (read_varint(lambda: source.read(1)[0]) for _ in range(2))
    except (IndexError, OverflowError) as error:
        raise DeltaError("a replacement that says not where") from error
    if start + removed > len(old):
        raise DeltaError(f"a replacement of bytes {start} to {start + removed} of {len(old)}")
    return old[:start] + source.read() + old[start + removed :]


def _shared(one: bytes, other: bytes, most: int, *, at_end: bool = False) -> int:
    """Return how many bytes, `most` at most, both start or end with."""

    def same(start: int, stop: int) -> bool:
        if at_end:
            return one[len(one) - stop : len(one) - start] == other[len(other) - stop : len(other) - start]
        return one[start:stop] == other[start:stop]

    low = 0
    while low < most and same(low, min(most, low + _BLOCK)):
        low = min(most, low + _BLOCK)
    high = min(most, low + _BLOCK)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if same(low, middle) else (low, middle - 1)
    return low


def _zstd_against(old: bytes, new: bytes, *, level: int) -> bytes:
    window = max(_MIN_WINDOW_LOG, min(_MAX_WINDOW_LOG, (len(old) + len(new)).bit_length()))
    options: dict[int, int] = {
        CompressionParameter.compression_level: level,
        CompressionParameter.window_log: window,
        CompressionParameter.enable_long_distance_matching: 1,
    }
    prefix = ZstdDict(old, is_raw=True).as_prefix
    packer = ZstdCompressor(options=options, zstd_dict=prefix)
    packer.set_pledged_input_size(len(new))
    return packer.compress(new, ZstdCompressor.FLUSH_FRAME).removeprefix(_ZSTD_MAGIC)
