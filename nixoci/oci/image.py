"""One platform's image, resolved and verified down to its config; its layers are not read."""

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
    """A blob source, and one image in it."""

    @property
    def name(self) -> str:
        """The name that the user gave it, for messages."""

    @property
    def root(self) -> Descriptor:
        """The image's index, or its manifest if there is no index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A small blob that was read whole and verified, with its descriptor."""

    descriptor: Descriptor
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer: its blob, and the digest of the tar stream in it."""

    descriptor: Descriptor
    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image for one platform.

    `digest` is what its reference resolves to: the digest of the index if there is one, else of the manifest.
    `layers` are lowest first, one for each diff id in the config.
    """

    digest: Digest
    platform: Platform
    manifest: Blob
    config: Blob
    parsed_config: ImageConfig
    layers: tuple[Layer, ...]
