"""Containers that have moved directories of their image, by the overlay's redirect_dir.

In the layer of such a container a moved directory is empty, and an attribute says where its files are. podman reads it
whatever its mount options are, but commits the layer as it is if it does not compare trees.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from nixoci.gc_roots.image_stores import image_ids
from nixoci.gc_roots.podman import Podman

_REDIRECT = "trusted.overlay.redirect"
_NONE = {errno.ENODATA, errno.ENOENT, errno.EOPNOTSUPP}
"""Errors of a directory without the attribute, or that a running container has removed."""


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
    """Return whether a directory in a layer was moved. No symlink is followed, not even one that is made meanwhile."""
    top = os.fsencode(layer)
    with suppress(FileNotFoundError):  # a container that is removed at the same time
        return any(_is_moved(handle, folder.removeprefix(top)) for folder, _, _, handle in os.fwalk(top))
    return False


def _is_moved(handle: int, path: bytes) -> bool:
    """Return whether a directory has the files of another place: that in the root, or of a name beside it."""
    try:
        source = os.getxattr(handle, _REDIRECT)
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return False
    return source not in {path, path.rpartition(b"/")[2]}
