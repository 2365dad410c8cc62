"""Layers in Docker's data root: a folder whose `diff` links to the mounted image, and the record that names the folder.

DATA_ROOT/overlay2/CACHE/diff                                 -> /run/nixoci/images/ENTRY-LAYER
DATA_ROOT/overlay2/CACHE/link, overlay2/l/LINK                the short name, in which containers refer to the layer
DATA_ROOT/overlay2/CACHE/committed                            mark of a layer that others are built on
DATA_ROOT/image/overlay2/layerdb/sha256/LAYER/cache-id        CACHE
DATA_ROOT/image/overlay2/layerdb/sha256/LAYER/diff, size      the diff id and the size of the layer
DATA_ROOT/image/overlay2/layerdb/sha256/LAYER/tar-split.json.gz  -> the image store's file

An image of the store has one layer, so that the chain id, the diff id and the layer's id are one. CACHE is random, as
Docker's own are: at its end, dockerd removes the folders of layers that it could not remove before, by this id. LINK
follows from the layer, so that containers find it again.
"""

import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nixoci.container.places import mounted_image
from nixoci.engines.docker.data_root import DataRoot, Scratch
from nixoci.engines.roots import Linked, linked_layer
from nixoci.image_store.contents import StoreImage
from nixoci.image_store.names import link_id

_CACHE_ID = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_-]*")
_TAR_SPLIT = "tar-split.json.gz"


class LayerState(Enum):
    """The state of a layer in a data root."""

    ABSENT = "absent"
    LINKED = "linked"
    MOVED = "moved"
    """Linked to the same tree of another entry."""
    BROKEN = "broken"
    """Not whole; dockerd could not use it either."""
    FOREIGN = "foreign"
    """One of Docker's own, with files; it has the same content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of files in a data root that links to a mounted image."""

    cache: Path
    linked: Linked


def linked_folders(root: DataRoot) -> list[Folder]:
    """Return all folders that link to mounted images."""
    found = []
    with suppress(FileNotFoundError), os.scandir(root.overlay) as folders:
        for folder in folders:
            linked = linked_layer(Path(folder.path, "diff"))
            if linked is not None:
                found.append(Folder(cache=Path(folder.path), linked=linked))
    return found


def layer_state(root: DataRoot, image: StoreImage) -> LayerState:
    """Return the state of an image's layer."""
    record = root.layers / image.layer.id
    if not os.path.lexists(record):
        return LayerState.ABSENT
    if is_foreign(root, image.layer.id):
        return LayerState.FOREIGN
    cache = _cache_of(root, record)
    linked = linked_layer(cache / "diff") if cache is not None else None
    if cache is None or linked is None or linked.layer != image.layer.id:
        return LayerState.BROKEN
    link = link_id(image.layer.id)
    whole = (
        _holds(record / "diff", str(image.layer.diff_digest))
        and _holds(record / "size", str(image.layer.diff_size))
        and _holds(cache / "link", link)
        and _target(root.links / link) == f"../{cache.name}/diff"
        and (cache / "committed").exists()
        and not os.path.lexists(record / "parent")
        and not os.path.lexists(cache / "lower")
    )
    if not whole:
        return LayerState.BROKEN
    present = linked.entry == image.entry.name and _target(record / _TAR_SPLIT) == str(image.tar_split)
    return LayerState.LINKED if present else LayerState.MOVED


def linked_entry(root: DataRoot, layer: str) -> str | None:
    """Return the name of the entry that a layer links to; None if it is no link."""
    cache = _cache_of(root, root.layers / layer)
    linked = linked_layer(cache / "diff") if cache is not None else None
    return linked.entry if linked is not None else None


def is_foreign(root: DataRoot, layer: str) -> bool:
    """Return whether a layer is one of Docker's own, with files."""
    cache = _cache_of(root, root.layers / layer)
    return cache is not None and linked_layer(cache / "diff") is None and (cache / "diff").is_dir()


