"""The image as podman stores it: the registry's config and manifest, rewritten for one layer instead of many.

podman compares diff ids with what it finds on disk when it saves, pushes, builds upon or checks an image, and on
disk there is one collapsed tree. So the config names that tree's diff id, the history gives one layer to it,
and all else is the registry's.
"""

import json
from dataclasses import dataclass
from typing import Any

from nixoci.document import load
from nixoci.errors import ImageError
from nixoci.image_path import ImageDocument
from nixoci.oci.digest import Digest
from nixoci.oci.model import DOCKER_MANIFEST, OCI_LAYER

DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
"""Docker's media type of an uncompressed layer."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The bytes of the config and the manifest of a one-layer image."""

    config: bytes
    manifest: bytes

    @property
    def image_id(self) -> str:
        """The image's id in podman: the hex of the config's sha256."""
        return Digest.of(self.config).hex


def rewrite(document: ImageDocument, *, diff_id: Digest, size: int) -> Rewritten:
    """Rewrite an image's config and manifest for the one layer with `diff_id` and `size` bytes, uncompressed.

    Raises:
        ImageError: The config's history is not a list of objects.
    """
    config = load(document.config.text, what=f"image {document.name}: config")
    config["rootfs"] = {**config["rootfs"], "diff_ids": [str(diff_id)]}
    if config.get("history"):
        config["history"] = _history(config["history"], image=document.name)
    config_text = _encode(config)

    manifest = load(document.manifest.text, what=f"image {document.name}: manifest")
    docker = document.manifest.media_type == DOCKER_MANIFEST
    kept = {name: manifest[name] for name in ("schemaVersion", "mediaType") if name in manifest}
    kept["config"] = {
        "mediaType": document.config.media_type,
        "digest": str(Digest.of(config_text)),
        "size": len(config_text),
    }
    kept["layers"] = [{"mediaType": DOCKER_LAYER if docker else OCI_LAYER, "digest": str(diff_id), "size": size}]
    if manifest.get("annotations"):
        kept["annotations"] = manifest["annotations"]
    return Rewritten(config_text, _encode(kept))


def _history(entries: Any, *, image: str) -> list[dict[str, Any]]:
    """Return the history with exactly one entry that has a layer: the last that had one.

    Builders refuse a history whose layers are not as many as the diff ids.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ImageError(f"image {image}: config: history is not a list of objects; rebuild the image")
    layers = [number for number, entry in enumerate(entries) if not entry.get("empty_layer")]
    if not layers:
        return [*entries, {"comment": "the image's files"}]
    return [
        {name: value for name, value in entry.items() if name != "empty_layer"}
        if number == layers[-1]
        else entry | {"empty_layer": True}
        for number, entry in enumerate(entries)
    ]


def _encode(value: Any) -> bytes:
    # ASCII, since JSON may hold lone surrogates, which UTF-8 cannot
    return json.dumps(value, separators=(",", ":")).encode("ascii")
