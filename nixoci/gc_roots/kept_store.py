"""An image store on the machine for images that only old containers use.

podman starts a stopped container only while an image store has its image. After a switch, storage.conf names the new
store alone. This store holds the images of containers that the new store lacks: for each the records, manifests,
tar-split and EROFS file, some megabytes. The tree stays in the Nix store. The images have no names here, since a name
belongs to the image of the present generation: `podman images` lists them as `<none>`.

A drop-in of storage.conf names the store for as long as it has an image (containers-config(5); podman 5.8).
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.gc_roots.image_stores import LocatedImage, layer_record
from nixoci.image_store.names import IMAGE_LIST, IMAGES, LAYER_LIST, LAYERS, LINKS, OVERLAY, TAR_SPLIT
from nixoci.image_store.storage_conf import render_storage_drop_in
from nixoci.output import write_if_changed

_NOTE = "Written by `nixoci gc-roots`: images that only containers of earlier generations use."


def update_kept_store(store: Path, images: Mapping[str, LocatedImage], drop_in: Path) -> None:
    """Make the store hold these images and no others, and the drop-in name it if there are any.

    A podman that runs meanwhile sees each image whole or not at all.

    Args:
        store: The store; on a file system that the kernel mounts EROFS files from, as that of the Nix store is.
        images: What it holds, by image id; those that are there already stay as they are.
        drop_in: The file that names the store in podman's configuration.
    """
    if not images:
        drop_in.unlink(missing_ok=True)
        # first the list: what a run that is cut short leaves has no image
        (store / IMAGE_LIST).unlink(missing_ok=True)
        if store.exists():
            shutil.rmtree(store)
        return
    for folder in (IMAGES, LAYERS, OVERLAY, LINKS):
        (store / folder).mkdir(parents=True, exist_ok=True)
    for file in (IMAGE_LIST, LAYER_LIST):
        (store / file).with_suffix(".lock").touch()
    layers = {}
    for image in images.values():
        layers[image.layer] = layer_record(image.store, image.layer)
        if image.store != store:
            _copy(image, store)
    records = [{**image.record, "names": []} for _, image in sorted(images.items())]
    write_if_changed(store / LAYER_LIST, _text([layers[name] for name in sorted(layers)]))
    write_if_changed(store / IMAGE_LIST, _text(records))
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    write_if_changed(drop_in, render_storage_drop_in(store, note=_NOTE, mount_options=""))
    _remove_others(store, set(images), set(layers))


def remove_dangling_drop_in(store: Path, drop_in: Path) -> bool:
    """Remove the drop-in if the store that it names is gone, since every podman command fails then; tell if it was."""
    # in this order: another process makes the store first, and removes the drop-in first
    if not drop_in.exists() or store.is_dir():
        return False
    drop_in.unlink(missing_ok=True)
    return True


def _copy(image: LocatedImage, store: Path) -> None:
    big_data = store / IMAGES / image.id
    if not big_data.exists():
        _copy_tree(image.store / IMAGES / image.id, big_data, symlinks=False)
    tar_split = f"{image.layer}{TAR_SPLIT}"
    if not (store / LAYERS / tar_split).exists():
        made = store / LAYERS / f".{tar_split}"
        _copy_file(image.store / LAYERS / tar_split, made)
        made.rename(store / LAYERS / tar_split)
    overlay = store / OVERLAY / image.layer
    if not overlay.exists():
        _copy_tree(image.store / OVERLAY / image.layer, overlay, symlinks=True)
    link = store / LINKS / (overlay / "link").read_text(encoding="ascii")
    if not link.is_symlink():
        link.symlink_to(f"../{image.layer}/diff")


def _copy_tree(source: Path, target: Path, *, symlinks: bool) -> None:
    """Copy a directory, which appears whole, and to which the owner may write.

    Symlinks in it stay if `symlinks` is true. Those to the files of another store become copies otherwise, since that
    store may be collected.
    """
    made = target.with_name(f".{target.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(source, made, symlinks=symlinks, copy_function=_copy_file)
    for folder, _, _ in os.walk(made):
        Path(folder).chmod(0o755)
    made.rename(target)


def _copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file to the disk: the list of images, which is there after a power cut, must not come before it.

    Raises:
        StoreError: It cannot be read or written. The copy of a directory would make a list of what is an OSError.
    """
    try:
        with Path(source).open("rb") as read, Path(target).open("wb") as write:
            shutil.copyfileobj(read, write)
            write.flush()
            os.fsync(write.fileno())
    except OSError as error:
        raise StoreError(f"{target}: cannot be copied: {error.strerror}; mend that and run this again") from error


def _remove_others(store: Path, images: set[str], layers: set[str]) -> None:
    for entry in (store / IMAGES).iterdir():
        if entry.is_dir() and entry.name not in images:
            shutil.rmtree(entry)
    for entry in (store / LAYERS).glob(f"*{TAR_SPLIT}"):
        if entry.name.removesuffix(TAR_SPLIT) not in layers:
            entry.unlink()
    for entry in (store / OVERLAY).iterdir():
        if entry != store / LINKS and entry.name not in layers:
            shutil.rmtree(entry)
    for link in (store / LINKS).iterdir():
        if link.readlink().parts[1] not in layers:
            link.unlink()


def _text(records: list[dict[str, object]]) -> str:
    return json.dumps(records, separators=(",", ":"))
