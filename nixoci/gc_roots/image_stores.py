"""The image stores of a machine, and the image paths that their images run from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixoci.document import load
from nixoci.errors import StoreError
from nixoci.nix_store.path import STORE_DIR

_NAME = "*-nixoci-image-store*"
"""Image stores that Nix built, as the shipped expressions name them."""


@dataclass(frozen=True, slots=True)
class LocatedImage:
    """An image in an image store: its record in `images.json`, and the image path that its layer runs from."""

    store: Path
    record: dict[str, Any]
    path: Path

    @property
    def id(self) -> str:
        """The image id."""
        return str(self.record["id"])

    @property
    def layer(self) -> str:
        """The id of its one layer."""
        return str(self.record["layer"])


def built_stores(store_dir: Path = Path(STORE_DIR)) -> list[Path]:
    """Return the image stores in the Nix store, also those that no generation names any more, the newest first."""
    return sorted(store_dir.glob(_NAME), key=lambda path: path.lstat().st_ctime_ns, reverse=True)


def find_images(
    wanted: Iterable[str], stores: Iterable[Path], *, store_dir: Path = Path(STORE_DIR)
) -> dict[str, LocatedImage]:
    """Find images by id, each in the first of the stores that has it.

    A store that is damaged, or that nixoci did not make, counts as empty.
    """
    left = set(wanted)
    found: dict[str, LocatedImage] = {}
    for store in stores:
        if not left:
            break
        for record in _records(store):
            if record.get("id") in left and (path := _image_path(store, record, store_dir)) is not None:
                image = LocatedImage(store, record, path)
                found[image.id] = image
                left.discard(image.id)
    return found


def store_path_of(path: Path, store_dir: Path = Path(STORE_DIR)) -> Path | None:
    """Return the store path that a path is or lies below; None outside of the store."""
    if not path.is_relative_to(store_dir) or path == store_dir:
        return None
    return store_dir / path.relative_to(store_dir).parts[0]


def layer_record(store: Path, layer: str) -> dict[str, Any]:
    """Return a layer's record in `layers.json`.

    Raises:
        StoreError: The store does not have it.
    """
    file = store / "overlay-layers/layers.json"
    records = load(file.read_bytes(), what=str(file))
    for record in records if isinstance(records, list) else ():
        if isinstance(record, dict) and record.get("id") == layer:
            return record
    raise StoreError(f"{store}: has an image but not its layer {layer}; the image store is damaged, build it again")


def _records(store: Path) -> list[dict[str, Any]]:
    file = store / "overlay-images/images.json"
    try:
        records = load(file.read_bytes(), what=str(file))
    except OSError:
        return []
    return [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []


def _image_path(store: Path, record: dict[str, Any], store_dir: Path) -> Path | None:
    layer = record.get("layer")
    if not isinstance(layer, str) or "/" in layer:
        return None
    try:
        rootfs = (store / "overlay" / layer / "diff").readlink()
    except OSError:
        return None
    return store_path_of(rootfs, store_dir)
