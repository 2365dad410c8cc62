"""A layer's tar stream, read strictly: what is not understood is an error, never skipped or guessed at.

Our own reader and not `tarfile`, which takes a damaged header in the middle for the end of the archive and
trusts sizes; it gives entries and where their bytes lie, and keeps no content.

Formats: v7, ustar and star, PAX (POSIX.1-2017 pax), GNU long names, GNU sparse files old, 0.0, 0.1 and 1.0.
Global PAX headers are read and have no effect, as in every container engine (Go's archive/tar).
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from nixoci.errors import LayerError, LimitError
from nixoci.tree.dump import NANOSECONDS
from nixoci.tree.limits import MAX_NAME, MAX_PATH, MAX_TARGET, Limits
from nixoci.tree.model import Inode, Kind, Segment
from nixoci.tree.sparse import SparseMap, pax_sparse, read_map_1_0, read_old_gnu_map

BLOCK = 512
HARDLINK = b"1"
WHITEOUT = b".wh."

_ZERO_BLOCK = bytes(BLOCK)
_REGULAR_FLAGS = {b"0", b"\0", b"7", b"S"}
_KINDS = {kind.value: kind for kind in Kind if kind is not Kind.REGULAR}
_MAX_ID = (1 << 32) - 2
_MAX_MAJOR = (1 << 12) - 1
_MAX_MINOR = (1 << 20) - 1
_MAX_SECONDS = 1 << 55
_MAX_XATTR = (1 << 16) - 1  # EROFS counts a value's bytes in 16 bits
_DECIMAL_TIME = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_DROPPED_XATTRS = {b"security.selinux"}
_HOSTILE_XATTRS = (b"trusted.overlay.", b"user.overlay.")


@dataclass(slots=True)
class Entry:
    """One entry of a layer.

    `path` is normalised: relative, no `.` components, no doubled slashes; `b""` is the root. For a hardlink
    `link` is the normalised path of its target and `inode` is None. `segments` says where a regular file's
    bytes lie in the tar stream.
    """

    path: bytes
    inode: Inode | None
    link: bytes = b""
    segments: tuple[Segment, ...] = ()


class ByteStream:
    """Chunks of bytes, read by length and skipped without a copy."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = memoryview(b"")
        self._at = 0
        self.position = 0

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes, or fewer at the end of the stream."""
        end = self._at + length
        if end <= len(self._chunk):
            data = bytes(self._chunk[self._at : end])
            self._at = end
            self.position += length
            return data
        parts = []
        while length and self._refill():
            part = bytes(self._chunk[self._at : self._at + length])
            parts.append(part)
            self._at += len(part)
            self.position += len(part)
            length -= len(part)
        return b"".join(parts)

    def skip(self, length: int) -> bool:
        """Pass over `length` bytes; return whether there were as many."""
        while length and self._refill():
            step = min(length, len(self._chunk) - self._at)
            self._at += step
            self.position += step
            length -= step
        return not length

    def pieces(self, length: int) -> Iterator[memoryview]:
        """Yield the next `length` bytes as views of the chunks, fewer at the end of the stream."""
        while length and self._refill():
            piece = self._chunk[self._at : self._at + length]
            self._at += len(piece)
            self.position += len(piece)
            length -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read to the end."""
        while self._refill():
            self.position += len(self._chunk) - self._at
            self._at = len(self._chunk)

    def _refill(self) -> bool:
        """Make sure that there is an unread byte; return False at the end."""
        while self._at == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._chunk = memoryview(chunk)
            self._at = 0
        return True


