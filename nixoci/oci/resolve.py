"""Resolving a source and a platform to an image: its index is walked, its manifest and config verified and checked.

Manifests decide what runs, so nothing is guessed: a blob's own media type must be that of its descriptor, and a blob
that two readers could take for two different documents is refused (CVE-2021-41190).
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from nixoci.document import load, structure
from nixoci.errors import ImageError, PlatformError
from nixoci.oci.config_types import check_config_types
from nixoci.oci.image import Blob, Image, ImageSource, Layer
from nixoci.oci.index import structure_index
from nixoci.oci.media_types import (
    CONFIG_TYPES,
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    ENCRYPTED,
    INDEX_TYPES,
    LAYER_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA_1_TYPES,
)
from nixoci.oci.model import Descriptor, ImageConfig, Index, Manifest, Platform
from nixoci.oci.platform import best_match, is_attestation, machine_platform
from nixoci.oci.verify import read_verified

_MAX_DEPTH = 3
_DEEPEST = 100
"""Levels of lists and objects in a document of an image, fewer than in the lock that holds it."""

_MAX_DOCUMENTS = 64
"""Indexes, and manifests without a platform in their descriptor, that are read in search of a platform."""

_THREADS = 8
_ATTESTATION = "vnd.docker.reference.type"


def resolve_image(source: ImageSource, platform: Platform | None = None) -> Image:
    """Return the source's image for a platform, by default for this machine's.

    Raises:
        ImageError: It has none (PlatformError), or is not an image that nixoci reads.
        BlobError: A manifest or a config is missing or damaged.
    """
    return _pick(source, _survey(source), platform or machine_platform())


def resolve_image_platforms(source: ImageSource, platforms: Iterable[Platform]) -> dict[Platform, Image]:
    """Return the source's image for each platform, read in parallel; errors as for `resolve_image`."""
    wanted = list(dict.fromkeys(platforms))
    survey = _survey(source)
    with ThreadPoolExecutor(max_workers=_THREADS) as threads:
        return dict(zip(wanted, threads.map(_pick, repeat(source), repeat(survey), wanted), strict=True))


def list_platforms(source: ImageSource) -> list[Platform]:
    """Return the platforms of a source's images, in its order; errors as for `resolve_image`."""
    return [candidate.platform.normalized for candidate in _survey(source).candidates]


def document_type(text: bytes, *, what: str) -> str:
    """Return the media type of a manifest or index that has no descriptor, from its `mediaType` or its other fields.

    Raises:
        DocumentError: Not a JSON object.
        ImageError: Neither a manifest nor an index.
    """
    value = _object(text, what)
    own = value.get("mediaType")
    if isinstance(own, str) and own:
        return own
    if value.get("schemaVersion") == 1:
        return min(SCHEMA_1_TYPES)
    if "manifests" in value:
        return OCI_INDEX
    if "layers" in value or "config" in value:
        return OCI_MANIFEST
    raise ImageError(f"{what}: neither an image manifest nor an index")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A manifest and its platform, whose parts are empty where neither index nor config say them."""

    platform: Platform
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Survey:
    """The manifests of a source; `single` means that there is no index, which would name their platforms."""

    candidates: list[_Candidate]
    single: bool = False


def _survey(source: ImageSource) -> _Survey:
    root = source.root
    if root.media_type not in INDEX_TYPES:
        config = _read_config(source, _read_manifest(source, root)[1])[1]
        return _Survey(candidates=[_Candidate(platform=config.platform, descriptor=root)], single=True)
    return _Survey(candidates=_Walk(source).index(root, depth=1))


class _Walk:
    """The manifests of an index and of those nested in it, within limits of depth and of documents read."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._read = 0

    def index(self, descriptor: Descriptor, *, depth: int) -> list[_Candidate]:
        """Return the images of an index, in order."""
        if depth > _MAX_DEPTH:
            raise ImageError(
                f"{self._source.name}: index {descriptor.digest} is nested more than {_MAX_DEPTH} deep, the limit"
            )
        self._count()
        index = _read_index(self._source, descriptor)
        return [candidate for entry in index.manifests for candidate in self._entry(entry, depth)]

    def _entry(self, entry: Descriptor, depth: int) -> list[_Candidate]:
        if _ATTESTATION in entry.annotations or (entry.platform and is_attestation(entry.platform)):
            return []
        if entry.media_type in INDEX_TYPES:
            return self.index(entry, depth=depth + 1)
        if entry.media_type not in MANIFEST_TYPES:
            return []  # image-spec image-index.md: an unknown type is not an error
        platform = entry.platform
        unsaid = platform is None or not platform.os or not platform.architecture
        if unsaid or entry.artifact_type:
            self._count()
            manifest = _read_manifest(self._source, entry)[1]
            if manifest.config.media_type not in CONFIG_TYPES:
                return []
            if unsaid:
                platform = _read_config(self._source, manifest)[1].platform
        return [_Candidate(platform=platform or Platform(), descriptor=entry)]

    def _count(self) -> None:
        self._read += 1
        if self._read > _MAX_DOCUMENTS:
            raise ImageError(f"{self._source.name}: more than {_MAX_DOCUMENTS} indexes and manifests to search")


