"""Config and manifest of an image in the image store: the registry's, rewritten for one layer instead of many.

When podman saves, pushes, checks or builds upon an image, it compares diff ids with the layers on disk, and there is
one merged tree. So the config has that tree's diff id and the history one layer. Entries of Env that podman refuses are
dropped, and times that it cannot read are written as it can; everything else is the registry's.
"""

import json
from dataclasses import dataclass
from typing import Any

from nixoci.document import load
from nixoci.image_path import ImageDocument
from nixoci.image_store.times import go_time
from nixoci.oci.config_types import check_config_types
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, OCI_LAYER
from nixoci.oci.model import is_variable


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The bytes of the config and the manifest of an image with one layer, and warnings about what was dropped."""

    config: bytes
    manifest: bytes
    warnings: list[str]

    @property
    def image_id(self) -> str:
        """The image's id in podman: the hex of the config's sha256."""
        return Digest.of(self.config).hex


def rewrite(document: ImageDocument, *, diff_id: Digest, size: int) -> Rewritten:
    """Rewrite an image's config and manifest for one uncompressed layer, of `diff_id` and `size` bytes.

    Raises:
        ImageError: A field of the config is of a type that podman cannot decode.
    """
    what = f"image {document.name}: config"
    docker = document.manifest.media_type == DOCKER_MANIFEST
    docker_config = docker or document.config.media_type == DOCKER_CONFIG
    config = check_config_types(load(document.config.text, what=what), docker=docker_config, what=what)
    rootfs = config.get("rootfs") or {}
    config["rootfs"] = {**rootfs, "diff_ids": [str(diff_id)]}
    config["rootfs"]["type"] = config["rootfs"].get("type") or "layers"
    if config.get("history"):
        config["history"] = _history([entry or {} for entry in config["history"]])
    dropped = _drop_malformed_env(config)
    warnings = [
        f"image {document.name}: {entry!r} in its Env dropped: it is not NAME=value, and podman would refuse to start"
        " the image"
        for entry in dropped
    ]
    warnings += [f"image {document.name}: {change}" for change in _mend_times(config)]
    config_text = _encode(config)

    manifest = load(document.manifest.text, what=f"image {document.name}: manifest")
    kept = {name: manifest[name] for name in ("schemaVersion", "mediaType") if name in manifest}
    kept["config"] = {
        "mediaType": document.config.media_type,
        "digest": str(Digest.of(config_text)),
        "size": len(config_text),
    }
    kept["layers"] = [{"mediaType": DOCKER_LAYER if docker else OCI_LAYER, "digest": str(diff_id), "size": size}]
    if manifest.get("annotations"):
        kept["annotations"] = manifest["annotations"]
    return Rewritten(config_text, _encode(kept), warnings)


def _drop_malformed_env(config: dict[str, Any]) -> list[str]:
    """Remove the entries of Env that are not variables, and return them."""
    execution = config.get("config") or {}
    env = [entry or "" for entry in execution.get("Env") or []]
    dropped = [entry for entry in env if not is_variable(entry)]
    if dropped:
        config["config"] = {**execution, "Env": [entry for entry in env if is_variable(entry)]}
    return dropped


def _mend_times(config: dict[str, Any]) -> list[str]:
    """Write the times that Go cannot read as it can, or drop them; return a message about each."""
    messages = []
    history = config.get("history") or []
    for path, holder in [("", config), *((f"history[{number}].", entry) for number, entry in enumerate(history))]:
        text = holder.get("created")
        if text is None:
            continue
        time = go_time(text)
        if time is None:
            del holder["created"]
            messages.append(f"{path}created {text!r} in its config dropped: it is not a time that podman can read")
        elif time != text:
            holder["created"] = time
            messages.append(f"{path}created {text!r} in its config is not a time that podman can read; {time} is")
    return messages


def _history(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the history with exactly one entry that has a layer: the last one that had one.

    Builders refuse a history that does not have as many layers as there are diff ids.
    """
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
    # ASCII, because JSON may hold lone surrogates and UTF-8 may not
    return json.dumps(value, separators=(",", ":")).encode("ascii")
