"""Compression formats: their magic bytes, and the decompressors of all of them.

Zstandard comes from the standard library in Python 3.14 and newer, and from its backport before.
"""

import re
import sys
from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from lzma import FORMAT_XZ, LZMADecompressor, LZMAError
from typing import Protocol, cast

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor
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
    "ZSTD_MIN_PREFIX",
    "Compression",
    "CompressionParameter",
    "DecompressError",
    "DecompressionParameter",
    "ZstdCompressor",
    "ZstdDecompressor",
    "ZstdDict",
    "ZstdError",
    "compress",
    "decompress",
    "detect",
]

_IsalError = cast("type[Exception]", _isal_error)  # isal's type hints declare an instance, not the class

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_MIN_PREFIX = 8
"""Bytes of the smallest prefix that zstd takes (`ZstdDict.as_prefix`)."""


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


MAX_INFLATED = 1 << 20
"""Bytes that one step of a decompressor may return, so that memory stays bounded."""

_MAX_MEMORY = 1 << 28
"""Bytes of memory for a decompressor; `xz -9` needs 65 MiB."""

_MAX_WINDOW_LOG = 27
"""The binary logarithm of the largest window of zstd that decoders read without being asked to (RFC 8878, 3.1.1.1)."""

_NEEDS_MEMORY = ("too much memory for decoding", "Memory usage limit")
"""Parts of zstd's and of xz's message about a window that is too large."""


class DecompressError(Exception):
    """Data cannot be decompressed; `damaged` is false for sound data that need too much memory."""

    def __init__(self, message: str, *, damaged: bool) -> None:
        super().__init__(message)
        self.damaged = damaged


class _Decompressor(Protocol):
    """The interface that the decompressors of all formats share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = ...) -> bytes: ...


_DECOMPRESSORS: Mapping[Compression, Callable[[int], _Decompressor]] = {
    Compression.GZIP: lambda _: IgzipDecompressor(flag=DECOMP_GZIP),
    Compression.ZSTD: lambda memory: ZstdDecompressor(
        options={DecompressionParameter.window_log_max: min(memory.bit_length() - 1, _MAX_WINDOW_LOG)}
    ),
    Compression.XZ: lambda memory: LZMADecompressor(FORMAT_XZ, memlimit=memory),
    Compression.BZIP2: lambda _: BZ2Decompressor(),
}
_PADDED = frozenset({Compression.XZ})


def decompress(chunks: Iterable[bytes], *, memory: int = _MAX_MEMORY) -> Iterator[bytes]:
    """Yield the decompressed bytes of a stream, in pieces of at most `MAX_INFLATED`, by its first bytes.

    A stream that is not compressed passes as it is. Of gzip members, zstd frames and the like there may be several,
    one after another.

    Args:
        chunks: The stream.
        memory: Bytes of memory that a stream may need; of zstd, for its window.

    Raises:
        DecompressError: The stream is damaged, or needs too much memory.
    """
    stream = iter(chunks)
    head = next(stream, b"")
    while len(head) < HEAD and (more := next(stream, b"")):
        head += more
    compression = detect(head)
    if compression is Compression.NONE:
        yield head
        yield from stream
        return
    try:
        yield from _members(head, stream, compression, memory)
    except (_IsalError, ZstdError, LZMAError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file; bz2 has one without a number
        if any(words in str(error) for words in _NEEDS_MEMORY):
            raise DecompressError(
                f"its {compression.value} stream needs too much memory to decompress; compress it again with a smaller"
                " window",
                damaged=False,
            ) from error
        raise DecompressError(f"cannot be decompressed: {error}", damaged=True) from error


def _members(data: bytes, stream: Iterator[bytes], compression: Compression, memory: int) -> Iterator[bytes]:
    """Inflate gzip members or zstd frames, one after another; skippable frames yield nothing."""
    while data:
        decompressor = _DECOMPRESSORS[compression](memory)
        while True:
            if chunk := decompressor.decompress(data, MAX_INFLATED):
                yield chunk
            if decompressor.eof:
                break
            data = b"" if not decompressor.needs_input else next(stream, b"")
            if not data and decompressor.needs_input:
                raise EOFError("it ends inside a compressed stream")
        data = decompressor.unused_data or next(stream, b"")
        while compression in _PADDED and data and not (data := data.lstrip(b"\0")):
            data = next(stream, b"")  # xz's stream padding
