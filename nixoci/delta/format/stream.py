"""The stream of a delta: frames with a chained checksum around one header and one compressed body.

docs/delta-format.md describes every byte.
"""

import hashlib
import lzma
import re
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import NamedTuple, Protocol, Self

from nixoci.compression import ZstdDecompressor, ZstdError, compress
from nixoci.delta.format.header import pack_header, read_header
from nixoci.delta.format.model import NEWEST, VERSIONS, Header
from nixoci.delta.format.numbers import pack_text, pack_varint, read_varint
from nixoci.delta.format.start import MAGIC
from nixoci.errors import DeltaError, UnsupportedVersionError
from nixoci.streams import Sink, read_fully

MAX_FRAME = 1 << 20
MAX_HEADER = 32 << 20
MAX_STREAMS = 16
"""Largest number of compressed streams in a body. At the end of each, the bytes that follow it are copied in memory."""
CHECK_SIZE = 8

PLAIN, ZSTD, LZMA = b"P", b"Z", b"L"
"""The first byte of a compressed stream; after `LZMA` comes the binary logarithm of its dictionary's size."""

_MAX_DICTIONARY = 27
_SMALL = 1 << 16
"""Largest size in bytes of a stream that is compressed in every way, to take the smallest result."""
_SMALL_LEVEL = 19
_MAX_HELD = 8 << 20
"""Largest number of bytes that are held in memory until the version of a stream is known."""
_RELEASE = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")


class Compressor(Protocol):
    """Compresses one stream of the body."""

    def compress(self, data: bytes, /) -> bytes:
        """Take data; return the compressed bytes that are ready."""

    def flush(self) -> bytes:
        """Return the rest; nothing may follow."""


class Packing(NamedTuple):
    """A factory of compressors, and the head of their streams: `ZSTD`, or `LZMA` and the dictionary's size."""

    head: bytes
    compressor: Callable[[], Compressor]


def lzma_packing(dictionary: int) -> Packing:
    """Return the packing by LZMA2 with a dictionary of that many bytes, a power of two.

    The common parts of patches of programs have no alignment, so `pb` is 0.
    """
    chain = {"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "dict_size": dictionary, "pb": 0}
    head = LZMA + bytes([dictionary.bit_length() - 1])
    return Packing(head, lambda: lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[chain]))


def pack_start(version: int) -> bytes:
    """Return the bytes of a stream before its frames: magic, version, and from version 2 on the release that reads it.

    The sender names the release, because a nixoci that is too old for the version does not know it.
    """
    start = MAGIC + bytes([version])
    return start + pack_text(VERSIONS[version].encode()) if version > 1 else start


