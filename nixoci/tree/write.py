"""Writing a tree's rootfs: only what a NAR can hold, and never through a symlink.

The directories are created in a new directory that only nixoci writes to, parents first, so a path of the tree passes
through those directories only. Devices and FIFOs are left out: only the metadata dump has them.
"""

import errno
import os
import shutil
from pathlib import Path

from nixoci.tree.contents import Contents, create
from nixoci.tree.model import Inode, Kind, walk_names

_DIRECTORY = 0o755


def write_rootfs(root: Inode, dest: Path, *, contents: Contents) -> None:
    """Write the tree to the new directory `dest`, and move the contents that were put aside there.

    Files get mode 0444, or 0555 if the image sets any execute bit, and directories 0755, whatever the umask.

    Args:
        root: The merged tree.
        dest: A path that does not exist; its parent does.
        contents: Those of the tree's files, on the same file system.

    Raises:
        OSError: The disk is full, or `dest` exists.
    """
    base = os.fsencode(dest)
    _make_directory(base)
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _write_children(root, base, folder, contents)
    finally:
        os.close(folder)


def _make_directory(path: bytes) -> None:
    os.mkdir(path)
    os.chmod(path, _DIRECTORY)


def _write_children(root: Inode, base: bytes, folder: int, contents: Contents) -> None:
    """Write all but the root to the directory at the path `base`, which is open as `folder`."""
    written: dict[bytes, bytes] = {}
    for path, inode, first, _ in walk_names(root):
        if not path:
            continue
        target = base + b"/" + path
        if inode.is_directory:
            _make_directory(target)
        elif path != first:
            if inode.kind in (Kind.REGULAR, Kind.SYMLINK):
                written[first] = _write_name(written.get(first) or base + b"/" + first, target)
        elif inode.kind is Kind.SYMLINK:
            os.symlink(inode.target, target)
        elif inode.kind is Kind.REGULAR:
            if inode.content is None:
                _write_zeros(target, inode)
            else:
                contents.move(inode.content, path, to=folder)


def _write_name(canonical: bytes, target: bytes) -> bytes:
    """Give a file a further name; return the name that the next one is a hardlink to.

    Where the file system ends (ext4 at 65 000 names), a copy takes over; a NAR has no hardlinks anyway.
    """
    try:
        os.link(canonical, target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        shutil.copy(canonical, target, follow_symlinks=False)
        return target
    return canonical


def _write_zeros(target: bytes, inode: Inode) -> None:
    file = create(target, inode)
    try:
        if inode.size:
            os.ftruncate(file, inode.size)
    finally:
        os.close(file)
