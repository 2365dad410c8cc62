"""One platform's image, resolved and verified down to its config; the layers are named, not read."""

from dataclasses import dataclass
from typing import BinaryIO, Protocol

from nixoci.oci.digest import Digest
from nixoci.oci.model import Descriptor, ImageConfig, Platform


class BlobSource(Protocol):
    """A place that holds the blobs of images: a registry, a layout, an archive, a set of files."""

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return the blob's bytes as a stream that the caller closes and must verify.

        Several threads may call it at once.

        Raises:
            BlobError: The blob is not there.
        """


class ImageSource(BlobSource, Protocol):
    """A blob source, and the one image in it that is meant."""

    @property
    def name(self) -> str:
        """What the user called it, for messages."""

    @property
    def root(self) -> Descriptor:
        """The image's index, or its manifest where there is no index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A small blob that was read whole and verified: its descriptor and exactly its text."""

    descriptor: Descriptor
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer: the blob as it is stored, and the digest of the tar stream it holds."""

    descriptor: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image for one platform.

    `digest` is what its reference resolves to: the index where there is one, else the manifest.
    `layers` are lowest first, and as many as the config has diff ids.
    """

    digest: Digest
    platform: Platform
    manifest: Blob
    config: Blob
    parsed_config: ImageConfig
    layers: tuple[Layer, ...]
