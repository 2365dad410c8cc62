"""The OCI archive by which images reach containerd: manifests and configs without layers (image-layout.md)."""

import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any

from nixoci.engines.containerd.shape import ShapedImage
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import OCI_INDEX

_NAME = "io.containerd.image.name"
"""The annotation that names an image; containerd takes it as it is."""

_VERSION = {"imageLayoutVersion": "1.0.0"}


def write_archive(images: Iterable[ShapedImage]) -> bytes:
    """Return the archive of images, each under all of its names."""
    manifests: list[dict[str, Any]] = []
    blobs: dict[str, bytes] = {}
    for image in images:
        described = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
        manifests += [{**described, "annotations": {_NAME: name}} for name in image.names]
        for blob in (image.manifest, image.config, *image.blobs):
            blobs[f"blobs/sha256/{Digest.of(blob).hex}"] = blob
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    files = {"oci-layout": _json(_VERSION), "index.json": _json(index), **blobs}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("ascii")
