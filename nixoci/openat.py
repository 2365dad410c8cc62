"""Opening what lies below a directory, one name after another, following no symlink."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from nixoci.errors import DeltaError

T = TypeVar("T")


def with_child(directory: int, name: bytes, action: Callable[[int], T]) -> T:
    """Return what `action` makes of a descriptor of an entry of a directory, of a symlink itself (never followed)."""
    handle = open_child(directory, name)
    try:
        return action(handle)
    finally:
        os.close(handle)


def open_child(directory: int, name: bytes) -> int:
    """Return a descriptor of an entry of a directory, of a symlink itself (O_PATH)."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return os.open(name, flags | os.O_PATH, dir_fd=directory)


def open_below(root: Path, path: bytes, action: Callable[[int], T]) -> T:
    """Return what `action` makes of a descriptor of `path` below the store path `root`; no symlink is followed.

    Raises:
        DeltaError: The path could leave the store path, or is not there.
    """
    with Below() as below:
        return below.act(root, path, action)


class Below:
    """Opens what lies below store paths, following no symlink; the folders on the way to the last one stay open."""

    def __init__(self) -> None:
        self._root = Path()
        self._names: list[bytes] = []
        self._handles: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def act(self, root: Path, path: bytes, action: Callable[[int], T]) -> T:
        """Return what `action` makes of a descriptor of `path` below the store path `root`.

        Raises:
            DeltaError: The path could leave the store path, or is not there.
        """
        names = path.split(b"/") if path else []
        if any(name in (b"", b".", b"..") or b"\0" in name for name in names):
            raise DeltaError(f"{root}: {path!r} is not a path inside of it")
        names.insert(0, os.fsencode(root.name))
        last = names.pop()
        try:
            return with_child(self._folder(root, names), last, action)
        except OSError as error:
            raise DeltaError(f"{root}: {path!r} cannot be read ({error.strerror}); verify the store") from error

    def close(self) -> None:
        """Close the folders."""
        self._keep(0)

    def _folder(self, root: Path, names: list[bytes]) -> int:
        if root != self._root:
            self.close()
            self._root = root
        if not self._handles:
            self._handles.append(os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        same = 0
        for had, wanted in zip(self._names, names, strict=False):
            if had != wanted:
                break
            same += 1
        self._keep(same + 1)
        for name in names[same:]:
            self._handles.append(open_child(self._handles[-1], name))
            self._names.append(name)
        return self._handles[-1]

    def _keep(self, count: int) -> None:
        while len(self._handles) > count:
            os.close(self._handles.pop())
        del self._names[max(0, count - 1) :]
