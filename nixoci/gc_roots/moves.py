"""Containers that have moved directories of their image, by the overlay's redirect_dir.

In the layer of such a container a moved directory is empty, and an attribute says where its files are. podman reads it
whatever its mount options are, but commits the layer as it is if it does not compare trees.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nixoci.gc_roots.image_stores import image_ids
from nixoci.gc_roots.podman import Podman

_REDIRECT = "trusted.overlay.redirect"
_NONE = {errno.ENODATA, errno.ENOENT, errno.EOPNOTSUPP}
"""Errors of a directory without the attribute, or that a running container has removed."""
_REPLACED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""Errors of a place that had a directory a moment before."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def containers_with_moves(podman: Podman) -> list[str]:
    """Return the names of containers that have moved directories, of images in podman's own storage.

    Raises:
        StoreError: podman's records cannot be read.
        OSError: A layer cannot be read.
    """
    own = image_ids(podman.storage)
    layers = podman.storage / podman.driver
    return sorted(
        container.names[0] if container.names else container.id
        for container in podman.containers()
        if container.image in own and container.layer and _has_moves(layers / container.layer / "diff")
    )


def _has_moves(layer: Path) -> bool:
    """Return whether a directory in a layer was moved."""
    with suppress(FileNotFoundError):  # a container that is removed at the same time
        return any(_is_moved(handle, path) for handle, path in _directories(layer))
    return False


def _directories(top: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each directory of a layer, open, with its path in it; no symlink is followed.

    A container may run, and put another file in the place of a directory: such a place is left out, and not waited for.
    """
    handles = [os.open(top, _DIRECTORY)]
    path: list[bytes] = []
    try:
        yield handles[0], b""
        left = [_folders(handles[0])]
        while left:
            if not left[-1]:
                left.pop()
                os.close(handles.pop())
                del path[-1:]
                continue
            name = left[-1].pop()
            try:
                handle = os.open(name, _DIRECTORY, dir_fd=handles[-1])
            except OSError as error:
                if error.errno not in _REPLACED:
                    raise
                continue
            handles.append(handle)
            path.append(name)
            yield handle, b"/" + b"/".join(path)
            left.append(_folders(handle))
    finally:
        for handle in handles:
            os.close(handle)


def _folders(directory: int) -> list[bytes]:
    """Return the names of the directories in an open directory."""
    with os.scandir(directory) as entries:
        return [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _is_moved(handle: int, path: bytes) -> bool:
    """Return whether a directory has the files of another place: that in the root, or of a name beside it."""
    try:
        source = os.getxattr(handle, _REDIRECT)
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return False
    return source not in {path, path.rpartition(b"/")[2]}
