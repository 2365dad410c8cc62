"""Images that live in memory: layers given as tar bytes, compressed on demand."""

from __future__ import annotations

import gzip
import io
import json
from typing import TYPE_CHECKING, BinaryIO

from nixoci.compression import compress
from nixoci.errors import BlobError
from nixoci.oci.digest import Digest
from nixoci.oci.image import Blob, Image, Layer
from nixoci.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from nixoci.oci.model import Descriptor, ImageConfig, Platform, RootFS

if TYPE_CHECKING:
    from collections.abc import Sequence

PLATFORM = Platform(os="linux", architecture="amd64")


class MemoryBlobs:
    """A blob source that is a dictionary."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def add(self, data: bytes, media_type: str) -> Descriptor:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        if descriptor.digest not in self.blobs:
            raise BlobError(f"blob {descriptor.digest}: not there")
        return io.BytesIO(self.blobs[descriptor.digest])

    def add_layer(self, tar: bytes, compression: str = "") -> Layer:
        """Store a layer; `compression` is what the media type ends in: `+gzip`, `+zstd` or nothing."""
        data = gzip.compress(tar) if compression == "+gzip" else compress(tar) if compression == "+zstd" else tar
        return Layer(descriptor=self.add(data, OCI_LAYER + compression), diff_id=Digest.of(tar))

    def image(self, layers: Sequence[Layer]) -> Image:
        config = {
            "architecture": PLATFORM.architecture,
            "os": PLATFORM.os,
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
        }
        config_text = json.dumps(config).encode()
        described = self.add(config_text, OCI_CONFIG)
        manifest_text = json.dumps({"schemaVersion": 2, "layers": [str(x.descriptor.digest) for x in layers]}).encode()
        manifest = self.add(manifest_text, OCI_MANIFEST)
        return Image(
            digest=manifest.digest,
            platform=PLATFORM,
            manifest=Blob(descriptor=manifest, text=manifest_text),
            config=Blob(descriptor=described, text=config_text),
            parsed_config=ImageConfig(
                architecture=PLATFORM.architecture,
                os=PLATFORM.os,
                rootfs=RootFS(type="layers", diff_ids=[layer.diff_id for layer in layers]),
            ),
            layers=tuple(layers),
        )


def image_of(*tars: bytes, compression: str = "") -> tuple[Image, MemoryBlobs]:
    """An image of these layers, and where its blobs are."""
    source = MemoryBlobs()
    return source.image([source.add_layer(tar, compression) for tar in tars]), source
