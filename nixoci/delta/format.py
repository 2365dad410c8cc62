"""The stream of a delta: frames with a chained checksum around one header and one compressed body.

docs/delta-format.md describes every byte.
"""

import hashlib
import lzma
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

from nixoci.delta.model import Header, check_header
from nixoci.document import dump, load, structure
from nixoci.errors import DeltaError
from nixoci.zstd import ZstdCompressor, ZstdDecompressor, ZstdError

MAGIC = b"nixoci-delta\n"
VERSION = 1

HEADER, BODY, END = b"H", b"B", b"E"

MAX_FRAME = 1 << 20
MAX_HEADER = 256 << 20
MAX_STREAMS = 16
"""Compressed streams in a body: each that ends moves what follows it in memory."""
MAX_VARINT = 10
CHECK_SIZE = 16

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_XZ_MAGIC = b"\xfd7zXZ\0"
_XZ_MEMORY = 160 << 20
"""Bytes that reading xz may take: a dictionary of 128 MiB and what is around it."""

_PREFIX = struct.Struct(">cI")


class Sink(Protocol):
    """Whatever takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of the data."""


class Compressor(Protocol):
    """Makes one zstd frame or xz stream."""

    def compress(self, data: bytes, /) -> bytes:
        """Take data; return what is ready."""

    def flush(self) -> bytes:
        """Return the rest; nothing may follow."""


class DeltaWriter:
    """Writes the stream: the header first, then the body in pieces, then `finish`."""

    def __init__(self, out: Sink, compressor: Compressor) -> None:
        self._out = out
        self._check = hashlib.sha256()
        self._compressor = compressor
        self._pending = bytearray()
        self.size = 0
        self._write(MAGIC)

    def header(self, header: Header) -> None:
        """Write the header."""
        packed = ZstdCompressor(level=19).compress(dump(header).encode(), ZstdCompressor.FLUSH_FRAME)
        for start in range(0, len(packed), MAX_FRAME):
            self._frame(HEADER, packed[start : start + MAX_FRAME])

    def write(self, data: bytes) -> None:
        """Append to the body."""
        self._body(self._compressor.compress(data))

    def change(self, compressor: Compressor) -> None:
        """Compress what follows in the body by another compressor."""
        self._body(self._compressor.flush())
        self._compressor = compressor

    def finish(self) -> None:
        """Write what is left of the body, and the end."""
        self._body(self._compressor.flush())
        if self._pending:
            self._frame(BODY, bytes(self._pending))
        self._frame(END, b"")

    def _body(self, packed: bytes) -> None:
        self._pending += packed
        while len(self._pending) >= MAX_FRAME:
            self._frame(BODY, bytes(self._pending[:MAX_FRAME]))
            del self._pending[:MAX_FRAME]

    def _frame(self, kind: bytes, payload: bytes) -> None:
        self._write(_PREFIX.pack(kind, len(payload)) + payload)
        self._write(self._check.digest()[:CHECK_SIZE])

    def _write(self, data: bytes) -> None:
        self._check.update(data)
        self._out.write(data)
        self.size += len(data)


