"""An image path: the directory that `nixoci extract` writes and everything after it reads.

rootfs/         the collapsed tree; only what a NAR can hold
metadata.dump   the whole tree's metadata (`nixoci.tree.dump`)
image.json      `ImageDocument`
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from nixoci.document import parse
from nixoci.errors import DocumentError, StoreError
from nixoci.oci.digest import Digest
from nixoci.oci.model import ImageConfig, Platform

FORMAT_VERSION = 1
"""The version of everything extraction writes. Any change to the bytes it writes for the same image raises it."""

ROOTFS = "rootfs"
METADATA = "metadata.dump"
DOCUMENT = "image.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlob:
    """A JSON blob as the registry holds it: `text` hashes to `digest`."""

    media_type: str
    digest: Digest
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDocument:
    """A layer that went into the tree (lowest first)."""

    media_type: str
    digest: Digest
    size: int
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDocument:
    """`image.json`: what the image is called, where it came from, and its manifest and config verbatim.

    `reference` is what podman shall list it as (`docker.io/library/nginx:1.27`), None for an image that has
    no name. `digest` is what the reference resolved to in the registry (index or manifest).
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
    """An extracted image on disk, with its document read."""

    path: Path
    document: ImageDocument

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the image path at `path`.

        Raises:
            StoreError: Not an image path, or of another format version.
        """
        file = path / DOCUMENT
        try:
            document = parse(ImageDocument, file.read_bytes(), what=str(file), strict=True)
        except OSError as error:
            raise StoreError(
                f"{path}: not an image path (made by `nixoci extract`): {error.strerror}: {file}"
            ) from error
        if document.version != FORMAT_VERSION:
            raise DocumentError(
                f"{file}: format version {document.version}, this nixoci reads {FORMAT_VERSION};"
                " extract the image again"
            )
        return cls(path, document)

    @property
    def rootfs(self) -> Path:
        """The collapsed tree."""
        return self.path / ROOTFS

    @property
    def metadata(self) -> Path:
        """The metadata dump."""
        return self.path / METADATA

    @property
    def config(self) -> ImageConfig:
        """The image's config, parsed."""
        return parse(ImageConfig, self.document.config.text, what=f"{self.path / DOCUMENT}: config")
