"""What an image store path holds of an image: the id that podman knows it by, and its EROFS file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixoci.document import load
from nixoci.errors import ContainerError
from nixoci.image_path import ImagePath


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of an image store; `erofs` is None in a store that has none, as one for rootless users."""

    id: str
    erofs: Path | None


def find_stored(option: str, store: Path, image: ImagePath) -> StoredImage:
    """Find the image that has the registry's manifest of `image` among its own.

    Raises:
        ContainerError: The store is not one, or does not have the image; the message starts with `option`.
    """
    file = store / "overlay-images/images.json"
    try:
        records: list[dict[str, Any]] = load(file.read_bytes(), what=str(file))
    except OSError as error:
        raise ContainerError(
            f"imageStore: {store} is not an image store (made by `nixoci image-store`): {error.strerror}: {file}"
        ) from error
    digest = str(image.document.manifest.digest)
    for record in records:
        if digest in record["big-data-digests"].values():
            erofs = store / "overlay" / str(record["layer"]) / "composefs-data/composefs.blob"
            return StoredImage(str(record["id"]), erofs if erofs.exists() else None)
    raise ContainerError(f"{option}: {image.path} is not in the image store {store}; make the store with it")
