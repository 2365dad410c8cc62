"""Deflate streams inside of files: the members of zip archives (jars, wheels) and of gzip files."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

ZIP_MEMBER = b"PK\x03\x04"
"""The first bytes of a zip archive."""
_ZIP_HEADER = struct.Struct("<4x2xHH16xHH")
"""A local file header (APPNOTE.TXT, 4.3.7): the flags, the method, the lengths of name and extra field."""
_DEFLATE = 8
_ENCRYPTED = 1

GZIP_MEMBER = b"\x1f\x8b\x08"
"""The first bytes of a gzip file."""
_GZIP_HEADER = 10
_GZIP_TRAILER = 8
_HEADER_CRC, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16

_INPUT = 1 << 14
"""Bytes that are inflated in one step; zlib copies those of them that follow a stream's end."""
_OUTPUT = 1 << 20


@dataclass(frozen=True, slots=True)
class Stream:
    """A deflate stream in a content.

    Attributes:
        start: The offset of its first byte.
        end: The offset after its last byte.
        size: Bytes of the inflated data.
        gzip: Whether it is in a member of a gzip file.
        level: A hint of gzip's header at the compression level: 9, 1, or 6 for all others.
    """

    start: int
    end: int
    size: int
    gzip: bool
    level: int


def find_streams(content: bytes, limit: int) -> Iterator[Stream]:
    """Yield the deflate streams of a content in order; those that inflate to more than `limit` bytes are left out."""
    at = 0
    if content.startswith(GZIP_MEMBER):
        while (start := _gzip_start(content, at)) is not None and (found := measure(content, start, limit)) is not None:
            end, size = found
            yield Stream(start, end, size, gzip=True, level=_level(content, at))
            at = end + _GZIP_TRAILER
        return
    while (at := content.find(ZIP_MEMBER, at)) >= 0:
        start = _zip_start(content, at)
        found = measure(content, start, limit) if start is not None else None
        if start is None or found is None:
            at += len(ZIP_MEMBER)
            continue
        at, size = found
        yield Stream(start, at, size, gzip=False, level=6)


def find_cut_stream(head: bytes) -> Stream | None:
    """Return the stream at the start of a file of which only the first bytes are there; `size` is of what they hold."""
    gzip = head.startswith(GZIP_MEMBER)
    start = _gzip_start(head, 0) if gzip else _zip_start(head, head.find(ZIP_MEMBER))
    if start is None:
        return None
    size = 0
    try:
        for part in _Inflated(head, start):
            size += len(part)
    except EOFError:  # as expected
        return Stream(start, len(head), size, gzip=gzip, level=_level(head, 0) if gzip else 6)
    except zlib.error:
        return None
    return None


def measure(content: bytes, start: int, limit: int) -> tuple[int, int] | None:
    """Return the offset after the deflate stream at `start`, and the bytes it inflates to.

    Return None if there is no whole stream, or if it inflates to more than `limit` bytes.
    """
    size = 0
    try:
        for part in (parts := _Inflated(content, start)):
            size += len(part)
            if size > limit:
                return None
    except (EOFError, zlib.error):
        return None
    return parts.end, size


def inflate(content: bytes, start: int, limit: int) -> tuple[bytes, int]:
    """Return the inflated data of the deflate stream at `start`, and the offset after the stream.

    Raises:
        ValueError: There is no whole stream, or it inflates to more than `limit` bytes.
    """
    data = bytearray()
    try:
        for part in (parts := _Inflated(content, start)):
            data += part
            if len(data) > limit:
                raise ValueError(f"the compressed stream at byte {start} inflates to more than {limit} bytes")
    except (EOFError, zlib.error) as error:
        raise ValueError(f"the compressed stream at byte {start} does not inflate ({error})") from error
    return bytes(data), parts.end


def inflate_start(head: bytes, cut: Stream) -> bytes:
    """Return the data of a stream that `find_cut_stream` returned."""
    data = bytearray()
    for part in _Inflated(head, cut.start):
        data += part
        if len(data) == cut.size:
            break
    return bytes(data)


class _Inflated:
    """Iterates over the inflated data of a stream by parts; `end` is the offset after it, once they are all there."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content = memoryview(content)
        self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        self.end = start

    def __iter__(self) -> Iterator[bytes]:
        while not self._unpack.eof:
            fed = self._content[self.end : self.end + _INPUT]
            part = self._unpack.decompress(fed, _OUTPUT)
            if not (fed or part or self._unpack.eof):
                raise EOFError("it ends too early")
            yield part
            self.end += len(fed) - len(self._unpack.unconsumed_tail) - len(self._unpack.unused_data)


def _level(content: bytes, at: int) -> int:
    """Return the level that the extra flags of the gzip header at `at` suggest."""
    return {2: 9, 4: 1}.get(content[at + 8], 6)


def _zip_start(content: bytes, at: int) -> int | None:
    """Return the offset of the data of the zip member whose header is at `at`, if they are a deflate stream."""
    if at < 0 or len(content) - at < _ZIP_HEADER.size:
        return None
    flags, method, name, extra = _ZIP_HEADER.unpack_from(content, at)
    if method != _DEFLATE or flags & _ENCRYPTED:
        return None
    return at + int(_ZIP_HEADER.size + name + extra)


def _gzip_start(content: bytes, at: int) -> int | None:
    """Return the offset of the data of the gzip member at `at` (RFC 1952, 2.3)."""
    if not content.startswith(GZIP_MEMBER, at) or len(content) < at + _GZIP_HEADER:
        return None
    flags = content[at + 3]
    at += _GZIP_HEADER
    if flags & _EXTRA:
        at += 2 + int.from_bytes(content[at : at + 2], "little")
    for text in (_NAME, _COMMENT):
        if flags & text:
            at = content.find(b"\0", at) + 1
            if not at:
                return None
    return at + 2 * bool(flags & _HEADER_CRC)
