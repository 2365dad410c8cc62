"""How one piece of content becomes residue: whole, or as its difference to an old piece."""

import lzma
from enum import Enum, IntEnum

import hdiffpatch

from nixoci.delta.format import Compressor
from nixoci.errors import DeltaError
from nixoci.zstd import (
    CompressionParameter,
    DecompressionParameter,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdDict,
    ZstdError,
    compress,
)

_HDIFF_MAGIC = b"HDIFF13&"
_MAX_WINDOW_LOG = 31
_MIN_WINDOW_LOG = 10
_PACKED = 0.98
"""What compression leaves of a content, at least, that is taken for packed."""


class Codec(IntEnum):
    """How residue is read; the numbers are the format's."""

    PLAIN = 0
    HDIFF = 1
    ZSTD = 2


_MIN_PREFIX = 8
"""Bytes that zstd wants of an old content at least."""


class Effort(Enum):
    """How much a sender spends for fewer bytes: time for `DEFAULT`, memory for `BEST`, which pays where much is new."""

    FAST = "fast"
    DEFAULT = "default"
    BEST = "best"


def body_compressor(effort: Effort) -> Compressor:
    """Return the compressor for the one stream over all residue that compresses.

    What is common to patches of programs has no alignment, so `pb` is 0; on such residue xz is smaller than zstd by
    7% in the same time. A larger dictionary than these finds little in what is sorted, and costs 12 times its size.
    """
    if effort is Effort.FAST:
        options: dict[int, int] = {
            CompressionParameter.compression_level: 3,
            CompressionParameter.window_log: 25,
            CompressionParameter.enable_long_distance_matching: 1,
        }
        return ZstdCompressor(options=options)
    dictionary = {Effort.DEFAULT: 8 << 20, Effort.BEST: 16 << 20}[effort]
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "dict_size": dictionary, "pb": 0}]
    return lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_NONE, filters=filters)


def packed_compressor() -> Compressor:
    """Return the compressor for residue that hardly compresses, such as that of packed contents."""
    return ZstdCompressor(level=3)


def is_packed(data: bytes) -> bool:
    """Tell whether a sample of some content is as good as incompressible: compressed, encrypted or random."""
    return len(compress(data, 1)) >= _PACKED * len(data)


def encode(new: bytes, old: bytes | None, effort: Effort, *, packed: bool = False) -> tuple[Codec, bytes]:
    """Return the residue that makes `new` from `old`, by the codec that is expected to be smallest in the body.

    Of `packed` contents the patch is made only where old and new have something in common, which is seldom.
    """
    if not new or old is None or len(old) < _MIN_PREFIX:
        return Codec.PLAIN, new
    if effort is Effort.FAST or packed:
        against = _zstd_against(old, new, level=3 if effort is Effort.FAST else 1)
        if len(against) >= (_PACKED if packed else 1) * len(new):
            return Codec.PLAIN, new
        if effort is Effort.FAST:
            return Codec.ZSTD, against
    patch = hdiffpatch.diff(old, new, validate=False, big_cache_match=True)
    return (Codec.HDIFF, patch) if len(patch) < len(new) else (Codec.PLAIN, new)


def decode(codec: int, residue: bytes, old: bytes, size: int) -> bytes:
    """Return the `size` bytes that residue and old piece make.

    Raises:
        DeltaError: They do not; the text says why and names neither.
    """
    try:
        if codec == Codec.PLAIN:
            new = residue
        elif codec == Codec.HDIFF:
            if hdiff_size(residue) != size:
                raise DeltaError(f"a patch does not declare the {size} bytes that it should make")
            new = hdiffpatch.apply(old, residue)
        elif codec == Codec.ZSTD:
            unpack = ZstdDecompressor(
                zstd_dict=ZstdDict(old, is_raw=True).as_prefix,
                options={DecompressionParameter.window_log_max: _MAX_WINDOW_LOG},
            )
            new = unpack.decompress(residue, size + 1)
            if not unpack.eof or unpack.unused_data:
                raise DeltaError(f"a compressed content does not end with its {size} bytes")
        else:
            raise DeltaError(f"codec {codec} is not known")
    except (hdiffpatch.HDiffPatchError, ZstdError, EOFError, ValueError, MemoryError) as error:
        raise DeltaError(f"a patch does not apply ({error})") from error
    if len(new) != size:
        raise DeltaError(f"a content has {len(new)} bytes, expected {size}")
    return new


def hdiff_size(patch: bytes) -> int:
    """Return the size that a patch declares for what it makes (HDiffPatch, `serializeCompressedDiff`)."""
    start = patch.find(b"\0", 0, 64) + 1
    if not patch.startswith(_HDIFF_MAGIC) or not start:
        raise DeltaError("a patch is not of HDiffPatch")
    value = 0
    for byte in patch[start : start + 10]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value
    raise DeltaError("a patch is cut short")


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
    return packer.compress(new, ZstdCompressor.FLUSH_FRAME)
