"""Image archives: tar files whose members are read in place, without unpacking them."""

import errno
import io
import os
import posixpath
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self, cast

from nixoci.compression import HEAD, Compression, DecompressError, decompress, detect
from nixoci.errors import ImageError, LimitError
from nixoci.tree.byte_stream import FileStream
from nixoci.tree.limits import Limits
from nixoci.tree.lookup import clamped
from nixoci.tree.model import Kind
from nixoci.tree.tar_reader import Entry, TarReader

_MAX_LINKS = 10
_COPY = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The regular files of a tar file by name. If several have the same name, the last one counts, as on unpacking."""

    name: str
    _file: BinaryIO
    _members: Mapping[str, _Member]
    _links: Mapping[str, str]

    @classmethod
    @contextmanager
    def open_file(cls, path: Path, *, name: str, limits: Limits | None = None) -> Iterator[Self]:
        """Read the table of a tar file, which stays open inside the context.

        A file that is compressed as a whole (`docker save | gzip`) is first decompressed to an unnamed temporary
        file, because its members cannot be read in place.

        Args:
            path: The file.
            name: The archive's name in messages.
            limits: Limits of the archive; those of an image by default.

        Raises:
            ImageError: Not a tar file, or a damaged one.
            LimitError: It exceeds a limit.
        """
        limits = limits or Limits()
        with _seekable(path, name, limits) as file:
            yield cls._read(file, name, limits)

    @classmethod
    def _read(cls, file: BinaryIO, name: str, limits: Limits) -> Self:
        members: dict[str, _Member] = {}
        links: dict[str, str] = {}
        for number, entry in enumerate(TarReader(FileStream(file), what=name, limits=limits)):
            if number == limits.entries:
                raise LimitError(
                    f"{name}: more than {limits.entries} entries in the archive, the limit; raise it with --max-entries"
                    " if you trust the image"
                )
            path = os.fsdecode(entry.path)
            members.pop(path, None)
            links.pop(path, None)
            link = _link(path, entry)
            if link is not None:
                links[path] = link
            elif entry.inode is not None and entry.offset is not None:
                members[path] = _Member(entry.offset, entry.inode.size)
        return cls(name=name, _file=file, _members=members, _links=links)

    def open(self, path: str) -> io.BufferedReader:
        """Open a member by its path, following links between members.

        Raises:
            FileNotFoundError: There is no such regular file.
            ImageError: Its links go in a circle.
        """
        return io.BufferedReader(_Slice(self._file.fileno(), self._find(path)))

    def size(self, path: str) -> int:
        """Return a member's size in bytes; errors as for `open`."""
        return self._find(path).size

    def resolve(self, path: str) -> str:
        """Follow links and return the path of the member; errors as for `open`."""
        wanted = path = clamped(path)
        for _ in range(_MAX_LINKS):
            if path in self._members:
                return path
            if path not in self._links:
                raise FileNotFoundError(path)
            path = self._links[path]
        raise ImageError(f"{self.name}: {wanted}: more than {_MAX_LINKS} links to follow")

    def _find(self, path: str) -> _Member:
        return self._members[self.resolve(path)]


def _link(path: str, entry: Entry) -> str | None:
    """Return the path that a hardlink or a symlink leads to."""
    if entry.inode is None:
        return os.fsdecode(entry.link)
    if entry.inode.kind is Kind.SYMLINK:
        return clamped(posixpath.join(posixpath.dirname(path), os.fsdecode(entry.inode.target)))
    return None


class _Slice(io.RawIOBase):
    """A part of a file, read without moving the file's position, so that several threads can read."""

    def __init__(self, handle: int, member: _Member) -> None:
        self._handle = handle
        self._start = self._position = member.offset
        self._end = member.offset + member.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = min(max(base + offset, self._start), self._end)
        return self._position - self._start

    def tell(self) -> int:
        return self._position - self._start

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self._end - self._position)
        got = os.preadv(self._handle, [memoryview(buffer)[:count]], self._position)
        self._position += got
        return got


@contextmanager
def _seekable(path: Path, name: str, limits: Limits) -> Iterator[BinaryIO]:
    """Open a tar file, decompressed."""
    with path.open("rb") as file:
        compression = detect(file.read(HEAD))
        file.seek(0)
        if compression is Compression.NONE:
            yield file
            return
        with tempfile.TemporaryFile() as inflated:
            try:
                _inflate(decompress(iter(partial(file.read, _COPY), b"")), inflated, name, limits)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:  # an unnamed file does not know its directory
                    error.filename = tempfile.gettempdir()
                raise
            except DecompressError as error:
                raise ImageError(f"{name}: {error}" + ("; make it again" if error.damaged else "")) from error
            inflated.seek(0)
            yield cast("BinaryIO", inflated)


def _inflate(pieces: Iterable[bytes], inflated: BinaryIO, name: str, limits: Limits) -> None:
    left = limits.total_size
    for data in pieces:
        left -= len(data)
        if left < 0:
            raise LimitError(
                f"{name}: more than {limits.total_size} bytes when decompressed, the limit; raise it with --max-size if"
                " you trust the image"
            )
        inflated.write(data)
