"""A layer's uncompressed bytes, verified: blob against digest and size, tar stream against diff id.

The media type says how the blob is compressed, and its first bytes must agree.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import BinaryIO, Protocol

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor

from nixoci.background import BackgroundCalls, read_ahead
from nixoci.compression import HEAD, Compression, IsalError, ZstdDecompressor, ZstdError, detect
from nixoci.errors import BlobError
from nixoci.oci.digest import Hasher
from nixoci.oci.image import BlobSource, Layer
from nixoci.oci.media_types import layer_compression
from nixoci.progress import Advance, ignore

CHUNK = 1 << 18
"""Bytes of a blob that are read and inflated at a time."""

MAX_INFLATED = 1 << 20
"""Bytes that one step of a decompressor may return, so that memory stays bounded."""

_AHEAD = 16
"""Chunks that may wait between two threads."""


class _Decompressor(Protocol):
    """The interface that isal's and zstd's decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = ...) -> bytes: ...


def layer_chunks(source: BlobSource, layer: Layer, *, advance: Advance = ignore) -> Generator[bytes]:
    """Yield the layer's tar stream in chunks, and verify it when it ends.

    Rely on nothing that was yielded until the iterator has ended without an error.

    Args:
        source: Where the blob is.
        layer: The layer's descriptor and diff id.
        advance: Called with the number of blob bytes that were read.

    Raises:
        BlobError: The blob is missing, cut short, of another size or digest, or not compressed as its media type
            says; or the tar stream does not have the diff id.
    """
    descriptor = layer.descriptor
    blob_hash, tar_hash = descriptor.digest.hasher(), layer.diff_id.hasher()
    compression = layer_compression(descriptor.media_type)
    with BackgroundCalls(_AHEAD) as hashing, closing(source.open_blob(descriptor)) as file:
        blob = _blob_chunks(file, layer, hashing, blob_hash, advance)
        with closing(read_ahead(_inflate(blob, compression, layer), _AHEAD)) as chunks:
            for chunk in chunks:
                hashing.call(tar_hash.update, chunk)
                yield chunk
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


def _inflate(blob: Iterator[bytes], promised: Compression, layer: Layer) -> Iterator[bytes]:
    head = next(blob, b"")
    while len(head) < HEAD and (more := next(blob, b"")):
        head += more
    found = detect(head)
    if found is not promised:
        words = "neither gzip nor zstd" if found is Compression.NONE else found.value
        raise BlobError(
            f"layer {layer.descriptor.digest}: its media type is {layer.descriptor.media_type}, its first bytes are"
            f" {words}; the blob is damaged or the manifest is wrong"
        )
    if promised is Compression.NONE:
        yield head
        yield from blob
        return
    try:
        yield from _members(head, blob, promised)
    except (IsalError, ZstdError, EOFError) as error:
        raise BlobError(
            f"layer {layer.descriptor.digest}: cannot be decompressed: {error}; the blob is damaged, fetch it again"
        ) from error


def _members(data: bytes, blob: Iterator[bytes], compression: Compression) -> Iterator[bytes]:
    """Inflate gzip members or zstd frames, one after another; skippable frames yield nothing."""
    while data:
        decompressor: _Decompressor
        decompressor = IgzipDecompressor(flag=DECOMP_GZIP) if compression is Compression.GZIP else ZstdDecompressor()
        while True:
            if chunk := decompressor.decompress(data, MAX_INFLATED):
                yield chunk
            if decompressor.eof:
                break
            data = b"" if not decompressor.needs_input else next(blob, b"")
            if not data and decompressor.needs_input:
                raise EOFError("it ends inside a compressed stream")
        data = decompressor.unused_data or next(blob, b"")
