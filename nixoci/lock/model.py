"""The lock file's document, version 1.

Registry facts only (reference, digests, sizes, the config's value), so that evaluation needs nothing else.
The blobs themselves are fetched by one fixed-output derivation each, hashed by the digests that stand here.
"""

from dataclasses import dataclass, field
from typing import Any

from nixoci.oci.digest import Digest

LOCK_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBlob:
    """A blob by media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedConfig(LockedBlob):
    """The config blob, and its JSON value for evaluation to read."""

    value: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLayer(LockedBlob):
    """A layer blob and its diff id, the digest of its uncompressed tar stream."""

    diff_id: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedNarHash:
    """The hash of the extracted image path, valid for one version of the extraction format.

    `hash` is an SRI hash as Nix writes it; `format` is `nixoci.image_path.FORMAT_VERSION` at the time.
    """

    format: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPlatform:
    """One platform's manifest, config and layers (lowest first)."""

    manifest: LockedBlob
    config: LockedConfig
    layers: list[LockedLayer]
    nar_hash: LockedNarHash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """An image under the name the user gave it.

    `reference` is what `nixoci update` resolves again: a normalised registry reference such as
    `docker.io/library/nginx:1.27`, or a local source such as `oci:DIR:TAG`. `digest` is what it resolved
    to: the index, or the manifest where there is no index. Platforms are keyed `os/architecture[/variant]`.
    """

    reference: str
    digest: Digest
    platforms: dict[str, LockedPlatform]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The whole lock file."""

    version: int
    images: dict[str, LockedImage] = field(default_factory=dict)


EMPTY_LOCK = Lock(version=LOCK_VERSION)
"""A lock with no images, to start from."""
