"""Contents put aside: the bytes of regular files, written while their layer passes, named when the tree is known.

A layer can then be read once, without holding it in memory: a file's bytes go to a numbered file in a directory that
only we write to, and get their name in the tree by a rename. What a higher layer replaces never gets one.
"""

import os
from pathlib import Path

from nixoci.tree.model import Inode
from nixoci.tree.tar_reader import Pieces

_FILE = 0o444
_EXECUTABLE = 0o555
_EXECUTE_BITS = 0o111


class Contents:
    """Puts contents aside in the new directory `folder`, each as a file of the mode that it has in a rootfs."""

    def __init__(self, folder: Path) -> None:
        """Make the directory.

        Raises:
            OSError: It exists, or cannot be made.
        """
        folder.mkdir(0o700)
        self._folder = os.fsencode(folder)
        self._count = 0

    def keep(self, inode: Inode, pieces: Pieces) -> bytes:
        """Write the pieces of a regular file; return the path of what was written.

        Raises:
            OSError: The disk is full.
        """
        self._count += 1
        path = b"%b/%d" % (self._folder, self._count)
        file = create(path, inode)
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
        return path


def create(path: bytes, inode: Inode) -> int:
    """Create a file of the mode that a NAR has for it, whatever the umask; return its descriptor."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(file, _EXECUTABLE if inode.mode & _EXECUTE_BITS else _FILE)
    except OSError:
        os.close(file)
        raise
    return file
