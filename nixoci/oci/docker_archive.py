"""Docker archives (`docker save`, `podman save`): tar files with a manifest.json, which is not a registry's manifest.

A manifest is made from it, the same one for the same archive: layers are described as they are stored.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Self

from nixoci.compression import HEAD, Compression, detect
from nixoci.document import key, load, parse, structure
from nixoci.errors import BlobError, ImageError
from nixoci.oci.archive import Archive
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import DOCKER_CONFIG, DOCKER_MANIFEST, docker_layer
from nixoci.oci.model import Descriptor, ImageConfig
from nixoci.oci.reference import Reference
from nixoci.oci.verify import MAX_DOCUMENT

_TABLE = "manifest.json"
_BLOB_PATH = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One image of `manifest.json` (moby, image/tarexport/tarexport.go)."""

    config: str = field(metadata=key("Config"))
    layers: list[str] = field(default_factory=list, metadata=key("Layers"))
    repo_tags: list[str] = field(default_factory=list, metadata=key("RepoTags"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerArchive:
    """An image in a docker archive."""

    name: str
    root: Descriptor
    _archive: Archive
    _texts: Mapping[Digest, bytes]
    _layers: Mapping[Digest, str]

    @classmethod
    def open(cls, archive: Archive, reference: str | None, *, name: str) -> Self:
        """Find an image in an archive.

        Args:
            archive: The archive.
            reference: One of the image's `RepoTags`, in any spelling; None for the only image.
            name: The archive's name in messages.

        Raises:
            ImageError: Not a docker archive, no such image in it, or a damaged one.
        """
        what = f"{name}: {_TABLE}"
        table = load(_read(archive, _TABLE, name), what=what)
        if not isinstance(table, list):
            raise ImageError(f"{what}: expected a list")
        items = [structure(_Item, value, what=f"{what}: [{number}]") for number, value in enumerate(table)]
        item = _choose(items, reference, name)
        config = _read(archive, item.config, name)
        diff_ids = parse(ImageConfig, config, what=f"{name}: {item.config}").rootfs.diff_ids
        if len(item.layers) != len(diff_ids):
            raise ImageError(
                f"{name}: {_TABLE} has {len(item.layers)} layers, the config has {len(diff_ids)} diff ids; the archive"
                " is inconsistent, do not use it"
            )
        digests: dict[str, Digest] = {}
        described = [
            _describe(archive, path, id_, digests, name) for path, id_ in zip(item.layers, diff_ids, strict=True)
        ]
        manifest = _manifest(_descriptor(DOCKER_CONFIG, Digest.of(config), len(config)), described)
        return cls(
            name=name,
            root=Descriptor(media_type=DOCKER_MANIFEST, digest=Digest.of(manifest), size=len(manifest)),
            _archive=archive,
            _texts={Digest.of(text): text for text in (config, manifest)},
            _layers={Digest.parse(layer["digest"]): path for layer, path in zip(described, item.layers, strict=True)},
        )

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open the generated manifest, the config or a layer."""
        if descriptor.digest in self._texts:
            return io.BytesIO(self._texts[descriptor.digest])
        path = self._layers.get(descriptor.digest)
        if path is None:
            raise BlobError(f"{self.name}: blob {descriptor.digest} is not in the archive")
        return self._archive.open(path)


def _choose(items: list[_Item], reference: str | None, name: str) -> _Item:
    tags = [tag for item in items for tag in item.repo_tags]
    there = ", ".join(tags) or "none"
    if reference is None:
        if len(items) != 1:
            raise ImageError(f"{name}: the archive has {len(items)} images; add :REFERENCE, there is {there}")
        return items[0]
    wanted = Reference.parse(reference)
    found = [item for item in items if wanted in map(Reference.parse, item.repo_tags)]
    if not found:
        raise ImageError(f"{name}: no image is called {wanted}; there is {there}")
    if any((item.config, item.layers) != (found[0].config, found[0].layers) for item in found):
        raise ImageError(
            f"{name}: {len(found)} images are called {wanted} in {_TABLE}; save the one that you want alone"
        )
    return found[0]


def _read(archive: Archive, path: str, name: str) -> bytes:
    try:
        if archive.size(path) > MAX_DOCUMENT:
            raise ImageError(f"{name}: {path} has {archive.size(path)} bytes, more than {MAX_DOCUMENT}, the limit")
        with archive.open(path) as file:
            return file.read()
    except FileNotFoundError as error:
        if path == _TABLE:
            way_out = "an OCI layout in an archive is oci-archive:FILE"
            raise ImageError(f"{name}: not a docker archive: it has no {_TABLE}; {way_out}") from error
        raise ImageError(f"{name}: {path} is missing in the archive; save the image again") from error


def _describe(archive: Archive, path: str, diff_id: Digest, digests: dict[str, Digest], name: str) -> dict[str, Any]:
    """Describe a layer as it is stored; only one that is compressed and not named by its digest has to be read.

    `digests` has the digests of the members that were read already.
    """
    try:
        stored, size = archive.resolve(path), archive.size(path)
        with archive.open(path) as file:
            compression = detect(file.read(HEAD))
            file.seek(0)
            if compression is Compression.NONE:
                digest = diff_id
            else:
                digest = digests[stored] = digests.get(stored) or _named(stored) or _hash(file)
    except FileNotFoundError as error:
        raise ImageError(f"{name}: layer {path} is missing in the archive; save the image again") from error
    return _descriptor(docker_layer(compression), digest, size)


def _named(path: str) -> Digest | None:
    """Return the digest in a member's name; it is verified, like every layer's, when the layer is read."""
    match = _BLOB_PATH.fullmatch(path)
    return Digest.parse(f"{match[1]}:{match[2]}") if match else None


def _hash(file: io.BufferedReader) -> Digest:
    return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "size": size, "digest": str(digest)}


def _manifest(config: dict[str, Any], layers: list[dict[str, Any]]) -> bytes:
    value = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": layers}
    return json.dumps(value, separators=(",", ":")).encode("ascii")
