"""The format of containers/tar-diff: a tar stream, described by files of an older tree (its file-format.md).

Versions 1 (`tardf1`) and 2 (`tardf2`, which adds `ZSTD`) are read, and version 1 is written, which all readers know.
Integers are those of protocol buffers, the lowest seven bits first.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

from nixoci.compression import (
    ZSTD_MIN_PREFIX,
    CompressionParameter,
    DecompressError,
    DecompressionParameter,
    ZstdCompressor,
    ZstdDecompressor,
    ZstdDict,
    ZstdError,
    decompress,
)
from nixoci.errors import DeltaError
from nixoci.image_delta.bounds import at_most

MEDIA_TYPE = "application/vnd.tar-diff"
MAGIC = b"tardf1\n\0"
MAGIC_2 = b"tardf2\n\0"

MAX_PATH = 4096
"""Bytes of a path; tar-diff reads no longer ones."""
MAX_ADDED = 16 << 20
"""Bytes of one operation `ADD`, which readers take into memory."""

_MAX_PREFIX_LOG = 28
"""The binary logarithm of the bytes of the largest old file that is the prefix of a zstd frame, and of its window."""

_BLOCK = 1 << 20
_MAX_SIZE = (1 << 63) - 1
_VARINT = 10


class Op(IntEnum):
    """An operation; all but `COPY` and `SEEK` are followed by data.

    The data of `ZSTD`, in version 2 only, is a zstd frame with the whole old file as its prefix.
    """

    DATA = 0
    OPEN = 1
    COPY = 2
    ADD = 3
    SEEK = 4
    ZSTD = 5


ReadOld = Callable[[bytes, int, int], bytes]
"""Returns bytes of a file of the older tree: of its path, from an offset, so many, fewer only at its end."""


def apply_tar_diff(diff: Iterable[bytes], old: ReadOld, *, largest: int, what: str) -> Iterator[bytes]:
    """Yield the tar stream that a tar-diff describes, in pieces of at most 1 MiB.

    Whoever reads it bounds its size.

    Args:
        diff: The bytes of the tar-diff.
        old: Reads the files of the older tree; an error that it raises for a path that is not there is passed on.
        largest: Bytes of the tar stream that are believed; the uncompressed tar-diff has no more either.
        what: Names the tar-diff in errors.

    Raises:
        DeltaError: It is not a tar-diff, is damaged, or too large, or reads beyond a file.
    """
    reader = _Reader(diff, largest, what)
    path: bytes | None = None
    at = 0
    while (kind := reader.op()) is not None:
        op, size = kind
        if op is Op.OPEN:
            if size > MAX_PATH:
                raise reader.broken(f"a path of {size} bytes")
            path, at = _clean(reader.exactly(size), reader), 0
        elif op is Op.SEEK:
            at = size
        elif op is Op.DATA:
            yield from reader.pieces(size)
        elif path is None:
            raise reader.broken("it copies before it has opened a file")
        elif op is Op.ZSTD:
            prefix = _whole(old, path, reader)
            yield from _unpacked(reader, size, prefix)
            at = len(prefix)
        else:
            for piece in _old_pieces(old, path, at, size, reader):
                yield _added(reader.exactly(len(piece)), piece) if op is Op.ADD else piece
            at += size


def _old_pieces(old: ReadOld, path: bytes, at: int, size: int, reader: "_Reader") -> Iterator[bytes]:
    """Yield bytes of an old file."""
    end = at + size
    while at < end:
        piece = old(path, at, min(end - at, _BLOCK))
        if not piece:
            raise DeltaError(f"{reader.what}: reads beyond the end of the old file {path.decode(errors='replace')!a}")
        at += len(piece)
        yield piece


def _whole(old: ReadOld, path: bytes, reader: "_Reader") -> bytes:
    """Return an old file."""
    parts: list[bytes] = []
    at = 0
    while part := old(path, at, _BLOCK):
        parts.append(part)
        at += len(part)
        if at > 1 << _MAX_PREFIX_LOG:
            raise reader.broken(f"the prefix of a zstd frame has more than {1 << _MAX_PREFIX_LOG} bytes")
    return b"".join(parts)


def _unpacked(reader: "_Reader", size: int, prefix: bytes) -> Iterator[bytes]:
    """Yield the content of a zstd frame that is within the next `size` bytes; what follows it there is skipped."""
    zstd = ZstdDecompressor(
        # the end of a prefix is what the frame refers to
        zstd_dict=ZstdDict(prefix.rjust(ZSTD_MIN_PREFIX, b"\0"), is_raw=True).as_prefix,
        options={DecompressionParameter.window_log_max: _MAX_PREFIX_LOG},
    )
    try:
        for data in reader.pieces(size):
            left = data
            while not zstd.eof and (left or not zstd.needs_input):
                if piece := zstd.decompress(left, _BLOCK):
                    yield piece
                left = b""
    except ZstdError as error:
        raise reader.broken(f"a zstd frame ({error})") from error
    if not zstd.eof:
        raise reader.broken("a zstd frame that ends too early")


def _added(change: bytes, old: bytes) -> bytes:
    import numpy as np  # noqa: PLC0415 - it takes longer to load than all of the rest

    return (np.frombuffer(change, np.uint8) + np.frombuffer(old, np.uint8)).tobytes()


def _clean(path: bytes, reader: "_Reader") -> bytes:
    """Return a relative path; tar-diff writes none with `.` and `..`."""
    names = [name for name in path.split(b"/") if name]
    if not names or any(name in {b".", b".."} or b"\0" in name for name in names):
        raise reader.broken(f"the path {path[:60]!r}")
    return b"/".join(names)


class _Reader:
    """Reads operations and their data."""

    def __init__(self, diff: Iterable[bytes], largest: int, what: str) -> None:
        self.what = what
        self._plain = at_most(largest, self._inflate(iter(diff)), what=what)
        self._buffer = b""
        self._last_op = Op.SEEK

    def op(self) -> tuple[Op, int] | None:
        """Read an operation and its size; None at the end."""
        if not self._buffer and not self._more():
            return None
        number = self.exactly(1)[0]
        if number > self._last_op:
            raise self.broken(f"operation {number}")
        return Op(number), self._varint()

    def exactly(self, count: int) -> bytes:
        """Read exactly that many bytes."""
        parts = []
        while count:
            parts.append(self.some(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def some(self, limit: int) -> bytes:
        """Read at least one and at most `limit` bytes."""
        if not self._buffer and not self._more():
            raise self.broken("it ends too early")
        part, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return part

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield exactly that many bytes by pieces."""
        while size:
            piece = self.some(min(size, _BLOCK))
            size -= len(piece)
            yield piece

    def broken(self, found: str) -> DeltaError:
        """Return the error about a part that no tar-diff has."""
        return DeltaError(f"{self.what}: damaged tar-diff: {found}")

    def _more(self) -> bool:
        self._buffer = next((chunk for chunk in self._plain if chunk), b"")
        return bool(self._buffer)

    def _varint(self) -> int:
        value = 0
        for place in range(_VARINT):
            byte = self.exactly(1)[0]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                break
        else:
            raise self.broken("a number without an end")
        if value > _MAX_SIZE:
            raise self.broken(f"the size {value}")
        return value

    def _inflate(self, diff: Iterator[bytes]) -> Iterator[bytes]:
        head = b""
        while len(head) < len(MAGIC) and (more := next(diff, b"")):
            head += more
        if head.startswith(MAGIC_2):
            self._last_op = Op.ZSTD
        elif not head.startswith(MAGIC):
            raise DeltaError(
                f"{self.what}: starts with {head[: len(MAGIC)]!r}; expected the tar-diff format {MAGIC!r} or"
                f" {MAGIC_2!r}"
            )

        def rest() -> Iterator[bytes]:
            yield head[len(MAGIC) :]
            yield from diff

        try:
            yield from decompress(rest())
        except DecompressError as error:
            raise self.broken(str(error)) from error


