"""Copies of image trees in one directory, in which equal files are one file with several names.

A tree whose metadata is in an EROFS file needs none of its own. Its contents are in one directory then, under names
that are shorter than paths, and are repeated in the EROFS file.
"""

import errno
import hashlib
import os
import shutil
from base64 import b32encode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from stat import S_IMODE, S_ISLNK, S_ISREG

from nixoci.errors import StoreError
from nixoci.progress import Advance, ignore

_CHUNK = 1 << 20
_DIRECTORY_MODE = 0o755
_CONTENT_MODE = 0o444
_NAME = 10
"""Characters of the name of a content, 50 bits of its digest."""

_TIMES = (1, 1)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC

_Key = tuple[bytes, int]
"""The SHA-256 of a file and its permission bits."""


class TreeCopies:
    """Copies trees of image paths below one directory; files of equal content and mode are hardlinks of each other.

    Directories are writable by their owner, whatever the mode of the original: trees in the Nix store have no other
    modes than 0444 and 0555, and those that the image gives are in its metadata.
    """

    def __init__(self) -> None:
        self._files: dict[_Key, str] = {}
        self._names: dict[bytes, bytes] = {}
        self._named: set[bytes] = set()

    def copy(self, rootfs: Path, target: Path, *, advance: Advance = ignore) -> None:
        """Copy the tree `rootfs` to the new directory `target`; symlinks are copied, never followed.

        Args:
            rootfs: The tree of an image path.
            target: The directory to make; its parent exists.
            advance: Called with the number of bytes of files that were copied.

        Raises:
            StoreError: The tree has something else than directories, symlinks and regular files.
            OSError: A file cannot be read or written.
        """
        for folder, directories, files, handle in os.fwalk(rootfs, follow_symlinks=False):
            directories.sort()
            place = target / os.path.relpath(folder, rootfs)
            place.mkdir()
            place.chmod(_DIRECTORY_MODE)
            for name in sorted({*files, *directories}):
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if S_ISLNK(status.st_mode):
                    (place / name).symlink_to(os.readlink(name, dir_fd=handle))
                elif name in files:
                    self._copy_file(name, handle, place / name, os.path.join(folder, name))  # noqa: PTH118
                    advance(status.st_size)

    def copy_contents(self, rootfs: Path, target: Path, *, advance: Advance = ignore) -> dict[bytes, bytes]:
        """Copy the contents of a tree's files to the new directory `target`, each once and without its attributes.

        A content keeps its name when others come or go, but for the rare one whose name another has.

        Args:
            rootfs: The tree of an image path.
            target: The directory to make; its parent exists.
            advance: Called with the number of bytes of files that were copied.

        Returns:
            The names in `target` by the paths in the tree; empty files have none.

        Raises:
            StoreError: The tree has something else than directories, symlinks and regular files.
            OSError: A file cannot be read or written.
        """
        target.mkdir()
        target.chmod(_DIRECTORY_MODE)
        names: dict[bytes, bytes] = {}
        top = os.fsencode(rootfs)
        for folder, _, files, handle in os.fwalk(top, follow_symlinks=False):
            prefix = folder[len(top) + 1 :] + b"/" if folder != top else b""
            for name in sorted(files):
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if S_ISLNK(status.st_mode):
                    continue
                with _opened(name, handle, os.path.join(folder, name)) as (file, _):  # noqa: PTH118
                    if status.st_size:
                        names[prefix + name] = self._copy_content(file, target)
                advance(status.st_size)
        return names

    def _copy_file(self, name: str, directory: int, target: Path, shown: str) -> None:
        with _opened(name, directory, shown) as (file, mode):
            self._copy(file, (hashlib.file_digest(file, "sha256").digest(), mode), target)

    def _copy_content(self, file: BufferedReader, folder: Path) -> bytes:
        digest = hashlib.file_digest(file, "sha256").digest()
        name = self._name(digest)
        target = folder / os.fsdecode(name)
        if not target.exists():
            self._copy(file, (digest, _CONTENT_MODE), target)
        return name

    def _name(self, digest: bytes) -> bytes:
        if digest not in self._names:
            text = b32encode(digest).lower()
            name = next(name for end in range(_NAME, len(text)) if (name := text[:end]) not in self._named)
            self._names[digest] = name
            self._named.add(name)
        return self._names[digest]

    def _copy(self, file: BufferedReader, key: _Key, target: Path) -> None:
        if key in self._files and _link(self._files[key], target):
            return
        file.seek(0)
        with target.open("xb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK)
            os.fchmod(copy.fileno(), key[1])
        self._files[key] = os.fspath(target)


@contextmanager
def _opened(name: str | bytes, directory: int, shown: str | bytes) -> Iterator[tuple[BufferedReader, int]]:
    """Open a regular file in a directory; yield it with its permission bits."""
    source = os.open(name, _READ | os.O_NONBLOCK, dir_fd=directory)
    with os.fdopen(source, "rb") as file:
        status = os.fstat(source)
        if not S_ISREG(status.st_mode):
            raise StoreError(
                f"{os.fsdecode(shown)}: neither a regular file, a directory nor a symlink; verify the image path"
            )
        yield file, S_IMODE(status.st_mode)


def set_times(folder: Path) -> None:
    """Give everything in a directory, and itself, the time that all has in the Nix store.

    So two stores of the same images are the same for tar and rsync, wherever and whenever they were made.
    """
    for root, directories, files, handle in os.fwalk(folder, topdown=False, follow_symlinks=False):
        for name in (*directories, *files):
            os.utime(name, _TIMES, dir_fd=handle, follow_symlinks=False)
        os.utime(root, _TIMES)


def _link(source: str, target: Path) -> bool:
    """Make a hardlink; return False if the file has as many names as the file system allows."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        return False
    return True