class TarReader:
    """Reads the entries of one layer from its uncompressed chunks.

    `warnings` collects what was dropped on purpose.
    """

    def __init__(self, chunks: Iterable[bytes], *, layer: str, limits: Limits) -> None:
        """Read from `chunks`; `layer` names the layer in errors."""
        self._stream = ByteStream(chunks)
        self._layer = layer
        self._limits = limits
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order, then read the stream to its end.

        Raises:
            LayerError: The stream is not a well-formed tar, or an entry breaks a rule of layers.
            LimitError: An extended header, a name or a path is too long.
        """
        pax: list[tuple[bytes, bytes]] = []
        long: dict[bytes, bytes] = {}
        while (block := self._header()) is not None:
            flag = block[156:157]
            size = self._number(block, 124, 12, "size")
            if flag in b"xX":
                pax = self._pax_records(self._extended(size))
            elif flag == b"g":
                self._pax_records(self._extended(size))
            elif flag in b"LK":
                long[flag] = self._extended(size).split(b"\0", 1)[0]
            else:
                yield self._entry(block, flag, size, pax, long)
                pax, long = [], {}
        if pax or long:
            raise self._error("it ends after an extended header, before the entry that the header is for")
        self._stream.drain()

    def _error(self, message: str, path: bytes | None = None) -> LayerError:
        return LayerError(f"{self._where(path)}: {message}")

    def _where(self, path: bytes | None) -> str:
        if path is None:
            return f"layer {self._layer}: tar offset {self._stream.position}"
        return f"layer {self._layer}: entry {show(path)}"

    def _header(self) -> bytes | None:
        """Return the next header block, None at the end of the archive."""
        block = self._stream.read(BLOCK)
        if not block:
            return None
        if block == _ZERO_BLOCK:
            second = self._stream.read(BLOCK)
            if second not in (b"", _ZERO_BLOCK):
                raise self._error("a single zero block inside the archive; the layer is damaged")
            return None
        if len(block) < BLOCK:
            raise self._error("the tar stream ends inside a header; the layer is truncated")
        claimed = _octal(block[148:156])
        total = sum(block) - sum(block[148:156]) + 8 * 0x20
        if claimed != total and claimed != total - _signed_excess(block):
            raise self._error("the header checksum does not match; the layer is damaged or not a tar archive")
        return block

    def _extended(self, size: int) -> bytes:
        """Return the body of an extended header."""
        if size > self._limits.header_size:
            raise self._header_limit()
        data = self._stream.read(size)
        if len(data) < size or not self._stream.skip(-size % BLOCK):
            raise self._error("the tar stream ends inside an extended header; the layer is truncated")
        return data

    def _pax_records(self, data: bytes) -> list[tuple[bytes, bytes]]:
        records = []
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 21)
            digits = data[at:space]
            end = at + int(digits) if space > 0 and _NUMBER.fullmatch(digits) else 0
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not space < end <= len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
                raise self._error("a PAX record is malformed; the layer is damaged")
            records.append((key, value))
            at = end
        return records

    def _number(self, block: bytes, at: int, length: int, what: str) -> int:
        """Read a number field that cannot be negative."""
        value = _field(block[at : at + length])
        if value is None or value < 0:
            raise self._error(f"the {what} in a header is not a number of the tar format: {block[at : at + length]!r}")
        return value

    def _pax_number(self, records: dict[bytes, bytes], key: bytes, default: int, path: bytes) -> int:
        text = records.get(key)
        if text is None or text == b"":
            return default
        if not _NUMBER.fullmatch(text):
            raise self._error(f"PAX {key.decode()} {text[:40]!r}: expected a decimal number", path)
        return int(text)

    def _entry(
        self,
        block: bytes,
        flag: bytes,
        size: int,
        pax: list[tuple[bytes, bytes]],
        long: dict[bytes, bytes],
    ) -> Entry:
        records = dict(pax)
        raw = records.get(b"GNU.sparse.name") or records.get(b"path") or long.get(b"L") or _name(block)
        path = self.normalize(raw)
        if flag == b"\0" and raw.endswith(b"/"):
            flag = Kind.DIRECTORY.value
        size = self._pax_number(records, b"size", size, path)
        link = records.get(b"linkpath") or long.get(b"K") or block[157:257].split(b"\0", 1)[0]
        if flag == HARDLINK:
            return Entry(path, None, link=self.normalize(link))
        inode = self._inode(block, records, path)
        if flag in _REGULAR_FLAGS:
            inode.size, segments = self._content(block, flag, size, pax, path)
            return Entry(path, inode, segments=segments)
        kind = _KINDS.get(flag)
        if kind is None:
            raise self._error(f"type {flag!r} is not a type that a layer can hold", path)
        inode.kind = kind
        if kind is Kind.SYMLINK:
            if b"\0" in link:
                raise self._error("a NUL byte in its symlink target", path)
            if not 0 < len(link) <= MAX_TARGET:
                raise self._error(f"a symlink target of {len(link)} bytes; 1 to {MAX_TARGET} are possible", path)
            inode.target = link
        elif kind in (Kind.CHARACTER, Kind.BLOCK):
            inode.device = self._device(block, path)
        return Entry(path, inode)

    def _inode(self, block: bytes, records: dict[bytes, bytes], path: bytes) -> Inode:
        uid = self._pax_number(records, b"uid", self._number(block, 108, 8, "uid"), path)
        gid = self._pax_number(records, b"gid", self._number(block, 116, 8, "gid"), path)
        if max(uid, gid) > _MAX_ID:
            raise self._error(f"owner {uid}:{gid}; Linux ids end at {_MAX_ID}", path)
        return Inode(
            Kind.REGULAR,
            mode=self._number(block, 100, 8, "mode") & 0o7777,
            uid=uid,
            gid=gid,
            mtime=self._mtime(block, records, path),
            xattrs=self._xattrs(records, path) if records else {},
        )

    def _device(self, block: bytes, path: bytes) -> tuple[int, int]:
        major, minor = self._number(block, 329, 8, "device major"), self._number(block, 337, 8, "device minor")
        if major > _MAX_MAJOR or minor > _MAX_MINOR:
            raise self._error(
                f"device {major}:{minor}; Linux has majors to {_MAX_MAJOR} and minors to {_MAX_MINOR}", path
            )
        return major, minor

    def _mtime(self, block: bytes, records: dict[bytes, bytes], path: bytes) -> int:
        text = records.get(b"mtime")
        if not text:
            seconds = _field(block[136:148])
            if seconds is None or abs(seconds) > _MAX_SECONDS:
                raise self._error(f"mtime {block[136:148]!r} is not a time of the tar format", path)
            return seconds * NANOSECONDS
        match = _DECIMAL_TIME.fullmatch(text)
        if match is None or int(match[2]) > _MAX_SECONDS:
            raise self._error(f"PAX mtime {text[:40]!r} is not a decimal number of seconds", path)
        nanoseconds = int(match[2]) * NANOSECONDS + int((match[3] or b"")[:9].ljust(9, b"0"))
        return -nanoseconds if match[1] else nanoseconds

    def _xattrs(self, records: dict[bytes, bytes], path: bytes) -> dict[bytes, bytes]:
        xattrs: dict[bytes, bytes] = {}
        for key, value in records.items():
            if key.startswith(b"LIBARCHIVE.xattr."):
                try:
                    decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
                except binascii.Error as error:
                    raise self._error(f"xattr {show(key)}: its value is not base64", path) from error
                xattrs.setdefault(unquote_to_bytes(key.removeprefix(b"LIBARCHIVE.xattr.")), decoded)
            elif key.startswith(b"SCHILY.xattr."):
                xattrs[key.removeprefix(b"SCHILY.xattr.")] = value
        for name in list(xattrs):
            if name.startswith(_HOSTILE_XATTRS):
                self.warnings.append(
                    f"{self._where(path)}: xattr {show(name)} dropped: it would steer the overlay mount"
                )
                del xattrs[name]
            elif name in _DROPPED_XATTRS:
                del xattrs[name]
            elif not 0 < len(name) <= MAX_NAME or b"=" in name or b"\0" in name or b"." not in name:
                raise self._error(f"xattr name {show(name)} is not one that Linux and PAX can hold", path)
            elif len(xattrs[name]) > _MAX_XATTR:
                raise self._error(
                    f"xattr {show(name)} has {len(xattrs[name])} bytes; at most {_MAX_XATTR} are possible", path
                )
        return xattrs

    def _content(
        self, block: bytes, flag: bytes, size: int, pax: list[tuple[bytes, bytes]], path: bytes
    ) -> tuple[int, tuple[Segment, ...]]:
        """Return a regular file's size and segments, and pass over its bytes."""
        try:
            sparse: SparseMap | None = None
            end = self._stream.position + size + (-size % BLOCK)
            if flag == b"S":
                sparse = read_old_gnu_map(block, self._map_blocks(path))
                end = self._stream.position + size + (-size % BLOCK)
            elif any(key.startswith(b"GNU.sparse.") for key, _ in pax):
                sparse = pax_sparse(pax)
                if sparse.in_content:
                    before = self._stream.position
                    sparse = read_map_1_0(sparse.size, self._map_blocks(path), size // BLOCK)
                    size -= self._stream.position - before
            start = self._stream.position
            file_size, segments = sparse.place(start, size) if sparse else (size, (Segment(0, start, size),))
        except ValueError as error:
            raise self._error(f"its sparse map is malformed: {error}", path) from error
        if not self._stream.skip(end - start):
            raise self._error("the tar stream ends inside its content; the layer is truncated", path)
        return file_size, segments if size else ()

    def _map_blocks(self, path: bytes) -> Callable[[], bytes]:
        """Return a reader of the blocks of a sparse map, which counts as an extended header."""
        start = self._stream.position

        def more() -> bytes:
            if self._stream.position - start >= self._limits.header_size:
                raise self._header_limit(path)
            return self._stream.read(BLOCK)

        return more

    def _header_limit(self, path: bytes | None = None) -> LimitError:
        return LimitError(
            f"{self._where(path)}: an extended header of more than {self._limits.header_size} bytes, the limit;"
            " raise it with --max-header-size if you trust the image"
        )

    def normalize(self, name: bytes) -> bytes:
        """Return a name as a path relative to the root.

        Raises:
            LayerError: A `..` component or a NUL byte.
            LimitError: Too long or too deep.
        """
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise self._error("a '..' in its name; a layer must not reach outside of its root", name)
        if b"\0" in name:
            raise self._error("a NUL byte in its name", name)
        path = b"/".join(parts)
        if any(len(part.removeprefix(WHITEOUT)) > MAX_NAME for part in parts) or len(path) > MAX_PATH:
            raise LimitError(
                f"{self._where(path)}: its name is too long; a name has at most {MAX_NAME} bytes, a path {MAX_PATH}"
            )
        if len(parts) > self._limits.depth:
            raise LimitError(
                f"{self._where(path)}: {len(parts)} directories deep, the limit is {self._limits.depth};"
                " raise it with --max-depth if you trust the image"
            )
        return path


def show(name: bytes) -> str:
    """Return a name for a message: quoted, printable, not too long."""
    text = name.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 200 else text[:199] + "…")


def _name(block: bytes) -> bytes:
    name = block[0:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        width = 131 if block[508:512] == b"tar\0" else 155
        prefix = block[345 : 345 + width].split(b"\0", 1)[0]
        return prefix + b"/" + name if prefix else name
    return name


def _signed_excess(block: bytes) -> int:
    """Return how much less a header sums up to for old programs, which took its bytes as signed."""
    return 256 * sum(byte >> 7 for byte in block[:148] + block[156:])


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    if not digits:
        return 0
    try:
        return int(digits, 8) if digits.isdigit() else None
    except ValueError:
        return None


def _field(field: bytes) -> int | None:
    """Read a number: octal, or base-256 where the top bit of the first byte is set (GNU)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    return _octal(field)
