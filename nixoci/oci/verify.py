"""Small blobs, read whole and verified against their descriptors."""

from contextlib import closing

from nixoci.errors import BlobError
from nixoci.oci.digest import Digest
from nixoci.oci.image import Blob, BlobSource
from nixoci.oci.model import Descriptor

MAX_DOCUMENT = 4 << 20
"""Maximum bytes of a manifest, an index or a config: the limit of registries and of containers/image."""


def read_verified(source: BlobSource, descriptor: Descriptor, *, what: str) -> Blob:
    """Read a blob to its end and check it against the descriptor's digest and size.

    Args:
        source: The place that has the blob.
        descriptor: The blob's descriptor.
        what: The blob's role in messages, for example `manifest`.

    Raises:
        BlobError: The blob is missing, larger than `MAX_DOCUMENT`, or of another size or digest.
    """
    named = f"{what} {descriptor.digest}"
    if not 0 <= descriptor.size <= MAX_DOCUMENT:
        raise BlobError(
            f"{named}: its descriptor says {descriptor.size} bytes, expected 0 to {MAX_DOCUMENT}; do not use it"
        )
    with closing(source.open_blob(descriptor)) as file:
        text = file.read(descriptor.size + 1)
    if len(text) != descriptor.size:
        size = f"more than {descriptor.size}" if len(text) > descriptor.size else str(len(text))
        raise BlobError(
            f"{named}: the blob has {size} bytes, its descriptor says {descriptor.size}; the blob is damaged, fetch it"
            " again"
        )
    found = Digest.of(text, descriptor.digest.algorithm)
    if found != descriptor.digest:
        raise BlobError(f"{named}: the blob's digest is {found}; the blob is damaged, fetch it again")
    return Blob(descriptor=descriptor, text=text)
