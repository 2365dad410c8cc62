"""How one piece of content becomes residue: whole, or as its difference to an old piece."""

from enum import Enum, IntEnum

import hdiffpatch

from nixoci.errors import DeltaError
from nixoci.zstd import (
    CompressionParameter,
    DecompressionParameter,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdDict,
    ZstdError,
)

_HDIFF_MAGIC = b"HDIFF13&"
_MAX_WINDOW_LOG = 31
_MIN_WINDOW_LOG = 10
_SMALL = 1 << 16


class Codec(IntEnum):
    """How residue is read; the numbers are the format's."""

    PLAIN = 0
    HDIFF = 1
    ZSTD = 2


_MIN_PREFIX = 8
"""Bytes that zstd wants of an old content at least."""


class Effort(Enum):
    """How much time a sender spends for fewer bytes."""

    FAST = "fast"
    DEFAULT = "default"
    BEST = "best"


def body_compressor(effort: Effort) -> ZstdCompressor:
    """Return the compressor for the one stream over all residue; its window is what every zstd reader accepts.

    Two workers whatever the machine has: the output depends on whether there are any, not on how many.
    """
    level = {Effort.FAST: 3, Effort.DEFAULT: 19, Effort.BEST: 22}[effort]
    options: dict[int, int] = {
        CompressionParameter.compression_level: level,
        CompressionParameter.window_log: 25,
        CompressionParameter.enable_long_distance_matching: 1,
        CompressionParameter.nb_workers: 0 if effort is Effort.BEST else 2,
    }
    return ZstdCompressor(options=options)


def encode(new: bytes, old: bytes | None, effort: Effort) -> tuple[Codec, bytes]:
    """Return the residue that makes `new` from `old`, by the codec that is expected to be smallest in the body."""
    if not old or not new:
        return Codec.PLAIN, new
    if effort is Effort.FAST:
        if len(old) < _MIN_PREFIX:
            return Codec.PLAIN, new
        packed = _zstd_against(old, new, level=3)
        return (Codec.ZSTD, packed) if len(packed) < len(new) else (Codec.PLAIN, new)
    patch = hdiffpatch.diff(old, new, validate=False, big_cache_match=True)
    # what the body's compressor would make of it decides; of large files the patch is always the better one
    if effort is Effort.BEST and len(new) < _SMALL and len(_zstd(new)) < len(_zstd(patch)):
        return Codec.PLAIN, new
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


def _zstd(data: bytes) -> bytes:
    return ZstdCompressor(level=19).compress(data, ZstdCompressor.FLUSH_FRAME)
