"""Contents put aside: the bytes of regular files, written while their layer is read and named once the tree is merged.

So a layer is read once and never held in memory. The bytes go to a numbered file in a directory that only nixoci writes
to; a rename gives that file its name in the tree. A file that a higher layer replaces never gets a name.
"""

import os
import stat
from pathlib import Path
from typing import Self

from nixoci.tree.model import Inode
from nixoci.tree.tar_reader import Pieces

_FILE = 0o444
_EXECUTABLE = 0o555
_EXECUTE_BITS = 0o111
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PROBE = b"mode"
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Contents:
    """Puts contents aside in a new directory, each in a file with the mode that it gets in a rootfs.

    A context manager, which leaves the directory and what is in it.
    """

    def __init__(self, folder: Path) -> None:
        """Make the directory `folder`.

        Raises:
            OSError: It exists, or cannot be made.
        """
        folder.mkdir(0o700)
        self._path = os.fsencode(folder)
        self._folder = os.open(folder, _DIRECTORY)
        self._count = 0
        try:
            self._keeps_modes = _keeps_modes(self._folder)
        except OSError:
            os.close(self._folder)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    def save(self, inode: Inode, pieces: Pieces) -> int:
        """Write the pieces of a regular file and return the number by which the new file is named in the directory.

        Raises:
            OSError: The disk is full.
        """
        self._count += 1
        file = self._create(b"%d" % self._count, _nar_mode(inode))
        try:
            end = 0
            for start, piece in pieces:
                position, data = start, piece
                while data:
                    written = os.pwrite(file, data, position)
                    data = data[written:]
                    position += written
                end = position
            if end != inode.size:
                os.ftruncate(file, inode.size)
        finally:
            os.close(file)
        return self._count

    def move(self, content: int, path: bytes, *, to: int) -> None:
        """Give a content its name: a path below the open directory `to`, on the same file system."""
        try:
            os.rename(b"%d" % content, path, src_dir_fd=self._folder, dst_dir_fd=to)
        except OSError as error:
            error.filename = self._whole(b"%d" % content)
            raise

    def _create(self, name: bytes, mode: int) -> int:
        try:
            file = os.open(name, _NEW, mode, dir_fd=self._folder)
        except OSError as error:
            error.filename = self._whole(name)
            raise
        if not self._keeps_modes:
            _set_mode(file, mode)
        return file

    def _whole(self, name: bytes) -> bytes:
        return self._path + b"/" + name


def create(path: bytes, inode: Inode) -> int:
    """Create a file with the mode that a NAR gives it, whatever the umask; return its descriptor."""
    file = os.open(path, _NEW, 0o600)
    _set_mode(file, _nar_mode(inode))
    return file


def _nar_mode(inode: Inode) -> int:
    return _EXECUTABLE if inode.mode & _EXECUTE_BITS else _FILE


def _set_mode(file: int, mode: int) -> None:
    """Set the mode of a new file, which is closed if that fails."""
    try:
        os.fchmod(file, mode)
    except OSError:
        os.close(file)
        raise


def _keeps_modes(folder: int) -> bool:
    """Return whether a new file gets the mode that it is created with: the umask or an ACL may take bits away."""
    file = os.open(_PROBE, _NEW, _EXECUTABLE, dir_fd=folder)
    try:
        return stat.S_IMODE(os.fstat(file).st_mode) == _EXECUTABLE
    finally:
        os.close(file)
        os.unlink(_PROBE, dir_fd=folder)
