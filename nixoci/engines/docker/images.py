"""Images in Docker's data root: a config for each, named by its digest, which is the image's id."""

import shutil
from contextlib import suppress
from typing import Any

from nixoci.engines.docker.data_root import SHA256, DataRoot, Scratch, read_json
from nixoci.image_store.contents import StoreImage


def has_image(root: DataRoot, image: StoreImage) -> bool:
    """Return whether an image's config is there as a whole; a power cut may leave less."""
    try:
        return (root.contents / image.record.id).stat().st_size == len_of_config(image)
    except FileNotFoundError:
        return False


def len_of_config(image: StoreImage) -> int:
    """Return the size of an image's config in bytes."""
    return image.record.big_data_sizes[f"{SHA256}{image.record.id}"]


def add_image(root: DataRoot, scratch: Scratch, image: StoreImage) -> None:
    """Write an image's config, after its layer."""
    scratch.write(root.contents / image.record.id, image.config)


def remove_image(root: DataRoot, identifier: str) -> None:
    """Remove an image's config and Docker's notes about it, before its layer."""
    (root.contents / identifier).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        shutil.rmtree(root.metadata / identifier)


def first_layer(root: DataRoot, identifier: str) -> str:
    """Return the diff id of an image's lowest layer, without its algorithm; an empty text if there is none."""
    rootfs: Any = read_json(root.contents / identifier).get("rootfs")
    layers = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return str(layers[0]).removeprefix(SHA256) if isinstance(layers, list) and layers else ""
