"""Opening files below a directory, one name after another, without following a symlink."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from nixoci.errors import StoreError

T = TypeVar("T")

_NO_NAMES = frozenset({b"", b".", b".."})


def with_child(directory: int, name: bytes, action: Callable[[int], T]) -> T:
    """Return the result of `action` on a descriptor of an entry of a directory; a symlink is opened itself."""
    handle = open_child(directory, name)
    try:
        return action(handle)
    finally:
        os.close(handle)


def open_child(directory: int, name: bytes) -> int:
    """Return a descriptor of an entry of a directory; a symlink is opened itself (O_PATH), never followed."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return os.open(name, flags | os.O_PATH, dir_fd=directory)


def list_entries(directory: int) -> list[tuple[bytes, bool]]:
    """Return the names in an open directory in byte order, each with whether it is a symlink."""
    with os.scandir(directory) as entries:
        return sorted((os.fsencode(entry.name), entry.is_symlink()) for entry in entries)


def open_below(root: Path, path: bytes, action: Callable[[int], T]) -> T:
    """Return the result of `action` on a descriptor of `path` below `root`; no symlink is followed.

    Raises:
        StoreError: The path could leave `root`, or does not exist.
    """
    with TreeOpener() as opener:
        return opener.open(root, path, action)


def read_below(root: Path, path: bytes, offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset` of the file `path` below `root`, fewer only where the file ends.

    Raises:
        StoreError: The path could leave `root`, or is no file that can be read.
    """
    return open_below(root, path, lambda handle: read_range(handle, offset, size))


def read_range(handle: int, offset: int, size: int) -> bytes:
    """Return `size` bytes of an open file from `offset`, fewer only where it ends."""
    # not more than there are: reading takes memory for as many bytes as are asked for
    end = min(offset + size, os.fstat(handle).st_size)
    data = os.pread(handle, max(0, end - offset), offset)
    if offset + len(data) >= end:
        return data
    parts = [data]
    while data:
        offset += len(data)
        data = os.pread(handle, end - offset, offset)
        parts.append(data)
    return b"".join(parts)


class TreeOpener:
    """Opens files below roots without following a symlink.

    The directories on the way to the last file stay open: files that are opened in order cost one call each.
    """

    def __init__(self) -> None:
        self._root = Path()
        self._root_name = b""
        self._names: list[bytes] = []
        self._handles: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, root: Path, path: bytes, action: Callable[[int], T]) -> T:
        """Return the result of `action` on a descriptor of `path` below `root`, or of `root` for an empty path.

        Raises:
            StoreError: The path could leave `root`, or does not exist.
        """
        names = path.split(b"/") if path else []
        if b"\0" in path or not _NO_NAMES.isdisjoint(names):
            raise StoreError(f"{root}: {os.fsdecode(path)!r} is not a path inside of it")
        if root is not self._root:
            self.close()
            self._root, self._root_name = root, os.fsencode(root.name)
        names.insert(0, self._root_name)
        last = names.pop()
        try:
            return with_child(self._directory(names), last, action)
        except OSError as error:
            named = f"{root}: {os.fsdecode(path)!r}"
            raise StoreError(f"{named} cannot be read ({error.strerror}); verify the store") from error

    def close(self) -> None:
        """Close the directories."""
        self._close_beyond(0)

    def _directory(self, names: list[bytes]) -> int:
        if not self._handles:
            self._handles.append(os.open(self._root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        same = 0
        for opened, wanted in zip(self._names, names, strict=False):
            if opened != wanted:
                break
            same += 1
        self._close_beyond(same + 1)
        for name in names[same:]:
            self._handles.append(open_child(self._handles[-1], name))
            self._names.append(name)
        return self._handles[-1]

    def _close_beyond(self, count: int) -> None:
        while len(self._handles) > count:
            os.close(self._handles.pop())
        del self._names[max(0, count - 1) :]
