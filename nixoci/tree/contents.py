"""Contents put aside: the bytes of regular files, written while their layer is read and named once the tree is merged.

So a layer is read once and never held in memory. The bytes go to a numbered file in a directory that only nixoci writes
to; a rename gives that file its name in the tree. A file that a higher layer replaces never gets a name.
"""

import os
from pathlib import Path

from nixoci.tree.model import Inode
from nixoci.tree.tar_reader import Pieces

_FILE = 0o444
_EXECUTABLE = 0o555
_EXECUTE_BITS = 0o111


class Contents:
    """Puts contents aside in a new directory, each in a file with the mode that it gets in a rootfs."""

    def __init__(self, folder: Path) -> None:
        """Make the directory `folder`.

        Raises:
            OSError: It exists, or cannot be made.
        """
        folder.mkdir(0o700)
        self._folder = os.fsencode(folder)
        self._count = 0

    def save(self, inode: Inode, pieces: Pieces) -> int:
        """Write the pieces of a regular file and return the number by which the new file is named in the directory.

        Raises:
            OSError: The disk is full.
        """
        self._count += 1
        file = create(b"%b/%d" % (self._folder, self._count), inode)
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


def create(path: bytes, inode: Inode) -> int:
    """Create a file with the mode that a NAR gives it, whatever the umask; return its descriptor."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, _EXECUTABLE if inode.mode & _EXECUTE_BITS else _FILE)
    except OSError:
        os.close(file)
        raise
    return file
