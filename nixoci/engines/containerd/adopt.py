"""Adopted snapshots: committed snapshots of containerd's overlayfs snapshotter whose files are a mounted image.

The snapshotter gives a snapshot without a parent the directory `snapshots/N/fs`, and names it as the lower directory
of every container and layer above. containerd keeps it in a database, and never looks into it. If `fs` is a symlink,
overlay follows it, and a removal removes the link.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nixoci.engines.containerd.ctr import SNAPSHOTTER, Ctr, Mount
from nixoci.engines.containerd.shape import ShapedImage
from nixoci.engines.roots import Linked, linked_layer
from nixoci.errors import EngineError, ProcessError
from nixoci.output import flush_directory

KEY_PREFIX = "nixoci-"
"""Start of the keys of snapshots that are being adopted; one that is left was interrupted."""

_FILES = "fs"


def adopt(ctr: Ctr, image: ShapedImage, directory: Path, *, target: Path) -> None:
    """Make the committed snapshot of an image, which is a link to `target`; if that fails, no snapshot is left.

    `ctr` marks it so that containerd's garbage collector leaves it alone, until `release_snapshot`.

    Args:
        ctr: The client.
        image: The image; nothing else has a snapshot with its chain id.
        directory: The snapshotter's directory of snapshots.
        target: The place where the image is mounted, or will be.

    Raises:
        EngineError: The snapshotter is not as expected.
        ProcessError: containerd refuses.
        OSError: The link cannot be made.
    """
    key = f"{KEY_PREFIX}{image.chain.partition(':')[2]}"
    try:
        mounts = ctr.prepare_snapshot(key)
        _link(_files(mounts, directory), target)
        ctr.commit_snapshot(image.chain, key)
    except BaseException:
        with suppress(ProcessError):
            ctr.remove_snapshots([key])
        raise


def links(directories: Iterable[Path]) -> dict[Path, Linked]:
    """Return the adopted snapshots in directories of snapshots: their links, and the layers that these name."""
    found = [snapshot / _FILES for directory in directories if directory.is_dir() for snapshot in directory.iterdir()]
    return {link: layer for link in found if (layer := linked_layer(link)) is not None}


def point_to(link: Path, target: Path) -> None:
    """Let an adopted snapshot be another link; at any time, it is one or the other."""
    partial = link.with_name(f"{_FILES}.new")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(link)
    flush_directory(link.parent)


def _files(mounts: list[Mount], directory: Path) -> Path:
    """Return the directory of a new snapshot's files."""
    if len(mounts) == 1:
        (mount,) = mounts
        files = Path(mount.source)
        if mount.type == "bind" and files.name == _FILES and files.parent.parent == directory:
            return files
    found = "; ".join(f"{mount.type} {mount.source}" for mount in mounts) or "nothing"
    raise EngineError(
        f"containerd's snapshotter {SNAPSHOTTER} made a snapshot of {found}, expected one bind mount of"
        f" {directory}/N/{_FILES}; nixoci cannot register images in this version of containerd"
    )


def _link(files: Path, target: Path) -> None:
    try:
        files.rmdir()
    except OSError as error:
        raise EngineError(
            f"{files}: {error.strerror}, expected an empty directory; nixoci cannot register images in this version of"
            " containerd"
        ) from error
    files.symlink_to(target)
    # containerd's database reaches the disk with the commit, so the link has to be there before
    flush_directory(files.parent)
