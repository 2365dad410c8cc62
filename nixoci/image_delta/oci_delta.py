"""The artifacts of containers/oci-delta: layers of an image, described by files of an older one (its README.md).

Each layer of the new image is there as a tar-diff or whole, or left out because the older image has it too. An image
path has files and no layers, so those that are left out are fetched from the registry. The diff ids in the image's
config tell whether a layer is right; nothing else has to be locked.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

from nixoci.compression import DecompressError, decompress
from nixoci.errors import BlobError, DeltaError
from nixoci.extraction import LayerStreams
from nixoci.image_delta.artifact import ArtifactManifest
from nixoci.image_delta.bounds import at_most, plausible_size
from nixoci.image_delta.layout import ArtifactLayout
from nixoci.image_delta.tar_diff import MEDIA_TYPE, apply_tar_diff
from nixoci.oci.digest import Digest
from nixoci.oci.model import Descriptor
from nixoci.openat import TreeOpener, read_range

ARTIFACT_TYPE = "application/vnd.io.github.containers.oci-delta.v1"

_PREFIX = "io.github.containers.delta."
TARGET, SOURCE, SOURCE_CONFIG = (f"{_PREFIX}{name}" for name in ("target", "source", "source-config"))
"""Annotations of the artifact: the digests of the new manifest, of the old one, and of the old config."""
REUSED, REUSED_DIFF_ID = (f"{_PREFIX}{name}" for name in ("reused", "reused-diff-id"))
"""Annotations of the artifact: the digests and the diff ids of the layers that are left out, as lists in JSON."""
CONTENT, TO = (f"{_PREFIX}{name}" for name in ("content", "to"))
"""Annotations of a layer of the artifact: its role, and the digest of the image's layer that it makes."""
IMAGE_MANIFEST, IMAGE_CONFIG, IMAGE_LAYER = "image-manifest", "image-config", "image-layer"

_READ = 1 << 18


def described_layers(manifest: ArtifactManifest) -> Mapping[Digest, Descriptor]:
    """Return the layers of an artifact by the digests of the image's layers that they make; others are skipped."""
    found = {}
    for layer in manifest.layers:
        if layer.annotations.get(CONTENT) != IMAGE_LAYER:
            continue
        made = digest_in(layer.annotations, TO)
        if made is not None:
            found[made] = layer
    return found


def digest_in(annotations: Mapping[str, str], name: str) -> Digest | None:
    """Return the digest in an annotation; None if it has none."""
    try:
        return Digest.parse(annotations.get(name, ""))
    except BlobError:
        return None


def layer_streams(
    manifest: ArtifactManifest, layout: ArtifactLayout, old: "OldFiles", sizes: Mapping[Digest, int], *, what: str
) -> LayerStreams:
    """Return the tar streams of the layers that an artifact describes.

    Args:
        manifest: The artifact's manifest.
        layout: The artifact's blobs.
        old: The files of the image that it starts from.
        sizes: The bytes of the blobs of the image's layers.
        what: Names the artifact in errors.
    """
    return {
        made: partial(_stream, layer, layout.blob(layer.digest), old, plausible_size([sizes.get(made, 0)]), what)
        for made, layer in described_layers(manifest).items()
    }


def _stream(layer: Descriptor, file: Path, old: "OldFiles", size: int, what: str) -> Iterator[bytes]:
    """Yield a layer's tar stream, unless it has more than `size` bytes."""
    if layer.media_type == MEDIA_TYPE:
        yield from at_most(size, apply_tar_diff(_blocks(file), old.read, largest=size, what=what), what=what)
        return
    try:
        yield from at_most(size, decompress(_blocks(file)), what=what)
    except DecompressError as error:
        raise DeltaError(f"{what}: its layer {layer.digest} {error}") from error


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while data := opened.read(_READ):
            yield data


class OldFiles:
    """Reads regular files below a directory, without following a symlink; the last one stays open."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._opener = TreeOpener()
        self._path: bytes | None = None
        self._handle = -1
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()
        self._opener.close()

    def read(self, path: bytes, offset: int, size: int) -> bytes:
        """Return bytes of a file, fewer only at its end.

        Raises:
            DeltaError: It is no regular file.
            StoreError: There is no such file.
        """
        if path != self._path:
            self._open.close()
            self._path = None
            self._handle = self._opener.open(self._root, path, self._regular)
            self._open.callback(os.close, self._handle)
            self._path = path
        return read_range(self._handle, offset, size)

    def _regular(self, handle: int) -> int:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DeltaError(f"{self._root}: the delta reads something in it that is no regular file")
        return os.dup(handle)
