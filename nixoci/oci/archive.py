"""Image archives: tar files whose members are read in place, without unpacking them."""

import io
import os
import posixpath
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import IO, BinaryIO, Self, cast

from isal import igzip

from nixoci.compression import HEAD, Compression, IsalError, detect
from nixoci.errors import ImageError
from nixoci.tree.lookup import clamped

_MAX_LINKS = 10
_COPY = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The regular files of a tar file by name; the last of several with one name counts, as when they are unpacked."""

    name: str
    _file: BinaryIO
    _members: Mapping[str, _Member]
    _links: Mapping[str, str]

    @classmethod
    @contextmanager
    def open_file(cls, path: Path, *, name: str) -> Iterator[Self]:
        """Read the table of a tar file, which stays open inside the context.

        A file that is compressed as a whole (`docker save | gzip`) is first decompressed to an unnamed temporary
        file, because its members cannot be read in place.

        Args:
            path: The file.
            name: The archive's name in messages.

        Raises:
            ImageError: Not a tar file, or a damaged one.
        """
        with _seekable(path, name) as file:
            yield cls._read(file, name)

    @classmethod
    def _read(cls, file: BinaryIO, name: str) -> Self:
        members: dict[str, _Member] = {}
        links: dict[str, str] = {}
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", file), mode="r:") as archive:
                for info in archive:
                    path = clamped(info.name)
                    members.pop(path, None)
                    links.pop(path, None)
                    if info.isreg() and not info.issparse():
                        members[path] = _Member(info.offset_data, info.size)
                    elif info.issym():
                        links[path] = clamped(posixpath.join(posixpath.dirname(path), info.linkname))
                    elif info.islnk():
                        links[path] = clamped(info.linkname)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise ImageError(f"{name}: not a whole tar file: {error}; make it again") from error
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
def _seekable(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a tar file, decompressed."""
    with path.open("rb") as file:
        compression = detect(file.read(HEAD))
        file.seek(0)
        if compression is Compression.NONE:
            yield file
            return
        if compression is not Compression.GZIP:
            raise ImageError(f"{name}: compressed with {compression.value}, expected a tar file; decompress it first")
        with tempfile.TemporaryFile() as inflated:
            try:
                copyfileobj(igzip.open(path), inflated, _COPY)  # type: ignore[no-untyped-call]
            except (igzip.BadGzipFile, IsalError, EOFError) as error:
                raise ImageError(f"{name}: cannot be decompressed: {error}; make it again") from error
            inflated.seek(0)
            yield cast("BinaryIO", inflated)
