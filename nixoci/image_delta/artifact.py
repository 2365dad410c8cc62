"""The manifest and the config of a delta's artifact (docs/registry-deltas.md, Layout)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from nixoci.delta.format.model import NEWEST
from nixoci.document import check_version, dump, load, parse, structure
from nixoci.errors import BlobError, DeltaError, DocumentError, UnsupportedVersionError
from nixoci.image_delta.contents import PARTS
from nixoci.image_delta.signature import SignedContents
from nixoci.image_path import FORMAT_VERSION
from nixoci.nix_store.hashes import is_sri
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_MANIFEST
from nixoci.oci.model import Descriptor

ARTIFACT_TYPE = "application/vnd.nixoci.delta.v1"
CONFIG_TYPE = "application/vnd.nixoci.delta.config.v1+json"
STREAM_TYPE = "application/vnd.nixoci.delta.stream"

BASE = "nixoci.delta.base"
"""Annotation: the digest of the manifest of the image that the delta starts from."""
EXTRACTION_FORMAT = "nixoci.delta.extraction-format"
"""Annotation: the version of the extraction format of both images."""
STREAM_FORMAT = "nixoci.delta.stream-format"
"""Annotation: the version of the delta format of the stream."""
NAR_HASHES = "nixoci.delta.nar-hashes"
"""Annotation: the hashes of the parts of the new image path, with a space between them."""
SIGNATURES = "nixoci.delta.signatures"
"""Annotation: signatures of these hashes, with a space between them."""

_CONFIG_VERSION = 1
_SIGNATURE = re.compile(r"[!-9;-~]{1,99}:[0-9A-Za-z+/]{86}==")
"""Matches a signature as Nix writes it."""
_MOST_SIGNATURES = 64
"""Signatures that a manifest may have: Nix checks each, and a manifest has room for 40 000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactManifest:
    """The manifest of an artifact that refers to an image (image-spec manifest.md)."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor
    artifact_type: str
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: bytes, *, what: str) -> Self:
        """Read a manifest; `what` names it in errors.

        Raises:
            DeltaError: Not the manifest of an artifact with a subject.
        """
        try:
            return parse(cls, text, what=what)
        except DocumentError as error:
            raise DeltaError(f"{error}; it is no delta") from error

    @property
    def size(self) -> int:
        """The bytes of the config and the layers."""
        return sum(max(blob.size, 0) for blob in (self.config, *self.layers))

    @property
    def base(self) -> Digest | None:
        """The manifest of the image that a delta of nixoci starts from; None for another kind of artifact."""
        return base_of(self.annotations)

    @property
    def contents(self) -> SignedContents | None:
        """The hashes of the new image path's parts that the artifact has with signatures, if it has."""
        nar_hashes = tuple(self.annotations.get(NAR_HASHES, "").split(" "))
        signatures = tuple(filter(None, self.annotations.get(SIGNATURES, "").split(" ")))
        if len(nar_hashes) != len(PARTS) or not all(map(is_sri, nar_hashes)):
            return None
        if not 0 < len(signatures) <= _MOST_SIGNATURES or not all(map(_SIGNATURE.fullmatch, signatures)):
            return None
        return SignedContents(
            manifest=self.subject.digest, config=self.config.digest, nar_hashes=nar_hashes, signatures=signatures
        )

    @property
    def signed_by(self) -> list[str]:
        """The names of the keys that its signatures are said to be of."""
        signatures = self.contents.signatures if self.contents is not None else ()
        return [signature.partition(":")[0] for signature in signatures]

    def stream(self, *, what: str) -> Descriptor:
        """Return the descriptor of the delta in an artifact of nixoci that this nixoci can apply.

        Raises:
            DeltaError: It is none, or needs another nixoci.
        """
        formats = (self.annotations.get(EXTRACTION_FORMAT), self.annotations.get(STREAM_FORMAT))
        if formats[0] != str(FORMAT_VERSION):
            raise DeltaError(f"{what}: its extraction format is {formats[0]}, this nixoci has {FORMAT_VERSION}")
        if formats[1] not in {str(version + 1) for version in range(NEWEST)}:
            raise DeltaError(f"{what}: its delta format is {formats[1]}, this nixoci reads up to {NEWEST}; update it")
        if [layer.media_type for layer in self.layers] != [STREAM_TYPE]:
            raise DeltaError(f"{what}: it has not the one layer of a delta; push it again")
        return self.layers[0]

    def stream_version(self, *, what: str) -> int:
        """Return the version of the delta format in an artifact of nixoci that this nixoci can apply.

        Raises:
            DeltaError: It is none, or needs another nixoci.
        """
        self.stream(what=what)
        return int(self.annotations[STREAM_FORMAT])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaConfig:
    """The config of the artifact: the texts of the new image that are in its image.json, and its warnings."""

    version: int
    manifest: str
    config: str
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: bytes, *, what: str) -> Self:
        """Read a config; `what` names it in errors.

        Raises:
            DeltaError: Not a config, or one of another version (UnsupportedVersionError).
        """
        try:
            value = load(text, what=what)
            check_version(value, _CONFIG_VERSION, what=what, way_out="update it")
            return structure(cls, value, what=what, strict=True)
        except UnsupportedVersionError:
            raise
        except DocumentError as error:
            raise DeltaError(f"{error}; push the delta again") from error

    @classmethod
    def of(cls, *, manifest: str, config: str, warnings: list[str]) -> Self:
        """Return the config for the new image's texts."""
        return cls(version=_CONFIG_VERSION, manifest=manifest, config=config, warnings=warnings)

    def render(self) -> bytes:
        """Return its text."""
        return dump(self).encode()


def base_of(annotations: Mapping[str, str]) -> Digest | None:
    """Return the base that annotations of an artifact of nixoci name; None without a digest of the kind."""
    named = annotations.get(BASE, "")
    try:
        return Digest.parse(named)
    except BlobError:
        return None


def render_manifest(
    *,
    subject: Descriptor,
    base: Digest,
    config: Descriptor,
    stream: Descriptor,
    stream_format: int,
    contents: SignedContents | None = None,
) -> bytes:
    """Return the text of the manifest of a delta's artifact; `contents` only if they are signed."""
    signed = {}
    if contents is not None:
        signed = {NAR_HASHES: " ".join(contents.nar_hashes), SIGNATURES: " ".join(contents.signatures)}
    return render_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": descriptor_json(config),
            "layers": [descriptor_json(stream)],
            "subject": descriptor_json(subject),
            "annotations": {
                BASE: str(base),
                EXTRACTION_FORMAT: str(FORMAT_VERSION),
                STREAM_FORMAT: str(stream_format),
                **signed,
            },
        }
    )


def descriptor_json(descriptor: Descriptor) -> dict[str, Any]:
    """Return the JSON value of a descriptor."""
    value: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.artifact_type:
        value["artifactType"] = descriptor.artifact_type
    if descriptor.annotations:
        value["annotations"] = descriptor.annotations
    return value


def render_json(value: Any) -> bytes:
    """Return JSON as registries have it: compact, in the order of its keys."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
