"""Directories of mount stacks (systemd.mstack(7)): an image as `systemd-nspawn --mstack=` and RootMStack= take it."""

import os
from pathlib import Path

from nixoci.container.places import mounted_image
from nixoci.errors import StoreError
from nixoci.image_store.contents import StoreImage, read_image_store, require_erofs
from nixoci.output import missing_directories, new_directory

_LAYER = "layer@0"
_WRITTEN = "rw"


def build_stack(
    store: str | os.PathLike[str], out: str | os.PathLike[str], *, name: str | None = None, writable: bool = False
) -> str:
    """Write the stack of an image of an image store to the new directory `out`; return the image's mount point.

    Args:
        store: The image store.
        out: The directory to make.
        name: A name or the id of the image; None for the only one.
        writable: Let the directory also have what is written.

    Raises:
        StoreError: There is no such image, or `out` exists.
        OSError: The directory cannot be made; nothing is left there.
    """
    image, out = _find(Path(store), name), Path(out)
    point = mounted_image(image.entry, image.layer.id)
    with missing_directories(out.parent), new_directory(out) as made:
        (made / _LAYER).symlink_to(point)
        if writable:
            (made / _WRITTEN).mkdir()
    return point


def _find(store: Path, name: str | None) -> StoreImage:
    images = read_image_store(store)
    names = sorted({each for image in images for each in image.record.names or [image.record.id]})
    found = [image for image in images if name is None or name in {image.record.id, *image.record.names}]
    if not images:
        raise StoreError(f"{store}: has no image; give an image store that has one")
    if not found:
        raise StoreError(f"{store}: no image {name!r}; it has {', '.join(names)}")
    if len(found) > 1:
        raise StoreError(f"{store}: {len(found)} images; name one of {', '.join(names)} with --image")
    require_erofs(found[0])
    return found[0]