class DeltaWriter:
    """Writes the stream: the header first, then the parts of the body, then `finish`.

    The stream is of the oldest version that has all of its parts. Its start depends on that version: what comes before
    the first part of the newest version is held back, in a temporary file if it is large.

    Args:
        out: Takes the stream.
        packing: The compression of the body.
        newest: The newest version that a part may be of.
    """

    def __init__(self, out: Sink, packing: Packing, *, newest: int = 1) -> None:
        self._out = out
        self._check = hashlib.sha256()
        self._packing = packing
        self._newest = newest
        self._version = 1
        self._held: SpooledTemporaryFile[bytes] | None = SpooledTemporaryFile(_MAX_HELD)  # noqa: SIM115 - see __exit__
        self._small = bytearray()
        self._compressor: Compressor | None = None
        self._pending = bytearray()
        self.size = 0
        self.need(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held.close()

    def need(self, version: int) -> None:
        """Raise the version of the stream to that of the next part of the body."""
        self._version = max(self._version, version)
        if self._version >= self._newest:
            self._start()

    def header(self, header: Header) -> None:
        """Write the header, compressed if that is smaller."""
        plain = pack_header(header)
        packed = compress(plain, _SMALL_LEVEL)
        smaller = len(packed) < len(plain)
        data = packed if smaller else plain
        self.raw(pack_varint(len(data) << 1 | smaller) + data)

    def write(self, data: bytes) -> None:
        """Append to the body."""
        if self._compressor is not None:
            self.raw(self._compressor.compress(data))
            return
        if len(self._small) + len(data) > _SMALL:
            self._compressor = self._packing.compressor()
            self.raw(self._packing.head + self._compressor.compress(bytes(self._small) + data))
            self._small.clear()
        else:
            self._small += data

    def change(self, packing: Packing) -> None:
        """Compress the rest of the body in another way, as a stream of its own."""
        self._end_stream()
        self._packing = packing

    def finish(self) -> None:
        """Write the rest of the body, and the last frame."""
        self._end_stream()
        self._start()
        self._frame(bytes(self._pending), last=True)

    def raw(self, data: bytes) -> None:
        """Append to the payload of the frames."""
        if self._held is not None:
            self._held.write(data)
            return
        self._pending += data
        while len(self._pending) > MAX_FRAME:
            self._frame(bytes(self._pending[:MAX_FRAME]))
            del self._pending[:MAX_FRAME]

    def _start(self) -> None:
        """Write the start of the stream, and what was held back until its version was known."""
        if self._held is None:
            return
        held, self._held = self._held, None
        self._write(pack_start(self._version))
        with held:
            held.seek(0)
            while data := held.read(MAX_FRAME):
                self.raw(data)

    def _end_stream(self) -> None:
        if self._compressor is not None:
            self.raw(self._compressor.flush())
            self._compressor = None
        elif self._small:
            self.raw(_smallest(bytes(self._small)))
            self._small.clear()

    def _frame(self, payload: bytes, *, last: bool = False) -> None:
        self._write(pack_varint(len(payload) << 1 | last) + payload)
        self._write(self._check.digest()[:CHECK_SIZE])

    def _write(self, data: bytes) -> None:
        self._check.update(data)
        self._out.write(data)
        self.size += len(data)


def _smallest(data: bytes) -> bytes:
    """Return the smallest stream of these bytes."""
    head, make = lzma_packing(_SMALL)
    compressor = make()
    by_lzma = head + compressor.compress(data) + compressor.flush()
    return min(PLAIN + pack_varint(len(data)) + data, ZSTD + compress(data, _SMALL_LEVEL), by_lzma, key=len)


class DeltaReader:
    """Reads the stream: `header` first, then `read` and `varint` over the body, then `finish`.

    Every frame's checksum covers all bytes before it, so no flipped, cut, moved or repeated byte passes.

    Args:
        read: Returns up to that many bytes of the stream, and none at its end.
        what: Names the stream in errors.

    Attributes:
        version: The version of the stream.

    Raises:
        DeltaError: From every method, if a checksum or the version does not match.
    """

    def __init__(self, read: Callable[[int], bytes], *, what: str) -> None:
        self._read = read
        self.what = what
        self._check = hashlib.sha256()
        self.size = 0
        magic = self._exactly(len(MAGIC))
        if magic != MAGIC:
            raise DeltaError(f"{what}: not a nixoci delta: it starts with {magic!r}")
        self.version = self._exactly(1)[0]
        self._check_version(self._release())
        self._last = False
        self._payload = b""
        self._plain: Iterator[bytes] = self._plain_body()
        self._buffer = memoryview(b"")

    def header(self) -> Header:
        """Read and check the header."""
        length = self._payload_varint()
        data = self._payload_bytes(self.at_most(length >> 1, MAX_HEADER))
        if length & 1:
            unpack = ZstdDecompressor()
            try:
                data = unpack.decompress(data, MAX_HEADER)
            except (ZstdError, EOFError) as error:
                raise self.broken(f"its header does not decompress ({error})") from error
            if not unpack.eof or unpack.unused_data:
                raise self.broken(f"its header is not one compressed document under {MAX_HEADER} bytes")
        return read_header(data, self.what)

    def read(self, count: int) -> bytes:
        """Return exactly that many bytes of the body."""
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
                raise self.broken("its body ends too early")
            self._buffer = memoryview(data)
        part = bytes(self._buffer[:limit])
        self._buffer = self._buffer[limit:]
        return part

    def varint(self) -> int:
        """Read a number of the body."""
        return self._varint(lambda: self.read(1)[0])

    def finish(self) -> None:
        """Check that the body and the stream end here."""
        if self._buffer or any(self._plain):
            raise self.broken("its body goes on after its last content")
        if self._read(1):
            raise self.broken("something follows its end")

    def _release(self) -> str | None:
        """Read the release of nixoci that reads the stream, which follows a version after the first."""
        if self.version <= 1:
            return None
        text = self._exactly(self._exactly(1)[0]).decode("ascii", "replace")
        return text if _RELEASE.fullmatch(text) else None

    def _check_version(self, release: str | None) -> None:
        if not self.version:
            raise self.broken("its version is 0")
        if self.version > NEWEST:
            needs = f", nixoci {release} or later" if release else ""
            raise UnsupportedVersionError(
                f"{self.what}: this delta needs version {self.version} of the format{needs}; "
                f"this nixoci reads up to version {NEWEST}; update it"
            )

    def _plain_body(self) -> Iterator[bytes]:
        streams = 0
        while self._more():
            streams += 1
            kind = self._payload_bytes(1)
            if streams > MAX_STREAMS:
                raise self.broken("its body goes on after the compressed streams")
            if kind == PLAIN:
                left = self._payload_varint()
                while left:
                    part = self._payload_some(left)
                    left -= len(part)
                    yield part
            else:
                yield from self._unpacked(self._decompressor(kind))

    def _unpacked(self, unpack: ZstdDecompressor | lzma.LZMADecompressor) -> Iterator[bytes]:
        while not unpack.eof:
            data = self._payload_some(MAX_FRAME) if unpack.needs_input else b""
            try:
                plain = unpack.decompress(data, MAX_FRAME)
            except (ZstdError, lzma.LZMAError, EOFError) as error:
                raise self.broken(f"its body does not decompress ({error})") from error
            if plain:
                yield plain
        self._payload = unpack.unused_data + self._payload

    def _decompressor(self, kind: bytes) -> ZstdDecompressor | lzma.LZMADecompressor:
        if kind == ZSTD:
            return ZstdDecompressor()
        if kind != LZMA:
            raise self.broken("its body is of no known kind")
        size = self._payload_bytes(1)[0]
        if not 12 <= size <= _MAX_DICTIONARY:
            raise self.broken(f"its body needs a dictionary of 2^{size} bytes")
        chain = {"id": lzma.FILTER_LZMA2, "dict_size": 1 << size}
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain])

    def _payload_varint(self) -> int:
        return self._varint(lambda: self._payload_bytes(1)[0])

    def _payload_bytes(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += self._payload_some(count - len(data))
        return bytes(data)

    def _payload_some(self, limit: int) -> bytes:
        if not self._more():
            raise self.broken("its frames end too early")
        part, self._payload = self._payload[:limit], self._payload[limit:]
        return part

    def _more(self) -> bool:
        """Return whether the frames have more payload; if so, some of it is in `_payload`."""
        while not self._payload and not self._last:
            length = self._varint(lambda: self._exactly(1)[0])
            if length >> 1 > MAX_FRAME:
                raise self.broken(f"a frame of {length >> 1} bytes")
            payload = self._exactly(length >> 1)
            expected = self._check.digest()[:CHECK_SIZE]
            if self._exactly(CHECK_SIZE) != expected:
                raise self.broken("the checksum of a frame does not match")
            self._payload, self._last = payload, bool(length & 1)
        return bool(self._payload)

    def _varint(self, byte: Callable[[], int]) -> int:
        try:
            return read_varint(byte)
        except OverflowError as error:
            raise self.broken("a number has more than ten bytes") from error

    def at_most(self, value: int, limit: int) -> int:
        """Return a size that the stream declares, unless it exceeds its limit."""
        if value > limit:
            raise self.broken(f"it declares {value} bytes, at most {limit} are allowed")
        return value

    def _exactly(self, count: int) -> bytes:
        data = read_fully(self._read, count)
        if len(data) < count:
            raise self.broken(f"it ends after {self.size + len(data)} bytes, in the middle")
        self._check.update(data)
        self.size += count
        return data

    def broken(self, found: str) -> DeltaError:
        """Return the error for a damaged stream."""
        return DeltaError(f"{self.what}: damaged delta: {found}; fetch it again")
