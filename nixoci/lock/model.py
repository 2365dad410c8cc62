"""The lock file's document, version 1.

It holds registry facts only (reference, digests, sizes, the config's value), so that evaluation needs nothing else.
One fixed-output derivation fetches each blob; its hash is the digest in the lock.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from nixoci.errors import LockError
from nixoci.oci.digest import Digest

LOCK_VERSION = 1

FILE_NAME = "nixoci.lock.json"
"""The name of the file where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBlob:
    """A blob by media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedConfig(LockedBlob):
    """The config blob, with its JSON value, which evaluation reads."""

    value: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLayer(LockedBlob):
    """A layer blob and its diff id, the digest of its uncompressed tar stream."""

    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedNarHash:
    """The hash of the extracted image path, valid for one version of the extraction format.

    `hash` is an SRI hash as Nix writes it; `format` is the `nixoci.image_path.FORMAT_VERSION` that it belongs to.
    """

    format: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPlatform:
    """The manifest, the config and the layers (lowest first) of one platform."""

    manifest: LockedBlob
    config: LockedConfig
    layers: list[LockedLayer]
    nar_hash: LockedNarHash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """A pinned image.

    `nixoci update` resolves `reference` again: a normalized registry reference such as `docker.io/library/nginx:1.27`,
    or a local source such as `oci:DIR:TAG`. It resolved to `digest`: the index, or the manifest if there is no index.
    The keys of `platforms` are `os/architecture[/variant]`.
    """

    reference: str
    digest: Digest
    platforms: dict[str, LockedPlatform]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The whole lock file, with the images by name."""

    version: int
    images: dict[str, LockedImage] = field(default_factory=dict)

    def select(self, names: Collection[str]) -> dict[str, LockedImage]:
        """Return the images of these names; all images if there are no names.

        Raises:
            LockError: No such image.
        """
        for name in names:
            if name not in self.images:
                there = f"there is {', '.join(sorted(self.images))}" if self.images else "add one with `nixoci add REF`"
                raise LockError(f"image {name or repr(name)}: not in the lock; {there}")
        return {name: self.images[name] for name in names or self.images}


EMPTY_LOCK = Lock(version=LOCK_VERSION)
"""A lock without images."""
