"""A strict reader of tar streams: an unknown or damaged entry is an error, never skipped or guessed.

It is not `tarfile`, which takes a damaged header for the end of the archive and trusts sizes. It yields entries and
holds no content in memory.

Formats: v7, ustar and star, PAX (POSIX.1-2017 pax), GNU long names, GNU sparse files old, 0.0, 0.1 and 1.0.
Global PAX headers are read and have no effect, as in Go's archive/tar, by which podman and Docker unpack layers.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nixoci.errors import LayerError, LimitError
from nixoci.tree.byte_stream import ByteStream
from nixoci.tree.limits import MAX_ID, MAX_NAME, MAX_PATH, MAX_SECONDS, MAX_TARGET, Limits
from nixoci.tree.model import DEVICES, NANOSECONDS, Inode, Kind
from nixoci.tree.sparse import SparseMap, pax_sparse, read_map_1_0, read_old_gnu_map
from nixoci.tree.tar_format import BLOCK, HARDLINK_FLAG, KIND_FLAGS, ZERO_BLOCK, show
from nixoci.tree.tar_header import is_checksum_right, read_mode_and_owner, read_name, read_number, read_time
from nixoci.tree.xattrs import read_xattrs

WHITEOUT = b".wh."

_REGULAR_FLAGS = {b"0", b"\0", b"7", b"S"}
_KINDS = {flag: kind for kind, flag in KIND_FLAGS.items()} | dict.fromkeys(_REGULAR_FLAGS, Kind.REGULAR)
_NO_RECORDS: dict[bytes, bytes] = {}

_MAX_MAJOR = (1 << 12) - 1
_MAX_MINOR = (1 << 20) - 1
_PLAIN_NAME = re.compile(rb"(?=[^\0]{1,%d}\Z)[^/.][^/]*(?:/[^/.][^/]*)*" % MAX_NAME)
"""Matches most names: those that are a path already, without a component that starts with a dot."""

_DECIMAL_TIME = re.compile(rb"([+-]?)0*([0-9]{1,20})(?:\.([0-9]*))?")
_NUMBER = re.compile(rb"\+?0*([0-9]{1,20})")


@dataclass(slots=True)
class Entry:
    """One entry of an archive.

    `path` is normalized: relative, without `.` components and doubled slashes; `b""` is the root. For a hardlink,
    `link` is the normalized path of its target and `inode` is None. `offset` is the position of a regular file's
    content in the stream, None for a sparse file.
    """

    path: bytes
    inode: Inode | None
    link: bytes = b""
    offset: int | None = None


Pieces = Iterator[tuple[int, memoryview]]
"""The bytes of a file with their positions in it, in order; everything between pieces is zeros."""

SaveContent = Callable[[Inode, Pieces], int]
"""Puts all pieces of a regular file aside and returns its `content`; the file's `mode` and `size` are final."""


