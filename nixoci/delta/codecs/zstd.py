"""zstd frames with the old segment as their prefix (`zstd --patch-from`)."""

import io

from nixoci.compression import (
    ZSTD_MAGIC,
    CompressionParameter,
    DecompressionParameter,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdDict,
    ZstdError,
)
from nixoci.delta.codecs.model import Codec, CorruptPayloadError
from nixoci.delta.codecs.source import Source

_MIN_WINDOW_LOG = 10
_MAX_WINDOW_LOG = 31
_BLOCK = 1 << 20


def compress_against(old: bytes, new: bytes, *, level: int) -> bytes:
    """Return the payload of `new`; `old` has at least `ZSTD_MIN_PREFIX` bytes."""
    packer = _packer(old, len(new), level)
    return packer.compress(new, ZstdCompressor.FLUSH_FRAME).removeprefix(ZSTD_MAGIC)


def compress_source(old: Source, new: Source, *, level: int) -> bytes:
    """Return the payload of `new`; `old` has at least `ZSTD_MIN_PREFIX` bytes, which are in memory once."""
    packer = _packer(old.read(0, old.size), new.size, level)
    return packer.compress(new.read(0, new.size), ZstdCompressor.FLUSH_FRAME).removeprefix(ZSTD_MAGIC)


def _packer(old: bytes, size: int, level: int) -> ZstdCompressor:
    window = max(_MIN_WINDOW_LOG, min(_MAX_WINDOW_LOG, (len(old) + size).bit_length()))
    options: dict[int, int] = {
        CompressionParameter.compression_level: level,
        CompressionParameter.window_log: window,
        CompressionParameter.enable_long_distance_matching: 1,
    }
    packer = ZstdCompressor(options=options, zstd_dict=ZstdDict(old, is_raw=True).as_prefix)
    packer.set_pledged_input_size(size)
    return packer


def _decode(payload: bytes, old: bytes, limit: int) -> bytes:
    new = io.BytesIO()  # grows without a copy
    try:
        prefix = ZstdDict(old, is_raw=True).as_prefix
        del old  # the prefix is a copy
        unpack = ZstdDecompressor(
            zstd_dict=prefix,
            options={DecompressionParameter.window_log_max: _MAX_WINDOW_LOG},
        )
        data = ZSTD_MAGIC + payload  # constant, and so left out of the delta
        while not unpack.eof and new.tell() <= limit and (data or not unpack.needs_input):
            new.write(unpack.decompress(data, min(_BLOCK, limit + 1 - new.tell())))
            data = b""
    except ZstdError as error:
        raise CorruptPayloadError(f"a patch does not apply ({error})") from error
    if not unpack.eof or unpack.unused_data:
        raise CorruptPayloadError(f"a compressed content does not end within {limit} bytes")
    return new.getvalue()


ZSTD = Codec(number=2, name="zstd", decode=_decode)
