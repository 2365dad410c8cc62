"""Images whose blobs are single files, as in the Nix store."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from nixoci.errors import BlobError
from nixoci.oci.digest import Digest
from nixoci.oci.model import Descriptor
from nixoci.oci.resolve import document_type
from nixoci.oci.verify import MAX_DOCUMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobFiles:
    """An image by the digest of its manifest or index, with the files of its blobs."""

    name: str
    root: Descriptor
    _files: Mapping[Digest, Path]

    @classmethod
    def open(cls, digest: Digest, files: Mapping[Digest, Path], *, name: str) -> Self:
        """Find the image `digest` among the files; `name` is its name in messages.

        Raises:
            BlobError: No file is given for it.
            ImageError: Neither a manifest nor an index.
        """
        if digest not in files:
            raise _missing(name, digest)
        with files[digest].open("rb") as file:
            text = file.read(MAX_DOCUMENT + 1)
        media_type = document_type(text, what=f"{name}: {files[digest]}")
        return cls(name=name, root=Descriptor(media_type=media_type, digest=digest, size=len(text)), _files=files)

    @classmethod
    def open_layer(cls, digest: Digest, files: Mapping[Digest, Path], *, name: str) -> Self:
        """Find the blob of a single layer among the files; `name` is the layer's name in messages.

        Raises:
            BlobError: No file is given for it.
        """
        if digest not in files:
            raise _missing(name, digest)
        return cls(name=name, root=Descriptor(digest=digest, size=files[digest].stat().st_size), _files=files)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob's file."""
        try:
            return self._files[descriptor.digest].open("rb")
        except KeyError as error:
            raise _missing(self.name, descriptor.digest) from error


def _missing(name: str, digest: Digest) -> BlobError:
    return BlobError(f"{name}: no file is given for blob {digest}; add --blob {digest}=FILE")