class TarReader:
    """Reads the entries of a layer, or of the archive around an image."""

    def __init__(self, stream: ByteStream, *, what: str, limits: Limits, save: SaveContent | None = None) -> None:
        """Read from `stream`; `what` names the archive in errors, `save` gets the files that have bytes."""
        self._stream = stream
        self._what = what
        self._limits = limits
        self._save = save
        self._dropped: dict[str, tuple[bytes, int]] = {}
        """For each message about an xattr, the first entry that it is about, and the number of further ones."""

    @property
    def warnings(self) -> list[str]:
        """A message about each xattr that was dropped from the entries that were read, one for equal ones."""
        return [
            f"{self._where(first)}{f' and {more} more' if more else ''}: {message}"
            for message, (first, more) in self._dropped.items()
        ]

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order, then read the stream to its end.

        Raises:
            LayerError: The stream is not a well-formed tar, or has an entry that a layer cannot have.
            LimitError: An extended header, a name or a path is too long, or a file too large.
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
            return f"{self._what}: tar offset {self._stream.position}"
        return f"{self._what}: entry {show(path)}"

    def _header(self) -> bytes | None:
        """Return the next header block, None at the end of the archive."""
        block = self._stream.read(BLOCK)
        if not block:
            return None
        if block == ZERO_BLOCK:
            second = self._stream.read(BLOCK)
            if second not in (b"", ZERO_BLOCK):
                raise self._error("a single zero block inside the archive; the archive is damaged")
            return None
        if len(block) < BLOCK:
            raise self._error("the tar stream ends inside a header; the archive is truncated")
        if not is_checksum_right(block):
            raise self._error("the header checksum does not match; the archive is damaged or not a tar archive")
        return block

    def _extended(self, size: int) -> bytes:
        """Return the body of an extended header."""
        if size > self._limits.header_size:
            raise self._header_limit()
        data = self._stream.read(size)
        if len(data) < size or not self._stream.skip(-size % BLOCK):
            raise self._error("the tar stream ends inside an extended header; the archive is truncated")
        return data

    def _pax_records(self, data: bytes) -> list[tuple[bytes, bytes]]:
        records = []
        at = 0
        while at < len(data):
            space = data.find(b" ", at)
            length = _NUMBER.fullmatch(data, at, space) if space > 0 else None
            end = at + int(length[1]) if length else 0
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not space < end <= len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
                raise self._error("a PAX record is malformed; the archive is damaged")
            records.append((key, value))
            at = end
        return records

    def _number(self, block: bytes, at: int, length: int, what: str) -> int:
        """Read a number field; a negative one is an error."""
        value = read_number(block[at : at + length])
        if value is None or value < 0:
            raise self._error(
                f"the {what} in a header is not a number of the tar format: {show(block[at : at + length])}"
            )
        return value

    def _pax_number(self, records: dict[bytes, bytes], key: bytes, default: int, path: bytes) -> int:
        text = records.get(key)
        if text is None or text == b"":
            return default
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise self._error(f"PAX {key.decode()} {show(text[:40])}: expected a decimal number", path)
        return int(match[1])

    def _entry(
        self,
        block: bytes,
        flag: bytes,
        size: int,
        pax: list[tuple[bytes, bytes]],
        long: dict[bytes, bytes],
    ) -> Entry:
        records = dict(pax) if pax else _NO_RECORDS
        # of several names Go's archive/tar takes these first, and so do podman and umoci
        raw = long.get(b"L") or records.get(b"path") or read_name(block)
        size = self._pax_number(records, b"size", size, raw) if records else size
        sparse = self._pax_sparse(pax, flag, size, raw) if pax else None
        raw = (sparse and records.get(b"GNU.sparse.name")) or raw
        path = self.normalize(raw)
        if flag == b"\0" and raw.endswith(b"/"):
            flag = KIND_FLAGS[Kind.DIRECTORY]
        link = long.get(b"K") or records.get(b"linkpath") or block[157:257].split(b"\0", 1)[0]
        if flag == HARDLINK_FLAG:
            return Entry(path, None, link=self.normalize(link))
        kind = _KINDS.get(flag)
        if kind is None:
            raise self._error(f"type {show(flag)} is not a type that a layer can hold", path)
        inode = self._inode(kind, block, records, path)
        if kind is Kind.REGULAR:
            return Entry(path, inode, offset=self._content(inode, block, size, sparse, path))
        if kind is Kind.SYMLINK:
            if b"\0" in link:
                raise self._error("a NUL byte in its symlink target", path)
            if not 0 < len(link) <= MAX_TARGET:
                raise self._error(f"a symlink target of {len(link)} bytes; 1 to {MAX_TARGET} are possible", path)
            inode.target = link
        elif kind in DEVICES:
            inode.device = self._device(block, path)
        return Entry(path, inode)

    def _pax_sparse(self, pax: list[tuple[bytes, bytes]], flag: bytes, size: int, name: bytes) -> SparseMap | None:
        """Read the sparse map in an entry's PAX records, if there is one."""
        if flag == b"S" or not any(key.startswith(b"GNU.sparse.") for key, _ in pax):
            return None
        try:
            sparse = pax_sparse(pax, size)
        except ValueError as error:
            raise self._malformed(error, dict(pax).get(b"GNU.sparse.name") or name) from error
        if sparse is not None and flag not in _REGULAR_FLAGS:
            raise self._error("a sparse map, which only a regular file can have", name)
        return sparse

    def _malformed(self, error: ValueError, path: bytes) -> LayerError:
        return self._error(f"its sparse map is malformed: {error}", path)

    def _inode(self, kind: Kind, block: bytes, records: dict[bytes, bytes], path: bytes) -> Inode:
        numbers = read_mode_and_owner(block[100:124])
        if numbers is None:
            numbers = (
                self._number(block, 100, 8, "mode"),
                self._number(block, 108, 8, "uid"),
                self._number(block, 116, 8, "gid"),
            )
        mode, uid, gid = numbers
        if records:
            uid, gid = self._pax_number(records, b"uid", uid, path), self._pax_number(records, b"gid", gid, path)
        if uid > MAX_ID or gid > MAX_ID:
            raise self._error(f"owner {uid}:{gid}; Linux ids end at {MAX_ID}", path)
        inode = Inode(
            kind,
            mode=mode & 0o7777,
            uid=uid,
            gid=gid,
            mtime=self._mtime(block, records, path),
        )
        if records and (xattrs := self._xattrs(records, kind, path)):
            inode.xattrs = xattrs
        return inode

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
            time = read_time(block[136:148])
            if time is None:
                raise self._error(f"mtime {show(block[136:148])} is not a time of the tar format", path)
            return time
        match = _DECIMAL_TIME.fullmatch(text)
        if match is None or int(match[2]) > MAX_SECONDS:
            raise self._error(f"PAX mtime {show(text[:40])} is not a decimal number of seconds", path)
        nanoseconds = int(match[2]) * NANOSECONDS + int((match[3] or b"")[:9].ljust(9, b"0"))
        return -nanoseconds if match[1] == b"-" else nanoseconds

    def _xattrs(self, records: dict[bytes, bytes], kind: Kind, path: bytes) -> dict[bytes, bytes]:
        try:
            xattrs, dropped = read_xattrs(records, kind)
        except ValueError as error:
            raise self._error(str(error), path) from error
        for message in dropped:
            first, more = self._dropped.get(message, (path, -1))
            self._dropped[message] = first, more + 1
        return xattrs

    def _content(self, inode: Inode, block: bytes, size: int, sparse: SparseMap | None, path: bytes) -> int | None:
        """Set a regular file's size, save its content, skip to the next header, and return the content's offset."""
        padding = -size % BLOCK
        inode.size = size
        runs: tuple[tuple[int, int], ...] = ((0, size),)
        try:
            if block[156:157] == b"S":
                sparse = read_old_gnu_map(block, self._map_blocks(path))
            elif sparse is not None and sparse.in_content:
                before = self._stream.position
                sparse = read_map_1_0(sparse.size, self._map_blocks(path), size // BLOCK)
                size -= self._stream.position - before
            if sparse is not None:
                sparse.check(size)
                inode.size, runs = sparse.size, sparse.runs
        except ValueError as error:
            raise self._malformed(error, path) from error
        if inode.size > self._limits.total_size:
            raise LimitError(
                f"{self._where(path)}: a file of {inode.size} bytes, the limit for the image is"
                f" {self._limits.total_size}; raise it with --max-size if you trust the image"
            )
        offset = self._stream.position if sparse is None else None
        if self._save is not None and size:
            whole = self._stream.piece(size) if sparse is None else None
            inode.content = self._save(inode, iter(((0, whole),)) if whole else self._pieces(runs, path))
        elif not self._stream.skip(size):
            raise self._cut(path)
        self._stream.skip(padding)  # the last entry may go without
        return offset

    def _pieces(self, runs: Iterable[tuple[int, int]], path: bytes) -> Pieces:
        for start, length in runs:
            position = start
            for piece in self._stream.pieces(length):
                yield position, piece
                position += len(piece)
            if position != start + length:
                raise self._cut(path)

    def _cut(self, path: bytes) -> LayerError:
        return self._error("the tar stream ends inside its content; the archive is truncated", path)

    def _map_blocks(self, path: bytes) -> Callable[[], bytes]:
        """Return a function that reads the blocks of a sparse map, under the limit of an extended header."""
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
            LayerError: A `..` that leads out of the root, or a NUL byte.
            LimitError: Too long or too deep.
        """
        if _PLAIN_NAME.fullmatch(name) and name.count(b"/") < self._limits.depth:
            return name
        parts = [part for part in name.split(b"/") if part and part != b"."]
        if b".." in parts:
            parts = self._without_parents(name, parts)
        if b"\0" in name:
            raise self._error("a NUL byte in its name", name)
        path = b"/".join(parts)
        long = len(path) > MAX_NAME
        if long and (any(len(part.removeprefix(WHITEOUT)) > MAX_NAME for part in parts) or len(path) > MAX_PATH):
            raise LimitError(
                f"{self._where(path)}: its name is too long; a name has at most {MAX_NAME} bytes, a path {MAX_PATH}"
            )
        if len(parts) > self._limits.depth:
            raise LimitError(
                f"{self._where(path)}: {len(parts)} directories deep, the limit is {self._limits.depth};"
                " raise it with --max-depth if you trust the image"
            )
        return path

    def _without_parents(self, name: bytes, parts: list[bytes]) -> list[bytes]:
        """Return the parts of a name without each `..` and the part before it."""
        left: list[bytes] = []
        for part in parts:
            if part != b"..":
                left.append(part)
            elif left or name.startswith(b"/"):
                del left[-1:]
            else:
                raise self._error("a '..' in its name; it must not lead out of the archive's root", name)
        return left