def add_layer(root: DataRoot, scratch: Scratch, image: StoreImage) -> None:
    """Write an image's layer, in the place of a broken one; nothing names its folder before it is whole.

    The small files are not written to the disk at once: what a power cut leaves of them is a broken layer, and the next
    registration comes before the next start of dockerd.
    """
    layer = image.layer.id
    cache, link = root.overlay / secrets.token_hex(32), link_id(layer)
    folder = scratch.overlay / cache.name
    folder.mkdir(mode=0o710)
    (folder / "diff").symlink_to(mounted_image(image.entry, layer))
    _write(folder / "link", link, 0o644)
    _write(folder / "committed", "", 0o600)
    folder.rename(cache)
    (scratch.overlay / link).symlink_to(f"../{cache.name}/diff")
    (scratch.overlay / link).replace(root.links / link)
    record = scratch.images / layer
    record.mkdir(mode=0o700)
    _write(record / "cache-id", cache.name, 0o644)
    _write(record / "diff", f"{image.layer.diff_digest}", 0o644)
    _write(record / "size", str(image.layer.diff_size), 0o644)
    (record / _TAR_SPLIT).symlink_to(image.tar_split)
    if os.path.lexists(root.layers / layer):
        (root.layers / layer).rename(scratch.images / f"{layer}-broken")
    record.rename(root.layers / layer)


def move_layer(root: DataRoot, scratch: Scratch, image: StoreImage) -> None:
    """Link a layer to the tree of the present entry; dockerd may run, but no container of the layer may be there."""
    record = root.layers / image.layer.id
    cache = _cache_of(root, record)
    if cache is None:
        return
    for link, target in (
        (record / _TAR_SPLIT, str(image.tar_split)),
        (cache / "diff", mounted_image(image.entry, image.layer.id)),
    ):
        made = scratch.overlay / link.name if link.name == "diff" else scratch.images / link.name
        made.symlink_to(target)
        made.replace(link)


def remove_layer(root: DataRoot, scratch: Scratch, layer: str) -> None:
    """Remove the record of a layer, unless its files are Docker's own; `remove_unnamed` removes the folder."""
    record = root.layers / layer
    if record.is_dir() and not is_foreign(root, layer):
        record.rename(scratch.images / f"{layer}-removed")


def unnamed_folders(root: DataRoot) -> list[Folder]:
    """Return the folders that link to mounted images, and that no layer names: those that a killed run left.

    Folders of layers that dockerd began to remove are among them. It would remove their short names too, which a layer
    that came back has again.
    """
    folders = linked_folders(root)
    if not folders:
        return []
    named = {cache for record in root.layer_records() if (cache := _cache_of(root, record)) is not None}
    return [folder for folder in folders if folder.cache not in named]


def remove_unnamed(root: DataRoot, scratch: Scratch) -> None:
    """Remove the folders that no layer names; dockerd must not run."""
    for folder in unnamed_folders(root):
        link = root.links / link_id(folder.linked.layer)
        if _target(link) == f"../{folder.cache.name}/diff":
            link.unlink()
        folder.cache.rename(scratch.overlay / folder.cache.name)


def _cache_of(root: DataRoot, record: Path) -> Path | None:
    """Return the folder that a layer's record names; None if there is none."""
    with suppress(OSError, UnicodeDecodeError):
        name = (record / "cache-id").read_text(encoding="ascii").strip()
        if _CACHE_ID.fullmatch(name) and (root.overlay / name).is_dir():
            return root.overlay / name
    return None


def _holds(file: Path, text: str) -> bool:
    with suppress(OSError):
        return file.read_bytes() == text.encode("ascii")
    return False


def _target(link: Path) -> str | None:
    with suppress(OSError):
        return os.fspath(link.readlink())
    return None


def _write(file: Path, text: str, mode: int) -> None:
    file.write_text(text, encoding="ascii")
    file.chmod(mode)
