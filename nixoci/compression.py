"""Compression formats: their magic bytes, and the modules that decompress gzip and Zstandard.

Zstandard comes from the standard library in Python 3.14 and newer, and from its backport before.
"""

import re
import sys
from enum import Enum
from typing import cast

from isal.isal_zlib import error as _isal_error

if sys.version_info >= (3, 14):
    from compression.zstd import (
        CompressionParameter,
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdDict,
        ZstdError,
        compress,
    )
else:
    from backports.zstd import (
        CompressionParameter,
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdDict,
        ZstdError,
        compress,
    )

__all__ = [
    "HEAD",
    "ZSTD_MAGIC",
    "Compression",
    "CompressionParameter",
    "DecompressionParameter",
    "IsalError",
    "ZstdCompressor",
    "ZstdDecompressor",
    "ZstdDict",
    "ZstdError",
    "compress",
    "detect",
]

IsalError = cast("type[Exception]", _isal_error)  # isal's type hints declare an instance, not the class

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Compression(Enum):
    """A compression format; the value is its name in messages."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    BZIP2 = "bzip2"


HEAD = 10
"""Bytes that `detect` needs."""

_MAGIC = {
    Compression.GZIP: re.compile(rb"\x1f\x8b"),
    Compression.ZSTD: re.compile(
        re.escape(ZSTD_MAGIC) + rb"|[\x50-\x5f]\x2a\x4d\x18"
    ),  # or a skippable frame (RFC 8878, 3.1.2)
    Compression.XZ: re.compile(rb"\xfd7zXZ\x00"),
    Compression.BZIP2: re.compile(rb"BZh[1-9]1AY&SY"),  # the name of a tar's first member may start with BZh
}


def detect(head: bytes) -> Compression:
    """Return the compression of data by its first bytes, of which `HEAD` are enough."""
    return next((compression for compression, magic in _MAGIC.items() if magic.match(head)), Compression.NONE)
