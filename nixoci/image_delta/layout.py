"""An artifact on disk: an OCI layout that holds its blobs, from which and to which skopeo copies it."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nixoci.errors import DeltaError
from nixoci.image_delta.artifact import descriptor_json, render_json
from nixoci.oci.digest import Digest
from nixoci.oci.layout import REF_NAME
from nixoci.oci.model import Descriptor
from nixoci.oci.verify import MAX_DOCUMENT

TAG = "artifact"

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True)
class ArtifactLayout:
    """A folder that is made when the first blob comes."""

    folder: Path

    def blob(self, digest: Digest) -> Path:
        """Return the file of a blob."""
        return self.folder / "blobs" / digest.algorithm / digest.hex

    def new_file(self) -> Path:
        """Return the path of a file that does not exist, beside the blobs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="new-", dir=self.folder)
        os.close(handle)
        Path(name).unlink()
        return Path(name)

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Add a blob and return its descriptor."""
        descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
        file = self.blob(descriptor.digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return descriptor

    def add_file(self, file: Path, sha256: bytes, media_type: str) -> Descriptor:
        """Move a file with this SHA-256, on the same file system, into the layout and return its descriptor."""
        digest = Digest("sha256", sha256.hex())
        descriptor = Descriptor(media_type=media_type, digest=digest, size=file.stat().st_size)
        blob = self.blob(digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        file.replace(blob)
        return descriptor

    def choose(self, descriptor: Descriptor) -> None:
        """Make the manifest or index of this descriptor the one that `TAG` names."""
        (self.folder / "oci-layout").write_bytes(_LAYOUT)
        entry = {**descriptor_json(descriptor), "annotations": {REF_NAME: TAG}}
        (self.folder / "index.json").write_bytes(render_json({"schemaVersion": 2, "manifests": [entry]}))

    def check(self, descriptors: Iterable[Descriptor], *, what: str) -> None:
        """Check that blobs are there, with the sizes of their descriptors.

        Raises:
            DeltaError: One is missing, or has another size.
        """
        for descriptor in descriptors:
            try:
                size = self.blob(descriptor.digest).stat().st_size
            except FileNotFoundError as error:
                raise DeltaError(f"{what}: it lacks the blob {descriptor.digest}; push the delta again") from error
            if size != descriptor.size:
                raise DeltaError(
                    f"{what}: its blob {descriptor.digest} has {size} bytes, its manifest says {descriptor.size}; push"
                    " the delta again"
                )

    def read(self, descriptor: Descriptor, *, what: str) -> bytes:
        """Return a small blob, such as a config.

        Raises:
            DeltaError: It is large.
        """
        with self.blob(descriptor.digest).open("rb") as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise DeltaError(f"{what}: its blob {descriptor.digest} has more than {MAX_DOCUMENT} bytes")
        return data
