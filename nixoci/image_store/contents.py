"""The contents of an image store: its images, and the files that each of them has there.

A store of one image is an entry, from which other stores are joined (`nixoci.image_store.join`). The folder of a layer
is then a symlink into the entry.
"""

import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from nixoci.document import parse, show
from nixoci.errors import ContainerError, InvalidReferenceError, StoreError, read_failure
from nixoci.image_path import ImagePath
from nixoci.image_store.names import EROFS, IMAGE_LIST, IMAGES, LAYER_LIST, LAYERS, OVERLAY, TAR_SPLIT, big_data_file
from nixoci.image_store.records import ImageRecord, LayerRecord
from nixoci.oci.digest import Digest
from nixoci.oci.reference import Reference

_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_AGAIN = "the image store is damaged, build it again"

T = TypeVar("T", ImageRecord, LayerRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreImage:
    """An image and its files in an image store, with the record of its one layer.

    `place` is the path of the store on the machine that it is for, if it lies elsewhere as yet.
    """

    store: Path
    record: ImageRecord
    layer: LayerRecord
    place: Path | None = None

    def data(self, item: str) -> bytes:
        """Return a big-data item, such as a manifest.

        Raises:
            StoreError: The store does not have it.
        """
        file = self.store / IMAGES / self.record.id / big_data_file(item)
        try:
            return file.read_bytes()
        except OSError as error:
            raise StoreError(read_failure(file, error, otherwise=f"{file}: {error.strerror}; {_AGAIN}")) from error

    @property
    def config(self) -> bytes:
        """The config that is rewritten for one layer; its SHA-256 is the image's id.

        Raises:
            StoreError: It is not there, or another one.
        """
        config = self.data(f"sha256:{self.record.id}")
        found = Digest.of(config)
        if found.hex != self.record.id:
            raise StoreError(f"{self.store}: the config of image {self.record.id} is {found}; {_AGAIN}")
        return config

    @property
    def manifest(self) -> bytes:
        """The manifest of that config."""
        return self.data("manifest")

    @property
    def folder(self) -> Path:
        """The folder of the layer, in the store that has the files."""
        return (self.store / OVERLAY / self.layer.id).resolve()

    @property
    def entry(self) -> Path:
        """The store that has the files of the layer: this one, or the entry that it was joined from."""
        return self.place or self.folder.parents[1]

    @property
    def tar_split(self) -> Path:
        """The file from which the layer's tar is made again."""
        name = f"{LAYERS}/{self.layer.id}{TAR_SPLIT}"
        return self.place / name if self.place is not None else (self.store / name).resolve()

    @property
    def rootfs(self) -> Path | None:
        """The tree of an image path that the store refers to; None in a self-contained store."""
        diff = self.folder / "diff"
        target = diff.readlink() if diff.is_symlink() else None
        return target if target is not None and target.is_absolute() else None

    @property
    def erofs(self) -> Path | None:
        """The tree's metadata; None in a store without EROFS files, such as one for rootless users."""
        file = self.folder / EROFS
        return file if file.exists() else None


def is_image_store(path: Path) -> bool:
    """Return whether a directory is an image store."""
    return (path / IMAGE_LIST).is_file()


def read_image_store(store: Path, *, place: Path | None = None) -> list[StoreImage]:
    """Return the images of a store in the order of its list.

    Args:
        store: The store.
        place: Its path on the machine that it is for, if it lies elsewhere as yet; it is self-contained then.

    Raises:
        StoreError: It is not an image store, a record is damaged (engines make file names of its ids), or the store
            cannot be elsewhere.
        DocumentError: A list is damaged.
    """
    images = _read(list[ImageRecord], store, IMAGE_LIST)
    layers = {layer.id: layer for layer in _read(list[LayerRecord], store, LAYER_LIST)}
    for identifier in [*layers, *(image.id for image in images)]:
        if not _IDENTIFIER.fullmatch(identifier):
            raise StoreError(f"{store}: {show(identifier)} is the id of an image or layer, not 64 hex digits; {_AGAIN}")
    for image in images:
        if fault := _fault(image, layers):
            raise StoreError(f"{store}: image {image.id} {fault}; {_AGAIN}")
        folder = store / OVERLAY / image.layer
        if not folder.is_dir():
            raise StoreError(
                f"{store}: image {image.id} lacks the folder of its layer, {os.path.realpath(folder)}; build the image"
                " store again, from stores that stay"
            )
    found = [StoreImage(store=store, record=image, layer=layers[image.layer], place=place) for image in images]
    if place is not None and any(each.rootfs is not None for each in found):
        raise StoreError(f"{store}: refers to files outside of it; build it with --self-contained for another machine")
    return found


class ImageStore:
    """An image store in which images are looked for; it is read once, at the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, option: str, image: ImagePath) -> StoreImage:
        """Find the image that has the registry's manifest of `image` among its own.

        Raises:
            ContainerError: The store does not have the image, and the message starts with `option`; or it is not an
                image store.
            DocumentError: Its list of images is damaged.
        """
        try:
            found = self._by_digest.get(image.document.manifest.digest)
        except StoreError as error:
            raise ContainerError(f"imageStore: {error}") from error
        if found is None:
            raise ContainerError(
                f"{option}: {image.path} is not in the image store {self.path}; make the store with it"
            )
        return found

    @cached_property
    def _by_digest(self) -> Mapping[Digest, StoreImage]:
        """The images by the digests of all their items; of two with an equal item the first one."""
        found: dict[Digest, StoreImage] = {}
        for image in read_image_store(self.path):
            for digest in image.record.big_data_digests.values():
                found.setdefault(digest, image)
        return found


def require_erofs(image: StoreImage) -> None:
    """Refuse an image that cannot be mounted.

    Raises:
        StoreError: It has no EROFS file.
    """
    if image.erofs is None:
        name = next(iter(image.record.names), image.record.id)
        raise StoreError(
            f"{image.store}: image {name} has no EROFS file to mount; make the image store without --no-erofs and"
            " --rootless"
        )


def _fault(image: ImageRecord, layers: Container[str]) -> str | None:
    if image.layer not in layers:
        return f"lacks its layer {show(image.layer)}"
    for item in (f"sha256:{image.id}", *image.big_data_names):
        if item not in image.big_data_sizes:
            return f"lacks the size of {show(item)}"
        if big_data_file(item) in {".", ".."} or "/" in big_data_file(item):
            return f"has an item {show(item)}, which is no file name"
    for name in image.names:
        try:
            Reference.parse(name)
        except InvalidReferenceError:
            return f"has the name {show(name)}, which is no reference"
    return None


def _read(kind: type[list[T]], store: Path, name: str) -> list[T]:
    file = store / name
    try:
        text = file.read_bytes()
    except OSError as error:
        otherwise = f"{store} is not an image store (made by `nixoci image-store`): {error.strerror}: {file}"
        raise StoreError(read_failure(file, error, otherwise=otherwise)) from error
    return parse(kind, text, what=str(file))
