"""A layer's uncompressed bytes, verified: blob against digest and size, tar stream against diff id.

The first bytes say how the blob is compressed, as in podman: manifests exist whose media types do not.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO

from nixoci.background import BackgroundCalls, read_ahead
from nixoci.compression import DecompressError, decompress
from nixoci.errors import BlobError
from nixoci.oci.digest import Hasher
from nixoci.oci.image import BlobSource, Layer
from nixoci.progress import Advance, ignore

CHUNK = 1 << 18
"""Bytes of a blob that are read and inflated at a time."""

_AHEAD = 16
"""Chunks that may wait between two threads."""


def layer_chunks(source: BlobSource, layer: Layer, *, advance: Advance = ignore) -> Generator[bytes]:
    """Yield the layer's tar stream in chunks, and verify it when it ends.

    Rely on nothing that was yielded until the iterator has ended without an error.

    Args:
        source: Where the blob is.
        layer: The layer's descriptor and diff id.
        advance: Called with the number of blob bytes that were read.

    Raises:
        BlobError: The blob is missing, cut short, of another size or digest, or cannot be decompressed; or the tar
            stream does not have the diff id.
    """
    descriptor = layer.descriptor
    blob_hash, tar_hash = descriptor.digest.hasher(), layer.diff_id.hasher()
    with BackgroundCalls(_AHEAD) as hashing, closing(source.open_blob(descriptor)) as file:
        blob = _blob_chunks(file, layer, hashing, blob_hash, advance)
        yield from _hashed(_inflate(blob, layer), hashing, tar_hash)
        hashing.finish()
    if blob_hash.hexdigest() != descriptor.digest.hex:
        raise BlobError(
            f"layer {descriptor.digest}: the blob's digest is {descriptor.digest.algorithm}:{blob_hash.hexdigest()};"
            " the blob is damaged, fetch it again"
        )
    if tar_hash.hexdigest() != layer.diff_id.hex:
        raise BlobError(
            f"layer {descriptor.digest}: its tar stream has digest {layer.diff_id.algorithm}:{tar_hash.hexdigest()},"
            f" the config promises the diff id {layer.diff_id}; the image is inconsistent, do not use it"
        )


def tar_chunks(stream: Iterator[bytes], layer: Layer) -> Generator[bytes]:
    """Yield a layer's tar stream that was made from something else than its blob, and verify it when it ends.

    Rely on nothing that was yielded until the iterator has ended without an error.

    Raises:
        BlobError: The tar stream does not have the diff id.
    """
    tar_hash = layer.diff_id.hasher()
    with BackgroundCalls(_AHEAD) as hashing:
        yield from _hashed(stream, hashing, tar_hash)
        hashing.finish()
    if tar_hash.hexdigest() != layer.diff_id.hex:
        raise BlobError(
            f"layer {layer.descriptor.digest}: what it was made from gives a tar stream of digest"
            f" {layer.diff_id.algorithm}:{tar_hash.hexdigest()}, the config promises the diff id {layer.diff_id}"
        )


def _hashed(stream: Iterator[bytes], hashing: BackgroundCalls, tar_hash: Hasher) -> Iterator[bytes]:
    """Pass on a stream that another thread reads ahead, and let a third one hash it."""
    with closing(read_ahead(stream, _AHEAD)) as chunks:
        for chunk in chunks:
            hashing.call(tar_hash.update, chunk)
            yield chunk


def _blob_chunks(
    file: BinaryIO, layer: Layer, hashing: BackgroundCalls, blob_hash: Hasher, advance: Advance
) -> Iterator[bytes]:
    descriptor = layer.descriptor
    left = descriptor.size
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise BlobError(
                f"layer {descriptor.digest}: the blob has {descriptor.size - left} bytes, its descriptor says"
                f" {descriptor.size}; the blob is cut short, fetch it again"
            )
        left -= len(data)
        hashing.call(blob_hash.update, data)
        advance(len(data))
        yield data
    if file.read(1):
        raise BlobError(
            f"layer {descriptor.digest}: the blob has more than the {descriptor.size} bytes that its descriptor says;"
            " it is not the blob that the manifest names"
        )


def _inflate(blob: Iterator[bytes], layer: Layer) -> Iterator[bytes]:
    try:
        yield from decompress(blob)
    except DecompressError as error:
        way_out = "; the blob is damaged, fetch it again" if error.damaged else ""
        raise BlobError(f"layer {layer.descriptor.digest}: {error}{way_out}") from error
