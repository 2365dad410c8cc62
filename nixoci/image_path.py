"""Image paths: the directories that `nixoci extract` writes and all later steps read.

rootfs/         the merged tree, as far as a NAR can hold it
metadata.dump   the whole tree's metadata (`nixoci.tree.dump`)
image.json      `ImageDocument`
"""

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from nixoci.document import check_version, load, structure
from nixoci.errors import DocumentError, StoreError, UnsupportedVersionError, read_failure
from nixoci.oci.digest import Digest
from nixoci.oci.model import ImageConfig, Platform
from nixoci.tree.dump import read_dump
from nixoci.tree.model import Inode

FORMAT_VERSION = 1
"""The version of the extraction format. Raise it with any change to the bytes that an image is extracted to."""

ROOTFS = "rootfs"
METADATA = "metadata.dump"
DOCUMENT = "image.json"

_MAX_LINE = 16 << 20
"""Bytes of a line of the metadata dump; a longer one is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlob:
    """A JSON blob as the registry holds it: `text` hashes to `digest`."""

    media_type: str
    digest: Digest
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDocument:
    """A layer of the image."""

    media_type: str
    digest: Digest
    size: int
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDocument:
    """`image.json`: the image's names and origin, its layers (lowest first), and its manifest and config verbatim.

    `reference` is the name that podman lists it by (`docker.io/library/nginx:1.27`), None for an image without a
    name. `digest` is the digest that the reference has in the registry (of an index or a manifest).
    """

    version: int
    name: str
    digest: Digest
    platform: Platform
    manifest: TextBlob
    config: TextBlob
    layers: list[LayerDocument]
    reference: str | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ImagePath:
    """An extracted image on disk, with its document and the config in it."""

    path: Path
    document: ImageDocument
    config: ImageConfig

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read the image path at `path`.

        Raises:
            StoreError: Not an image path, a damaged one, or one of another format version
                (UnsupportedVersionError).
        """
        path = Path(path)
        file = path / DOCUMENT
        try:
            value = load(file.read_bytes(), what=str(file))
            check_version(value, FORMAT_VERSION, what=str(file), way_out="extract the image again")
            document = structure(ImageDocument, value, what=str(file), strict=True)
            config = structure(ImageConfig, _object(document.config, f"{file}: config"), what=f"{file}: config")
            _object(document.manifest, f"{file}: manifest")
        except OSError as error:
            otherwise = f"{path}: not an image path (made by `nixoci extract`): {error.strerror}: {file}"
            raise StoreError(read_failure(file, error, otherwise=otherwise)) from error
        except UnsupportedVersionError:
            raise
        except DocumentError as error:
            raise StoreError(str(error)) from error
        return cls(path, document, config)

    @property
    def rootfs(self) -> Path:
        """The merged tree, as a directory."""
        return self.path / ROOTFS

    @property
    def metadata(self) -> Path:
        """The metadata dump."""
        return self.path / METADATA

    def tree(self) -> Inode:
        """Read the tree from the metadata dump.

        Raises:
            StoreError: The dump cannot be read or is damaged.
        """
        try:
            with self.metadata.open("rb") as file:
                return read_dump(iter(partial(file.readline, _MAX_LINE), b""), what=str(self.metadata))
        except OSError as error:
            otherwise = f"{self.metadata}: cannot be read: {error.strerror}; extract the image again"
            raise StoreError(read_failure(self.metadata, error, otherwise=otherwise)) from error


def _object(blob: TextBlob, what: str) -> dict[str, Any]:
    """Return the JSON object in a text that was verified when the image was extracted."""
    digest = Digest.of(blob.text.encode(), blob.digest.algorithm)
    if digest != blob.digest:
        raise StoreError(f"{what}: its text has the digest {digest}, expected {blob.digest}; extract the image again")
    value = load(blob.text, what=what)
    if not isinstance(value, dict):
        raise StoreError(f"{what}: expected a JSON object; extract the image again")
    return value
