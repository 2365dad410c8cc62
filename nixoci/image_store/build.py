"""Build an image store: the records, and per image a config, a manifest, a tar-split and the tree's metadata.

OUT/overlay-images/images.json, images.lock           image records; the lock is empty but must be there
OUT/overlay-images/ID/                                 big data: manifests and configs
OUT/overlay-layers/layers.json, layers.lock           layer records
OUT/overlay-layers/LAYER.tar-split.gz
OUT/overlay/LAYER/diff                                 absolute symlink to the rootfs of an image path
OUT/overlay/LAYER/composefs-data/composefs.blob       the tree's metadata as an EROFS file system
OUT/overlay/LAYER/link, OUT/overlay/l/LINK, .../empty/

For rootless users, instead of the EROFS file:
OUT/overlay/LAYER/metadata.tar.gz                     the same metadata, for OUT/mount-program

A self-contained store has no absolute path, and can be copied to a machine without a Nix store:

OUT/overlay/LAYER/diff/NAME                           the contents of the tree's files, by the names in the EROFS file

Without EROFS files it has the tree itself at OUT/overlay/LAYER/diff.

An image's id is the sha256 of its rewritten config, and a layer's id the diff id of its tree. Neither depends on store
paths, so containers of one image store start from the next one too, and equal layers are stored once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nixoci.errors import ProcessError, StoreError
from nixoci.image_path import ImagePath
from nixoci.image_store.copies import TreeCopies, set_times
from nixoci.image_store.names import (
    EROFS,
    IMAGE_LIST,
    IMAGES,
    LAYER_LIST,
    LAYERS,
    LINKS,
    OVERLAY,
    TAR_SPLIT,
    big_data_file,
    link_id,
    listed_name,
    manifest_item,
)
from nixoci.image_store.records import ImageRecord, LayerRecord, record_time, records_text
from nixoci.image_store.rewrite import rewrite
from nixoci.image_store.rootless import METADATA, MOUNT_PROGRAM, mount_program, write_metadata
from nixoci.image_store.tar_split import FAST, SMALLEST, contents_size, write_tar_split
from nixoci.oci.digest import Digest
from nixoci.output import new_directory
from nixoci.process import run
from nixoci.progress import byte_progress, is_shown
from nixoci.tree.dump import write_dump
from nixoci.tree.model import Inode, walk

_FILE_MODE = 0o444
_PROGRAM_MODE = 0o555
_DIRECTORY_MODE = 0o755

MKCOMPOSEFS = "mkcomposefs"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """An image as podman lists it from an image store: its id, its names, and the digests that find it."""

    id: str
    names: list[str]
    digests: list[Digest]
    layer: str
    path: str
    warnings: list[str] = field(default_factory=list)
    """Messages about what was dropped from the image's config."""

    @classmethod
    def of(cls, record: ImageRecord, path: Path, warnings: Sequence[str] = ()) -> Self:
        """Return the image of a record that runs from an image path."""
        digests = {digest for name, digest in record.big_data_digests.items() if name.startswith("manifest")}
        return cls(
            id=record.id,
            names=record.names,
            digests=sorted(digests),
            layer=record.layer,
            path=str(path),
            warnings=list(warnings),
        )


def build_image_store(
    out: str | os.PathLike[str],
    images: Sequence[ImagePath],
    *,
    mkcomposefs: str | os.PathLike[str] | None = MKCOMPOSEFS,
    rootless: bool = False,
    self_contained: bool = False,
) -> list[ListedImage]:
    """Build an image store over image paths in the new directory `out`.

    The same image paths in the same order give the same bytes.

    Args:
        out: The image store to build; it must not exist.
        images: Its images; of two with the same tree, the first one's rootfs is used.
        mkcomposefs: The program that writes EROFS files. None leaves them out; then files have the owners and modes
            of the Nix store.
        rootless: Build the store for rootless users, who may not mount EROFS files: with a mount program, which
            their storage.conf has to name as `mount_program`, and the files that it needs.
        self_contained: Copy the files into the store instead of referring to the image paths. Equal ones of all images
            are one file there, and nothing in the store depends on its place.

    Raises:
        StoreError: `out` exists, two images have the same name, or an image path is damaged; nothing is left.
        ImageError: An image's name or history is not valid.
        ProcessError: `mkcomposefs` is missing or failed.
        OSError: The disk is full; nothing is left at `out`.
    """
    program = None if rootless or mkcomposefs is None else os.fspath(mkcomposefs)
    with new_directory(Path(out)) as made:
        writer = _Writer(made, program, rootless=rootless, self_contained=self_contained)
        for image in images:
            writer.add(image)
        stored = writer.finish()
        if self_contained:
            set_times(made)
        return stored


