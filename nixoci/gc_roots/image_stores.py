"""The image stores of a machine, and the image paths that their images run from."""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISVTX
from typing import Any

from nixoci.document import load
from nixoci.errors import DocumentError, ProcessError, StoreError
from nixoci.image_store.names import IMAGE_LIST, IMAGES, LAYER_LIST, LAYERS, OVERLAY, TAR_SPLIT, link_id
from nixoci.nix_store.commands import gc_roots_of
from nixoci.nix_store.path import STORE_DIR, store_path_of

_NAME = "*-nixoci-image-store*"
"""Image stores that Nix built, as the shipped expressions name them."""

_ID = re.compile(r"[0-9a-f]{64}")
"""The id of a layer (containers/storage, `stringid`)."""


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

    @property
    def whole(self) -> bool:
        """The store has the record and the files of its layer, and not only those of the image."""
        try:
            layer_record(self.store, self.layer)
        except (StoreError, DocumentError):
            return False
        try:
            link = (self.store / OVERLAY / self.layer / "link").read_bytes()
        except OSError:
            return False
        parts = (f"{IMAGES}/{self.id}", f"{LAYERS}/{self.layer}{TAR_SPLIT}")
        # the name becomes one of a file in a kept store
        return link == link_id(self.layer).encode() and all((self.store / part).exists() for part in parts)


def built_stores(store_dir: Path = Path(STORE_DIR)) -> list[Path]:
    """Return the image stores in the Nix store, also those that no generation names any more, the newest first."""
    changed = {}
    for path in store_dir.glob(_NAME):
        with suppress(FileNotFoundError):  # a collection runs at the same time
            changed[path] = path.lstat().st_ctime_ns
    return sorted(changed, key=lambda path: changed[path], reverse=True)


def is_kept_by_root(path: Path) -> bool:
    """Return whether root, or the user of this process, keeps a store path from the garbage collector.

    Any user may add a path of any name and content to the Nix store, and keep it there. If Nix does not answer, root
    counts as not keeping it.
    """
    try:
        links = gc_roots_of(str(path), store=None)
    except ProcessError:
        return False
    return any(_is_roots(Path(link)) for link in links)


def find_images(
    wanted: Iterable[str],
    stores: Iterable[Path],
    *,
    store_dir: Path = Path(STORE_DIR),
    is_trusted: Callable[[Path], bool] = lambda _: True,
) -> dict[str, LocatedImage]:
    """Find images by id, each in the first of the stores that has it as a whole, or else in the first that names it.

    A store that cannot be read, that nixoci did not make, or that is not trusted, counts as empty.

    Args:
        wanted: The ids.
        stores: The stores.
        store_dir: The directory of store paths.
        is_trusted: Called with each store that has one of the images.
    """
    left = set(wanted)
    found: dict[str, LocatedImage] = {}
    damaged: dict[str, LocatedImage] = {}
    for store in stores:
        if not left:
            break
        records = [record for record in _records(store) if record["id"] in left]
        for record in records if records and is_trusted(store) else ():
            if (path := _image_path(store, record, store_dir)) is not None:
                image = LocatedImage(store, record, path)
                if image.whole:
                    found[image.id] = image
                    left.discard(image.id)
                else:
                    damaged.setdefault(image.id, image)
    return {image: located for image, located in damaged.items() if image in left} | found


def image_ids(store: Path) -> set[str]:
    """Return the ids of the images in an image store or in podman's own storage; none if it cannot be read."""
    return {record["id"] for record in _records(store)}


def _is_roots(link: Path) -> bool:
    """Return whether nobody but root and this user could have made a link."""
    owners = {0, os.geteuid()}
    try:
        if link.lstat().st_uid not in owners:
            return False
        parents = [parent.stat() for parent in link.parents]
    except OSError:
        return False
    return all(
        parent.st_uid in owners and (not parent.st_mode & 0o022 or parent.st_mode & S_ISVTX) for parent in parents
    )


def layer_record(store: Path, layer: str) -> dict[str, Any]:
    """Return a layer's record in `layers.json`.

    Raises:
        StoreError: The store does not have it.
    """
    file = store / LAYER_LIST
    for record in _read(file):
        if record["id"] == layer:
            return record
    raise StoreError(f"{store}: has an image but not its layer {layer}; the image store is damaged, build it again")


def _records(store: Path) -> list[dict[str, Any]]:
    return _read(store / IMAGE_LIST)


def _read(file: Path) -> list[dict[str, Any]]:
    """Return the records with an id; none if the file cannot be read."""
    try:
        records = load(file.read_bytes(), what=str(file))
    except (OSError, DocumentError):
        return []
    found = records if isinstance(records, list) else []
    return [record for record in found if isinstance(record, dict) and isinstance(record.get("id"), str)]


def _image_path(store: Path, record: dict[str, Any], store_dir: Path) -> Path | None:
    layer = record.get("layer")
    if not isinstance(layer, str) or not _ID.fullmatch(layer):
        return None
    try:
        rootfs = (store / OVERLAY / layer / "diff").readlink()
    except OSError:
        return None
    return store_path_of(rootfs, store_dir)
