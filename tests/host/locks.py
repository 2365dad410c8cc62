"""A lock of sample images, made from their layouts without asking a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nixoci.document import dump
from nixoci.lock.model import LOCK_VERSION, Lock, LockedBlob, LockedConfig, LockedImage, LockedLayer, LockedPlatform
from nixoci.oci.digest import Digest

if TYPE_CHECKING:
    from tests.host.images import Image
    from tests.host.machine import Machine


def locked(image: Image, reference: str) -> LockedImage:
    """Return the lock's entry for a sample image that was pushed under `reference`."""
    index = json.loads((image.layout / "index.json").read_text(encoding="utf-8"))
    described = next(
        manifest
        for manifest in index["manifests"]
        if manifest["annotations"]["org.opencontainers.image.ref.name"] == image.tag
    )
    manifest = _blob(image, described)
    config = _blob(image, manifest["config"])
    platform = LockedPlatform(
        manifest=LockedBlob(**_fields(described)),
        config=LockedConfig(**_fields(manifest["config"]), value=config),
        layers=[
            LockedLayer(**_fields(layer), diff_id=Digest.parse(diff_id))
            for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
        ],
    )
    name = f"{config['os']}/{config['architecture']}"
    return LockedImage(reference=reference, digest=platform.manifest.digest, platforms={name: platform})


def write_lock(machine: Machine, folder: str, images: dict[str, LockedImage]) -> None:
    """Write a folder with a `nixoci.lock.json` of these images and the `default.nix` for it."""
    machine.run(["mkdir", "--parents", folder])
    text = dump(Lock(version=LOCK_VERSION, images=images))
    machine.run(["tee", f"{folder}/nixoci.lock.json"], input=text)
    machine.run(["nixoci", "generate", "--output", "default.nix"], cwd=folder)


def _blob(image: Image, descriptor: dict[str, Any]) -> dict[str, Any]:
    algorithm, _, encoded = descriptor["digest"].partition(":")
    content: dict[str, Any] = json.loads((image.layout / "blobs" / algorithm / encoded).read_bytes())
    return content


def _fields(descriptor: dict[str, Any]) -> dict[str, Any]:
    return {
        "media_type": descriptor["mediaType"],
        "digest": Digest.parse(descriptor["digest"]),
        "size": descriptor["size"],
    }
