"""The shapes in which an image of an image store is registered.

The registry's shape has the registry's own manifest and config, so that digests and image ids are those of a pulled
image. Its layers are absent, and one snapshot with the chain id of all of them holds the merged tree. The chain ids of
lower layers are not claimed: containerd would take an empty tree for them in an image that shares these layers.

The one-layer shape has the config of the image store, whose one diff id is that of the merged tree. Builds from the
image add their layers to it. Docker shows an image as a whole only if its layers are there, so an empty tar stands in
for the layer.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from nixoci.document import load, parse
from nixoci.errors import DocumentError, EngineError
from nixoci.image_store.contents import StoreImage
from nixoci.image_store.names import MANIFEST_ITEM
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_MANIFEST
from nixoci.oci.model import ImageConfig
from nixoci.oci.reference import Reference

EMPTY_LAYER = bytes(1024)
"""A tar without entries, in place of the layer: it cannot be unpacked by mistake, for its diff id is another."""

KUBERNETES = "k8s.io"
DOCKER = "moby"


class Shape(Enum):
    """The shape of registered images."""

    REGISTRY = "registry"
    ONE_LAYER = "one-layer"


def default_shape(namespace: str) -> Shape:
    """Return the shape for a namespace: Docker builds from its images, and Kubernetes knows them by their digests."""
    return Shape.ONE_LAYER if namespace == DOCKER else Shape.REGISTRY


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapedImage:
    """An image as containerd gets it: `blobs` beside manifest and config, and the chain id of its only snapshot.

    `layer` is the id of its tree among mounted images, and `entry` the store path that has it.
    """

    names: tuple[str, ...]
    media_type: str
    manifest: bytes
    config: bytes
    blobs: tuple[bytes, ...]
    chain: str
    layer: str
    entry: Path

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return str(Digest.of(self.manifest))

    @property
    def config_digest(self) -> str:
        """The digest of the config: the image's id in Kubernetes."""
        return str(Digest.of(self.config))


def shape_image(image: StoreImage, shape: Shape, *, namespace: str) -> ShapedImage:
    """Return an image in a shape; it has no names if the store has none for it.

    Raises:
        EngineError: The image has no layers, which the registry's shape needs.
        StoreError: The image store is damaged.
        DocumentError: A manifest or config in it is.
    """
    if shape is Shape.REGISTRY:
        manifest_text, config, blobs = _registry(image)
    else:
        manifest_text, config, blobs = _one_layer(image)
    manifest = _object(manifest_text, f"{image.store}: a manifest of image {image.record.id}")
    names = _names(image, shape)
    if names and namespace == KUBERNETES:
        # Kubernetes' plugin gives every image this name, as soon as it sees another; so this is the first one
        names.insert(0, str(Digest.of(config)))
    return ShapedImage(
        names=tuple(names),
        media_type=manifest.get("mediaType") or OCI_MANIFEST,
        manifest=manifest_text,
        config=config,
        blobs=blobs,
        chain=chain_id(_diff_ids(image, config)),
        layer=image.layer.id,
        entry=image.entry,
    )


def chain_id(diff_ids: Sequence[str]) -> str:
    """Return the chain id of layers (image-spec config.md, Layer ChainID).

    >>> chain_id(["sha256:1"])
    'sha256:1'
    """
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}"
    return chain


def _registry(image: StoreImage) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    own = str(Digest.of(image.manifest))
    items = [item for item in image.record.big_data_names if item.startswith(MANIFEST_ITEM)]
    others = [item for item in items if item != f"{MANIFEST_ITEM}{own}"]
    text = image.data(others[0]) if others else image.manifest
    config = _object(text, f"{image.store}: a manifest of image {image.record.id}").get("config") or {}
    return text, image.data(str(config.get("digest"))), ()


def _one_layer(image: StoreImage) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    manifest = _object(image.manifest, f"{image.store}: the manifest of image {image.record.id}")
    empty = {"digest": str(Digest.of(EMPTY_LAYER)), "size": len(EMPTY_LAYER)}
    manifest["layers"] = [{**layer, **empty} for layer in manifest["layers"]]
    return json.dumps(manifest, separators=(",", ":")).encode("ascii"), image.config, (EMPTY_LAYER,)


def _names(image: StoreImage, shape: Shape) -> list[str]:
    """Return the names that the store has, and in the registry's shape those with a digest, as after a pull."""
    names = list(image.record.names)
    if shape is Shape.REGISTRY:
        own = Digest.of(image.manifest)
        digests = [
            digest
            for item, digest in image.record.big_data_digests.items()
            if item.startswith(MANIFEST_ITEM) and digest != own
        ]
        repositories = dict.fromkeys(Reference.parse(name).repository for name in names)
        names += [f"{repository}@{digest}" for repository in repositories for digest in digests]
    return list(dict.fromkeys(names))


def _diff_ids(image: StoreImage, config: bytes) -> list[str]:
    what = f"{image.store}: a config of image {image.record.id}"
    diff_ids = parse(ImageConfig, config, what=what).rootfs.diff_ids
    if not diff_ids:
        named = ", ".join(image.record.names) or image.record.id
        raise EngineError(f"{named}: the image has no layers, and so no chain id; register it with --shape one-layer")
    return [str(diff_id) for diff_id in diff_ids]


def _object(text: bytes, what: str) -> dict[str, Any]:
    value = load(text, what=what)
    if not isinstance(value, dict):
        raise DocumentError(f"{what}: expected a JSON object; build the image store again")
    return value
