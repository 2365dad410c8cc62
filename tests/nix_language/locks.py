"""Locks to write Nix for, with descriptors of blobs that do not exist."""

from __future__ import annotations

import hashlib
from typing import Any

from nixoci.lock.model import LOCK_VERSION, Lock, LockedBlob, LockedConfig, LockedImage, LockedLayer, LockedPlatform
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST


def digest(text: str) -> Digest:
    """Return a digest that stands for `text`."""
    return Digest("sha256", hashlib.sha256(text.encode()).hexdigest())


def platform(name: str, *layers: str, value: dict[str, Any] | None = None) -> LockedPlatform:
    """Return a platform with these layers; the rest of its blobs is its own."""
    return LockedPlatform(
        manifest=LockedBlob(media_type=OCI_MANIFEST, digest=digest(f"manifest of {name}"), size=1),
        config=LockedConfig(media_type=OCI_CONFIG, digest=digest(f"config of {name}"), size=2, value=value or {}),
        layers=[
            LockedLayer(media_type=OCI_LAYER, digest=digest(layer), size=3, diff_id=digest(f"{layer} as tar"))
            for layer in layers
        ],
    )


def image(reference: str, **platforms: LockedPlatform) -> LockedImage:
    """Return an image for `linux/ARCHITECTURE` each."""
    return LockedImage(
        reference=reference,
        digest=digest(f"index of {reference}"),
        platforms={f"linux/{architecture}": pinned for architecture, pinned in platforms.items()},
    )


def lock(**images: LockedImage) -> Lock:
    """Return a lock of these images."""
    return Lock(version=LOCK_VERSION, images=images)