def _pick(source: ImageSource, survey: _Survey, wanted: Platform) -> Image:
    found = best_match(wanted, ((candidate.platform, candidate) for candidate in survey.candidates))
    platform = found.platform if found else None
    if found is None:
        # builders leave parts of the platform out of configs; podman takes such an image if no other fits
        rest = (one for one in survey.candidates if _unsaid_fits(one.platform, wanted, variant=survey.single))
        found, platform = next(rest, None), wanted
    if not survey.candidates:
        raise PlatformError(f"{source.name}: has no image, for any platform; name another reference")
    if found is None or platform is None:
        offered = ", ".join(dict.fromkeys(str(candidate.platform) for candidate in survey.candidates))
        raise PlatformError(
            f"{source.name}: no image for {wanted}; choose with --platform from what there is: {offered}"
        )
    blob, manifest = _read_manifest(source, found.descriptor)
    config, parsed = _read_config(source, manifest)
    return Image(
        digest=source.root.digest,
        platform=platform.normalized,
        manifest=blob,
        config=config,
        parsed_config=parsed,
        layers=_layers(source, found.descriptor, manifest, parsed),
    )


def _unsaid_fits(offered: Platform, wanted: Platform, *, variant: bool) -> bool:
    """Return whether a platform with parts left out fits; `variant` says that the variant may be such a part."""
    named = offered.normalized
    if not variant and named.os and named.architecture:
        return False
    said = [(named.os, wanted.os), (named.architecture, wanted.architecture)]
    if offered.variant:
        said.append((named.variant or "", wanted.normalized.variant or ""))
    return all(part in {"", wish} for part, wish in said)


def _read_index(source: ImageSource, descriptor: Descriptor) -> Index:
    blob = read_verified(source, descriptor, what=f"{source.name}: index")
    what = f"{source.name}: index {descriptor.digest}"
    value = _object(blob.text, what)
    _check_type(value, descriptor, what, foreign=("config", "layers", "fsLayers", "history"))
    return structure_index(value, what=what)


def _read_manifest(source: ImageSource, descriptor: Descriptor) -> tuple[Blob, Manifest]:
    what = f"{source.name}: manifest {descriptor.digest}"
    if descriptor.media_type in SCHEMA_1_TYPES:
        raise _schema_1(what)
    if descriptor.media_type not in MANIFEST_TYPES:
        raise ImageError(f"{what}: its media type {descriptor.media_type!r} is not that of an image")
    blob = read_verified(source, descriptor, what=f"{source.name}: manifest")
    value = _object(blob.text, what)
    _check_type(value, descriptor, what, foreign=("manifests", "fsLayers", "history"))
    return blob, structure(Manifest, value, what=what)


def _check_type(value: dict[str, Any], descriptor: Descriptor, what: str, *, foreign: tuple[str, ...]) -> None:
    """Check that a document cannot be anything but what its descriptor says."""
    if value.get("schemaVersion") == 1:
        raise _schema_1(what)
    if value.get("schemaVersion") != 2:
        raise ImageError(f"{what}: schemaVersion is {value.get('schemaVersion')!r}, expected 2")
    own = value.get("mediaType") or descriptor.media_type
    if own != descriptor.media_type:
        raise ImageError(
            f"{what}: its own media type is {own!r}, its descriptor says {descriptor.media_type!r}; do not use it"
        )
    mixed = [name for name in foreign if value.get(name) is not None]
    if mixed:
        raise ImageError(f"{what}: it has {mixed[0]!r}, so it can be taken for another kind of document; do not use it")


def _schema_1(what: str) -> ImageError:
    return ImageError(
        f"{what}: Docker schema 1, which is obsolete and not supported; push the image again with a current tool"
    )


def _read_config(source: ImageSource, manifest: Manifest) -> tuple[Blob, ImageConfig]:
    what = f"{source.name}: config {manifest.config.digest}"
    if manifest.config.media_type not in CONFIG_TYPES:
        kind = manifest.artifact_type or manifest.config.media_type
        raise ImageError(f"{what}: the manifest belongs to an artifact of type {kind!r}, not to a container image")
    blob = read_verified(source, manifest.config, what=f"{source.name}: config")
    value = _object(blob.text, what)
    config = structure(ImageConfig, value, what=what)
    docker = manifest.media_type == DOCKER_MANIFEST or manifest.config.media_type == DOCKER_CONFIG
    check_config_types(value, docker=docker, what=what)
    if config.rootfs.type not in {"", "layers"}:
        raise ImageError(f"{what}: rootfs.type is {config.rootfs.type!r}, expected 'layers'")
    return blob, config


def _layers(source: ImageSource, descriptor: Descriptor, manifest: Manifest, config: ImageConfig) -> tuple[Layer, ...]:
    what = f"{source.name}: manifest {descriptor.digest}"
    diff_ids = config.rootfs.diff_ids
    for layer in manifest.layers:
        if layer.media_type.endswith(ENCRYPTED):
            raise ImageError(
                f"{what}: layer {layer.digest} is encrypted ({layer.media_type}); decrypt the image first, for example"
                " with `skopeo copy --decryption-key`"
            )
        if layer.media_type and layer.media_type not in LAYER_TYPES:
            raise ImageError(
                f"{what}: layer {layer.digest} has the media type {layer.media_type!r}, which is not that of a"
                " container image's layer"
            )
        if layer.size < 0:
            raise ImageError(f"{what}: layer {layer.digest} has the size {layer.size}")
    if len(manifest.layers) != len(diff_ids):
        raise ImageError(
            f"{what}: it has {len(manifest.layers)} layers, its config has {len(diff_ids)} diff ids; the image is"
            " inconsistent, do not use it"
        )
    return tuple(
        Layer(descriptor=layer, diff_id=diff_id) for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )


def _object(text: bytes, what: str) -> dict[str, Any]:
    value = load(text, what=what, deepest=_DEEPEST)
    if not isinstance(value, dict):
        raise ImageError(f"{what}: expected a JSON object")
    return value
