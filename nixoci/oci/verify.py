"""Small blobs, read whole and verified against their descriptors."""

from contextlib import closing

from nixoci.errors import BlobError
from nixoci.oci.image import Blob, BlobSource
from nixoci.oci.model import Descriptor

MAX_DOCUMENT = 4 << 20
"""Bytes that a manifest, an index or a config may have: as registries have it, and containers/image."""


def read_verified(source: BlobSource, descriptor: Descriptor, *, what: str, limit: int = MAX_DOCUMENT) -> Blob:
    """Read a blob to its end and check it against the descriptor's digest and size.

    Args:
        source: Where it is.
        descriptor: What it must be.
        what: Names its role in messages, for example `manifest`.
        limit: Bytes that it may have.

    Raises:
        BlobError: Not there, larger than the limit, or of another size or digest.
    """
    named = f"{what} {descriptor.digest}"
    if not 0 <= descriptor.size <= limit:
        raise BlobError(f"{named}: its descriptor says {descriptor.size} bytes, expected 0 to {limit}; do not use it")
    with closing(source.open_blob(descriptor)) as file:
        text = file.read(descriptor.size + 1)
    if len(text) != descriptor.size:
        found = f"more than {descriptor.size}" if len(text) > descriptor.size else str(len(text))
        raise BlobError(
            f"{named}: the blob has {found} bytes, its descriptor says {descriptor.size}; the blob is damaged, fetch it"
            " again"
        )
    hasher = descriptor.digest.hasher()
    hasher.update(text)
    if hasher.hexdigest() != descriptor.digest.hex:
        raise BlobError(
            f"{named}: the blob's digest is {descriptor.digest.algorithm}:{hasher.hexdigest()}; the blob is damaged,"
            " fetch it again"
        )
    return Blob(descriptor=descriptor, text=text)
