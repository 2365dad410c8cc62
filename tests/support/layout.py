"""Makers of OCI layouts and archives from given layers, small enough to make in every test."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, Literal

from nixoci.compression import compress
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)

if TYPE_CHECKING:
    from pathlib import Path

Compression = Literal["gzip", "zstd"] | None
MediaTypes = Literal["oci", "docker"]
Json = dict[str, Any]

REF_NAME = "org.opencontainers.image.ref.name"


def write_layout(
    path: Path,
    layers: list[bytes],
    *,
    config: Json | None = None,
    compression: Compression = "gzip",
    tag: str | None = "latest",
    platform: tuple[str, ...] = ("linux", "amd64"),
    media_types: MediaTypes = "oci",
) -> Digest:
    """Write an image of these tar streams, lowest first, to a new or existing layout; return its manifest's digest.

    `config` is merged over a minimal config: `{"config": {"Cmd": ["sh"]}}` sets a command. Without a `tag` the
    manifest is written but not listed in `index.json`.
    """
    oci = media_types == "oci"
    blobs = [_compress(layer, compression) for layer in layers]
    value = config_value(layers, platform) | (config or {})
    media_type = OCI_MANIFEST if oci else DOCKER_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": add_blob(path, encode(value), OCI_CONFIG if oci else DOCKER_CONFIG),
        "layers": [add_blob(path, blob, _layer_type(compression, oci=oci)) for blob in blobs],
    }
    descriptor = add_blob(path, encode(manifest), media_type)
    if tag is not None:
        tag_blob(path, descriptor, tag)
    return Digest.parse(descriptor["digest"])


def write_index(
    path: Path, manifests: list[Json], *, tag: str | None = "latest", media_types: MediaTypes = "oci"
) -> Digest:
    """Write an index of these descriptors to a layout, and return its digest."""
    media_type = OCI_INDEX if media_types == "oci" else DOCKER_INDEX
    value = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    descriptor = add_blob(path, encode(value), media_type)
    if tag is not None:
        tag_blob(path, descriptor, tag)
    return Digest.parse(descriptor["digest"])


def write_platforms(path: Path, *platforms: str, tag: str = "latest") -> dict[str, Digest]:
    """Write an index with one image of no layers for each platform; return the manifests' digests."""
    digests = {}
    for text in platforms:
        digests[text] = write_layout(path, [], tag=None, platform=tuple(text.split("/")))
    write_index(path, [describe(path, digest, text) for text, digest in digests.items()], tag=tag)
    return digests


def describe(path: Path, digest: Digest, platform: str | None = None, media_type: str = OCI_MANIFEST) -> Json:
    """Return the descriptor of a blob of a layout, with a platform if there is one."""
    size = blob_path(path, digest).stat().st_size
    descriptor: Json = {"mediaType": media_type, "digest": str(digest), "size": size}
    if platform is not None:
        descriptor["platform"] = _platform(tuple(platform.split("/")))
    return descriptor


def config_value(layers: list[bytes], platform: tuple[str, ...] = ("linux", "amd64")) -> Json:
    """Return a minimal config of these tar streams."""
    return _platform(platform) | {"rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]}}


def encode(value: Any) -> bytes:
    """Return the same text for the same value."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def blob_path(path: Path, digest: Digest) -> Path:
    """Return the path of a blob in a layout."""
    return path / "blobs" / digest.algorithm / digest.hex


def add_blob(path: Path, data: bytes, media_type: str) -> Json:
    """Write a blob to a layout and return its descriptor."""
    digest = Digest.of(data)
    file = blob_path(path, digest)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return {"mediaType": media_type, "digest": str(digest), "size": len(data)}


def tag_blob(path: Path, descriptor: Json, tag: str) -> None:
    """List a manifest or index in a layout's `index.json` under a tag that is new or moves."""
    file = path / "index.json"
    entries = json.loads(file.read_bytes())["manifests"] if file.exists() else []
    others = [entry for entry in entries if entry["annotations"][REF_NAME] != tag]
    manifests = [*others, descriptor | {"annotations": {REF_NAME: tag}}]
    file.write_bytes(encode({"schemaVersion": 2, "manifests": manifests}))
    (path / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))


def write_oci_archive(file: Path, layout: Path) -> Path:
    """Pack a layout as `oci-archive:` has it."""
    with tarfile.open(file, "w") as archive:
        for path in sorted(layout.rglob("*")):
            archive.add(path, arcname=f"./{path.relative_to(layout)}", recursive=False)
    return file


def write_docker_archive(
    file: Path,
    layers: list[bytes],
    *,
    tags: list[str] | None = None,
    config: Json | None = None,
    compression: Compression = None,
) -> Path:
    """Write an archive like `docker save` before version 25: `HEX/layer.tar`, or a symlink if a layer comes again."""
    members: dict[str, bytes] = {}
    links: dict[str, str] = {}
    names: list[str] = []
    for number, layer in enumerate(layers):
        name = f"{number:064x}/layer.tar"
        first = layers.index(layer)
        if first == number:
            members[name] = _compress(layer, compression)
        else:
            links[name] = f"../{names[first]}"
        names.append(name)
    text = encode(config_value(layers) | (config or {}))
    members[f"{Digest.of(text).hex}.json"] = text
    image = {"Config": f"{Digest.of(text).hex}.json", "RepoTags": tags, "Layers": names}
    return write_tar(file, members | {"manifest.json": encode([image])}, links)


def write_tar(file: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """Write a tar file of regular files and symlinks."""
    with tarfile.open(file, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return file


def tar_stream(files: dict[str, bytes]) -> bytes:
    """Return a layer's tar stream with these regular files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _platform(parts: tuple[str, ...]) -> Json:
    return dict(zip(("os", "architecture", "variant"), parts, strict=False))


def _compress(data: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    return compress(data) if compression == "zstd" else data


def _layer_type(compression: Compression, *, oci: bool) -> str:
    base, separator = (OCI_LAYER, "+") if oci else (DOCKER_LAYER, ".")
    return f"{base}{separator}{compression}" if compression else base
