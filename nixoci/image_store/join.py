"""Join image stores: one list over the images of others, whose files stay where they are.

A store that Nix builds for each image is the entry of that image. A host's store is joined from entries, so that one
image that changes costs that image.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.image_store.build import ListedImage, make_directories, write_records
from nixoci.image_store.contents import StoreImage, read_image_store
from nixoci.image_store.names import IMAGES, LAYERS, LINKS, OVERLAY, big_data_file
from nixoci.image_store.records import ImageRecord
from nixoci.image_store.rootless import METADATA
from nixoci.output import new_directory


def join_image_stores(
    out: str | os.PathLike[str], stores: Sequence[str | os.PathLike[str]], *, rootless: bool = False
) -> list[ListedImage]:
    """Make an image store of the images of other stores in the new directory `out`; the files are symlinks to theirs.

    The same stores in the same order give the same bytes.

    Args:
        out: The image store to make; it must not exist.
        stores: Stores that refer to image paths; of two with the same tree, the first one's is used.
        rootless: Make the store for rootless users, of stores that are.

    Raises:
        StoreError: `out` exists, a store is not one or of another kind, or two images have the same name; nothing is
            left.
        DocumentError: A store's list is damaged.
    """
    found = [image for store in stores for image in read_image_store(Path(store).absolute())]
    paths = {image.record.id: _image_path(image, rootless=rootless) for image in reversed(found)}
    images: dict[str, list[StoreImage]] = {}
    layers: dict[str, StoreImage] = {}
    for image in found:
        images.setdefault(image.record.id, []).append(image)
        layers.setdefault(image.layer.id, image)
    records = [_merge(same) for same in images.values()]
    _check_names(found)
    with new_directory(Path(out)) as made:
        make_directories(made)
        write_records(made, records, [image.layer for image in layers.values()], rootless=rootless)
        for layer, image in layers.items():
            _link_layer(made, layer, image)
        for identifier, same in images.items():
            _link_image(made, identifier, same)
    return [ListedImage.of(record, paths[record.id]) for record in records]


def _image_path(image: StoreImage, *, rootless: bool) -> Path:
    """Return the image path that an image runs from; the store must be of the kind to make."""
    if image.rootfs is None:
        raise StoreError(
            f"{image.store}: is self-contained, and whole as it is; join stores that were made without --self-contained"
        )
    if (image.folder / METADATA).exists() is not rootless:
        kind, way = ("rootless users", "with") if not rootless else ("root", "without")
        raise StoreError(f"{image.store}: an image store for {kind}; join it {way} --rootless")
    return image.rootfs.parent


def _merge(same: Sequence[StoreImage]) -> ImageRecord:
    """Return the record of an image that several stores have, by all its names and digests."""
    first = same[0].record
    names = list(dict.fromkeys(name for image in same for name in image.record.names))
    items = list(dict.fromkeys(item for image in same for item in image.record.big_data_names))
    sizes: dict[str, int] = {}
    digests = dict(first.big_data_digests)
    for image in same:
        sizes |= image.record.big_data_sizes
        digests |= image.record.big_data_digests
    return ImageRecord(
        id=first.id,
        digest=first.digest,
        names=names,
        layer=first.layer,
        big_data_names=items,
        big_data_sizes={item: sizes[item] for item in items},
        big_data_digests=digests,
        created=first.created,
    )


def _check_names(images: Sequence[StoreImage]) -> None:
    known: dict[str, StoreImage] = {}
    for image in images:
        for name in image.record.names:
            other = known.setdefault(name, image)
            if other.record.id != image.record.id:
                raise StoreError(
                    f"{name}: two images have this name: {other.store} and {image.store}; leave one out or rename it"
                )


def _link_layer(made: Path, layer: str, image: StoreImage) -> None:
    (made / OVERLAY / layer).symlink_to(image.folder)
    link = (image.folder / "link").read_text(encoding="ascii")
    (made / LINKS / link).symlink_to(f"../{layer}/diff")
    (made / LAYERS / image.tar_split.name).symlink_to(image.tar_split)


def _link_image(made: Path, identifier: str, same: Sequence[StoreImage]) -> None:
    folder = made / IMAGES / identifier
    folder.mkdir()
    for image in same:
        for item in image.record.big_data_names:
            file = folder / big_data_file(item)
            if not file.is_symlink():
                file.symlink_to((image.store / IMAGES / identifier / file.name).resolve())