class DeltaReader:
    """Reads the stream: `header` first, then `read` and `varint` over the body, then `finish`.

    Every frame's checksum covers all that came before it, so nothing that was flipped, cut, moved or repeated passes.

    Args:
        read: Returns up to so many bytes, and none at the end.
        what: Names the stream in errors.

    Raises:
        DeltaError: From every method, where the stream is not what its checksums or its version promise.
    """

    def __init__(self, read: Callable[[int], bytes], *, what: str) -> None:
        self._read = read
        self.what = what
        self._check = hashlib.sha256()
        self.size = 0
        magic = self._exactly(len(MAGIC))
        if magic != MAGIC:
            raise DeltaError(f"{what}: not a nixoci delta: it starts with {magic!r}")
        self._kind, self._payload = self._frame()
        self._plain: Iterator[bytes] = self._plain_body()
        self._buffer = memoryview(b"")

    def header(self) -> Header:
        """Read and check the header."""
        packed = bytearray()
        while self._kind == HEADER:
            packed += self._payload
            if len(packed) > MAX_HEADER:
                raise self._broken(f"its header has more than {MAX_HEADER} bytes")
            self._kind, self._payload = self._frame()
        unpack = ZstdDecompressor()
        try:
            text = unpack.decompress(bytes(packed), MAX_HEADER)
        except (ZstdError, EOFError) as error:
            raise self._broken(f"its header does not decompress ({error})") from error
        if not unpack.eof or unpack.unused_data:
            raise self._broken(f"its header is not one compressed document under {MAX_HEADER} bytes")
        value = load(text, what=self.what)
        version = value.get("version") if isinstance(value, dict) else None
        if version != VERSION:
            raise DeltaError(f"{self.what}: version {version!r} of the format, this nixoci reads {VERSION}; update it")
        header = structure(Header, value, what=self.what, strict=True)
        check_header(header)
        return header

    def read(self, count: int) -> bytes:
        """Return exactly so many bytes of the body."""
        parts = []
        while count:
            part = self.some(count)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def some(self, limit: int) -> bytes:
        """Return at least one and at most `limit` bytes of the body."""
        while not self._buffer:
            data = next(self._plain, None)
            if data is None:
                raise self._broken("its body ends too early")
            self._buffer = memoryview(data)
        part = bytes(self._buffer[:limit])
        self._buffer = self._buffer[limit:]
        return part

    def varint(self) -> int:
        """Read a number of the body: seven bits a byte, the lowest first, the top bit set on all but the last."""
        try:
            return read_varint(lambda: self.read(1)[0])
        except OverflowError as error:
            raise self._broken("a number has more than ten bytes") from error

    def finish(self) -> None:
        """Check that the body and the stream end here."""
        if self._buffer or any(self._plain):
            raise self._broken("its body goes on after its last content")
        if self._read(1):
            raise self._broken("something follows its end")

    def _plain_body(self) -> Iterator[bytes]:
        unpack: ZstdDecompressor | lzma.LZMADecompressor | None = None
        data, streams = b"", 0
        while self._kind == BODY:
            data += self._payload
            while data or (unpack is not None and not unpack.needs_input):
                if unpack is None:
                    if len(data) < len(_XZ_MAGIC):
                        break
                    streams += 1
                    unpack = self._decompressor(data, streams)
                try:
                    plain = unpack.decompress(data, MAX_FRAME)
                except (ZstdError, lzma.LZMAError, EOFError) as error:
                    raise self._broken(f"its body does not decompress ({error})") from error
                data = b""
                if plain:
                    yield plain
                if unpack.eof:
                    data = unpack.unused_data
                    unpack = None
            self._kind, self._payload = self._frame()
        if unpack is not None or data or not streams:
            raise self._broken("its compressed body ends too early")

    def _decompressor(self, data: bytes, number: int) -> ZstdDecompressor | lzma.LZMADecompressor:
        if number <= MAX_STREAMS and data.startswith(_ZSTD_MAGIC):
            return ZstdDecompressor()
        if number <= MAX_STREAMS and data.startswith(_XZ_MAGIC):
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        raise self._broken(
            "its body goes on after the compressed streams" if number > 1 else "its body is of no known kind"
        )

    def _frame(self) -> tuple[bytes, bytes]:
        kind, length = _PREFIX.unpack(self._exactly(_PREFIX.size))
        if length > MAX_FRAME or kind not in (HEADER, BODY, END) or (kind == END and length):
            raise self._broken(f"a frame of kind {kind!r} with {length} bytes")
        payload = self._exactly(length)
        expected = self._check.digest()[:CHECK_SIZE]
        if self._exactly(CHECK_SIZE) != expected:
            raise self._broken("the checksum of a frame does not match")
        return kind, payload

    def _exactly(self, count: int) -> bytes:
        data = read_fully(self._read, count)
        if len(data) < count:
            raise self._broken(f"it ends after {self.size + len(data)} bytes, in the middle")
        self._check.update(data)
        self.size += count
        return data

    def _broken(self, found: str) -> DeltaError:
        return DeltaError(f"{self.what}: damaged delta: {found}; fetch it again")


def read_fully(read: Callable[[int], bytes], count: int) -> bytes:
    """Return so many bytes of a stream, fewer only where it ends."""
    data = read(count)
    if len(data) == count:
        return data
    parts = bytearray(data)
    while data and len(parts) < count:
        data = read(count - len(parts))
        parts += data
    return bytes(parts)


def read_varint(byte: Callable[[], int]) -> int:
    """Return the number whose bytes `byte` returns one by one; see `DeltaReader.varint`.

    Raises:
        OverflowError: It has more than ten.
    """
    value = 0
    for position in range(MAX_VARINT):
        part = byte()
        value |= (part & 0x7F) << (7 * position)
        if part < 0x80:
            return value
    raise OverflowError


def pack_varint(value: int) -> bytes:
    """Return the body's form of a number; see `DeltaReader.varint`."""
    packed = bytearray()
    while value >= 0x80:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)