class TarDiffWriter:
    """Writes a tar-diff: operations, and `finish` at the end.

    Args:
        out: Called with the bytes.
        level: The level of zstd.
    """

    def __init__(self, out: Callable[[bytes], object], *, level: int) -> None:
        self._out = out
        # a window that every decoder reads without being asked to
        options: dict[int, int] = {CompressionParameter.compression_level: level, CompressionParameter.window_log: 23}
        self._zstd = ZstdCompressor(options=options)
        self._data = bytearray()
        self._path: bytes | None = None
        self._at = 0
        out(MAGIC)

    def data(self, data: bytes) -> None:
        """Emit new bytes."""
        self._data += data
        if len(self._data) >= _BLOCK:
            self._flush()

    def copy(self, path: bytes, at: int, size: int) -> None:
        """Emit bytes of an old file."""
        if size:
            self._go(path, at)
            self._op(Op.COPY, size)
            self._at += size

    def add(self, path: bytes, at: int, change: bytes) -> None:
        """Emit bytes of an old file, with a number added to each."""
        for start in range(0, len(change), MAX_ADDED):
            part = change[start : start + MAX_ADDED]
            self._go(path, at + start)
            self._op(Op.ADD, len(part), part)
            self._at += len(part)

    def finish(self) -> None:
        """Write the rest."""
        self._flush()
        self._out(self._zstd.flush())

    def _go(self, path: bytes, at: int) -> None:
        if path != self._path:
            self._op(Op.OPEN, len(path), path)
            self._path, self._at = path, 0
        if at != self._at:
            self._op(Op.SEEK, at)
            self._at = at

    def _op(self, op: Op, size: int, data: bytes = b"") -> None:
        self._flush()
        self._write(op, size, data)

    def _flush(self) -> None:
        if self._data:
            self._write(Op.DATA, len(self._data), bytes(self._data))
            self._data.clear()

    def _write(self, op: Op, size: int, data: bytes) -> None:
        head = bytearray([op])
        while size >= 0x80:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        head.append(size)
        self._out(self._zstd.compress(bytes(head) + data))
