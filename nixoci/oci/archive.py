"""Image archives: tar files whose members are read where they lie, without unpacking them."""

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
from isal.isal_zlib import error as isal_error

from nixoci.errors import ImageError

_ISAL_ERROR = cast("type[Exception]", isal_error)  # isal's type hints take the class for an instance
_MAX_LINKS = 10
_COPY = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The regular files of a tar file by name; of several with one name, the last, as unpacking would have it."""

    name: str
    _file: BinaryIO
    _members: Mapping[str, _Member]
    _links: Mapping[str, str]

    @classmethod
    @contextmanager
    def open_file(cls, path: Path, *, name: str) -> Iterator[Self]:
        """Read the table of a tar file, which stays open inside the context.

        One that is compressed as a whole (`docker save | gzip`) is first inflated to an unnamed temporary file, as
        its members cannot be read where they lie.

        Args:
            path: The file.
            name: What messages call it.

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
                    path = _inside(info.name)
                    members.pop(path, None)
                    links.pop(path, None)
                    if info.isreg() and not info.issparse():
                        members[path] = _Member(info.offset_data, info.size)
                    elif info.issym():
                        links[path] = _inside(posixpath.join(posixpath.dirname(path), info.linkname))
                    elif info.islnk():
                        links[path] = _inside(info.linkname)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise ImageError(f"{name}: not a whole tar file: {error}; make it again") from error
        return cls(name=name, _file=file, _members=members, _links=links)

    def open(self, path: str) -> BinaryIO:
        """Open a member by its path, following links between members.

        Raises:
            FileNotFoundError: There is no such regular file.
            ImageError: Its links go in a circle.
        """
        return cast("BinaryIO", io.BufferedReader(_Slice(self._file.fileno(), self._find(path))))

    def size(self, path: str) -> int:
        """Return a member's size in bytes; errors as for `open`."""
        return self._find(path).size

    def resolve(self, path: str) -> str:
        """Return the path of the member that a path leads to; errors as for `open`."""
        wanted = path = _inside(path)
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
    """A part of a file that is read without moving the file's own position, so that threads do not disturb others."""

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


def _inside(path: str) -> str:
    """Return the one spelling of a path inside an archive, from whose root no `..` leads out."""
    return posixpath.normpath(f"/{path}").lstrip("/")


@contextmanager
def _seekable(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a tar file, inflated if it is compressed."""
    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic.startswith((b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
            raise ImageError(f"{name}: compressed with bzip2, xz or zstd, expected a tar file; decompress it first")
        if not magic.startswith(b"\x1f\x8b"):
            yield file
            return
        with tempfile.TemporaryFile() as inflated:
            try:
                copyfileobj(igzip.open(path), inflated, _COPY)  # type: ignore[no-untyped-call]
            except (igzip.BadGzipFile, _ISAL_ERROR, EOFError) as error:
                raise ImageError(f"{name}: cannot be decompressed: {error}; make it again") from error
            inflated.seek(0)
            yield cast("BinaryIO", inflated)