@dataclass(slots=True)
class _Image:
    """An image record that is not complete yet."""

    path: Path
    layer: str
    created: str
    digest: Digest
    warnings: list[str]
    names: list[str] = field(default_factory=list)
    data: dict[str, bytes] = field(default_factory=dict)
    digests: dict[str, Digest] = field(default_factory=dict)

    def put(self, item: str, data: bytes, digest: Digest) -> None:
        self.data[item] = data
        self.digests[item] = digest


class _Writer:
    """Writes an image store to a directory, one image at a time."""

    def __init__(self, root: Path, mkcomposefs: str | None, *, rootless: bool, self_contained: bool) -> None:
        self._root = root
        self._images = root / IMAGES
        self._layers = root / LAYERS
        self._overlay = root / OVERLAY
        self._mkcomposefs = mkcomposefs
        self._rootless = rootless
        self._image_records: dict[str, _Image] = {}
        self._layer_records: dict[str, LayerRecord] = {}
        self._names: dict[str, tuple[str, Path]] = {}
        make_directories(root)
        self._copies = TreeCopies() if self_contained else None
        self._level = SMALLEST if self_contained else FAST

    def add(self, image: ImagePath) -> None:
        """Add an image path: its name, and its layer and its image unless they are there already."""
        document = image.document
        created = record_time(image.config.created)
        layer = self._add_layer(image, created)
        rewritten = rewrite(document, diff_id=layer.diff_digest, size=layer.diff_size)
        stored = self._image_records.get(rewritten.image_id)
        if stored is None:
            stored = _Image(image.path, layer.id, created, document.digest, rewritten.warnings)
            own = Digest.of(rewritten.manifest)
            stored.put("manifest", rewritten.manifest, own)
            stored.put(manifest_item(own), rewritten.manifest, own)
            stored.put(f"sha256:{rewritten.image_id}", rewritten.config, Digest("sha256", rewritten.image_id))
            self._image_records[rewritten.image_id] = stored
        stored.put(manifest_item(document.manifest.digest), document.manifest.text.encode(), document.manifest.digest)
        stored.put(str(document.config.digest), document.config.text.encode(), document.config.digest)
        # the index itself is not known here, and not needed: podman finds the image by its digest
        stored.digests.setdefault(manifest_item(document.digest), document.digest)
        if document.reference is not None:
            self._add_name(listed_name(document.reference), rewritten.image_id, image.path)

    def finish(self) -> list[ListedImage]:
        """Write the records and return the images that podman will list."""
        images = [self._write_image(identifier, image) for identifier, image in self._image_records.items()]
        write_records(self._root, images, list(self._layer_records.values()), rootless=self._rootless)
        return [
            ListedImage.of(record, (image := self._image_records[record.id]).path, image.warnings) for record in images
        ]

    def _add_layer(self, image: ImagePath, created: str) -> LayerRecord:
        root = image.tree()
        partial = self._layers / "new"
        total = contents_size(root) if is_shown() else 0
        with partial.open("xb") as file, byte_progress(f"hashing {image.document.name}", total) as advance:
            content = write_tar_split(root, image.rootfs, file, level=self._level, advance=advance)
        partial.chmod(_FILE_MODE)
        identifier = content.diff_id.hex
        known = self._layer_records.get(identifier)
        if known is not None:
            partial.unlink()
            return known
        partial.rename(self._layers / f"{identifier}{TAR_SPLIT}")
        owners = {(inode.uid, inode.gid) for _, inode in walk(root)}
        record = LayerRecord(
            id=identifier,
            created=created,
            diff_digest=content.diff_id,
            diff_size=content.size,
            uidset=sorted({uid for uid, _ in owners}),
            gidset=sorted({gid for _, gid in owners}),
        )
        self._layer_records[identifier] = record
        self._write_overlay(image, identifier, root)
        return record

    def _write_overlay(self, image: ImagePath, layer: str, root: Inode) -> None:
        directory = self._overlay / layer
        _make_directory(directory)
        _make_directory(directory / "empty")
        metadata = image.metadata
        if self._copies is None:
            (directory / "diff").symlink_to(image.rootfs)
        else:
            names = self._copy(self._copies, image, root, directory / "diff")
            if self._mkcomposefs is not None:
                metadata = directory / "metadata.dump"
                with metadata.open("xb") as file:
                    file.writelines(write_dump(root, payloads=names))
        link = link_id(layer)
        _write(directory / "link", link.encode("ascii"))
        (self._root / LINKS / link).symlink_to(f"../{layer}/diff")
        if self._mkcomposefs is not None:
            blob = directory / EROFS
            _make_directory(blob.parent)
            try:
                run([self._mkcomposefs, "--from-file", metadata, blob], package="composefs")
            except ProcessError as error:
                raise ProcessError(f"image {image.document.name}: {error}", stderr=error.stderr) from error
            blob.chmod(_FILE_MODE)
            if metadata != image.metadata:
                metadata.unlink()
        if self._rootless:
            with (directory / METADATA).open("xb") as file:
                write_metadata(root, file)
            (directory / METADATA).chmod(_FILE_MODE)

    def _copy(self, copies: TreeCopies, image: ImagePath, root: Inode, target: Path) -> dict[bytes, bytes]:
        """Copy a tree, or its contents if an EROFS file will name them; return their names."""
        with byte_progress(f"copying {image.document.name}", sum(inode.size for _, inode in walk(root))) as advance:
            if self._mkcomposefs is not None:
                return copies.copy_contents(image.rootfs, target, advance=advance)
            copies.copy(image.rootfs, target, advance=advance)
            return {}

    def _add_name(self, name: str, identifier: str, path: Path) -> None:
        other = self._names.setdefault(name, (identifier, path))
        if other[0] != identifier:
            raise StoreError(f"{name}: two images have this name: {other[1]} and {path}; leave one out or rename it")
        names = self._image_records[identifier].names
        if name not in names:
            names.append(name)

    def _write_image(self, identifier: str, image: _Image) -> ImageRecord:
        directory = self._images / identifier
        _make_directory(directory)
        for name, data in image.data.items():
            _write(directory / big_data_file(name), data)
        return ImageRecord(
            id=identifier,
            digest=image.digest,
            names=image.names,
            layer=image.layer,
            big_data_names=list(image.data),
            big_data_sizes={name: len(data) for name, data in image.data.items()},
            big_data_digests=image.digests,
            created=image.created,
        )


def make_directories(root: Path) -> None:
    """Make the directories of an image store in an empty one."""
    for name in (IMAGES, LAYERS, OVERLAY, LINKS):
        _make_directory(root / name)


def write_records(root: Path, images: Sequence[ImageRecord], layers: Sequence[LayerRecord], *, rootless: bool) -> None:
    """Write the lists of an image store with their locks, and the mount program of one for rootless users."""
    for file, records in ((root / IMAGE_LIST, images), (root / LAYER_LIST, layers)):
        _write(file, records_text(records).encode("ascii"))
        _write(file.with_suffix(".lock"), b"")
    if rootless:
        _write(root / MOUNT_PROGRAM, mount_program(), _PROGRAM_MODE)


def _make_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(_DIRECTORY_MODE)


def _write(path: Path, data: bytes, mode: int = _FILE_MODE) -> None:
    path.write_bytes(data)
    path.chmod(mode)
