"""Find an image in an image store path: the id that podman knows it by, and its EROFS file."""

from dataclasses import dataclass
from pathlib import Path

from nixoci.document import parse
from nixoci.errors import ContainerError
from nixoci.image_path import ImagePath
from nixoci.image_store.records import ImageRecord


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image in an image store; `erofs` is None in a store without EROFS files, such as one for rootless users."""

    id: str
    erofs: Path | None


def find_image(option: str, store: Path, image: ImagePath) -> FoundImage:
    """Find the image that has the registry's manifest of `image` among its own.

    Raises:
        ContainerError: The store is not one, or does not have the image; the message starts with `option`.
        DocumentError: The store's list of images is damaged.
    """
    file = store / "overlay-images/images.json"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ContainerError(
            f"imageStore: {store} is not an image store (made by `nixoci image-store`): {error.strerror}: {file}"
        ) from error
    digest = image.document.manifest.digest
    for record in parse(list[ImageRecord], data, what=str(file)):
        if digest in record.big_data_digests.values():
            erofs = store / "overlay" / record.layer / "composefs-data/composefs.blob"
            return FoundImage(record.id, erofs if erofs.exists() else None)
    raise ContainerError(f"{option}: {image.path} is not in the image store {store}; make the store with it")
