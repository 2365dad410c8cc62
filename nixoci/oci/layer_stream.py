"""A layer's uncompressed bytes, verified: blob against digest and size, tar stream against diff id.

Compression is decided by the media type, and the first bytes must agree with it.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from typing import BinaryIO, Protocol, Self, cast

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor
from isal.igzip_lib import error as isal_error

from nixoci.errors import BlobError, ImageError
from nixoci.oci.digest import Hasher
from nixoci.oci.image import BlobSource, Layer
from nixoci.progress import Advance, ignore
from nixoci.zstd import ZstdDecompressor, ZstdError

CHUNK = 1 << 18
"""Bytes of a blob that are read and inflated at a time."""

MAX_INFLATED = 1 << 20
"""Bytes that one step of a decompressor may return, so that memory stays bounded."""

_AHEAD = 16
"""Chunks that may wait between two threads."""

_GZIP_ERROR = cast("type[Exception]", isal_error)  # isal's type hints take the class for an instance
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"


class _Decompressor(Protocol):
    """What isal's and zstd's decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = ...) -> bytes: ...


def layer_chunks(source: BlobSource, layer: Layer, *, advance: Advance = ignore) -> Generator[bytes]:
    """Yield the layer's tar stream in chunks, and verify it when it ends.

    Nothing that was yielded may be relied on until the iterator has ended without an error.

    Args:
        source: Where the blob is.
        layer: The layer's descriptor and diff id.
        advance: Called with the number of blob bytes that were read.

    Raises:
        BlobError: The blob is missing, cut, of another size or digest, or not compressed as its type says; or
            the tar stream is not the one of the diff id.
    """
    descriptor = layer.descriptor
    blob_hash, tar_hash = descriptor.digest.hasher(), layer.diff_id.hasher()
    compression = _compression(descriptor.media_type)
    with _BackgroundHasher() as hasher, closing(source.open_blob(descriptor)) as file:
        blob = _blob_chunks(file, layer, hasher, blob_hash, advance)
        with closing(_ahead(_inflate(blob, compression, layer))) as chunks:
            for chunk in chunks:
                hasher.update(tar_hash, chunk)
                yield chunk
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


def _ahead(chunks: Iterator[bytes]) -> Generator[bytes]:
    """Run an iterator in a thread of its own, some chunks ahead of who uses them; its error comes out here."""
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(maxsize=_AHEAD)
    stopped = threading.Event()

    def work() -> None:
        end: BaseException | None = None
        try:
            for chunk in chunks:
                ready.put(chunk)
                if stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised again in the other thread
            end = error
        ready.put(end)

    thread = threading.Thread(target=work, name="inflate", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                ready.get(timeout=0.01)
        thread.join()


class _BackgroundHasher:
    """Hashes chunks in one other thread, in order, while others inflate and parse."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Hasher, bytes] | None] = queue.Queue(maxsize=_AHEAD)
        self._thread = threading.Thread(target=self._work, name="hash", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def update(self, hasher: Hasher, data: bytes) -> None:
        """Add `data` to `hasher`; all is added when the context ends."""
        self._queue.put((hasher, data))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            hasher, data = item
            hasher.update(data)


def _blob_chunks(
    file: BinaryIO, layer: Layer, hasher: _BackgroundHasher, blob_hash: Hasher, advance: Advance
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
        hasher.update(blob_hash, data)
        advance(len(data))
        yield data
    if file.read(1):
        raise BlobError(
            f"layer {descriptor.digest}: the blob has more than the {descriptor.size} bytes that its descriptor says;"
            " it is not the blob that the manifest means"
        )


def _compression(media_type: str) -> bytes:
    """Return the magic bytes that the media type promises, none for a plain tar."""
    if media_type.endswith(("+gzip", ".gzip")):
        return _GZIP
    if media_type.endswith(("+zstd", ".zstd")):
        return _ZSTD
    if media_type.endswith(".tar"):
        return b""
    raise ImageError(f"media type {media_type!r} is not a layer that nixoci reads (tar, gzip or zstd)")


def _found(head: bytes) -> bytes:
    if head.startswith(_GZIP):
        return _GZIP
    if head.startswith(_ZSTD) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] & 0xF0 == 0x50):
        return _ZSTD
    return b""


def _inflate(blob: Iterator[bytes], compression: bytes, layer: Layer) -> Iterator[bytes]:
    head = next(blob, b"")
    while len(head) < len(_ZSTD) and (more := next(blob, b"")):
        head += more
    found = _found(head)
    if found != compression:
        names = {_GZIP: "gzip", _ZSTD: "zstd", b"": "neither gzip nor zstd"}
        raise BlobError(
            f"layer {layer.descriptor.digest}: its media type is {layer.descriptor.media_type}, its first bytes are"
            f" {names[found]}; the blob is damaged or the manifest is wrong"
        )
    if not compression:
        yield head
        yield from blob
        return
    try:
        yield from _members(head, blob, compression)
    except (_GZIP_ERROR, ZstdError, EOFError) as error:
        raise BlobError(
            f"layer {layer.descriptor.digest}: cannot be decompressed: {error}; the blob is damaged, fetch it again"
        ) from error


def _members(data: bytes, blob: Iterator[bytes], compression: bytes) -> Iterator[bytes]:
    """Inflate one gzip member or zstd frame after the other; skippable frames give nothing."""
    while data:
        decompressor: _Decompressor
        decompressor = IgzipDecompressor(flag=DECOMP_GZIP) if compression == _GZIP else ZstdDecompressor()
        while True:
            if chunk := decompressor.decompress(data, MAX_INFLATED):
                yield chunk
            if decompressor.eof:
                break
            data = b"" if not decompressor.needs_input else next(blob, b"")
            if not data and decompressor.needs_input:
                raise EOFError("it ends inside a compressed stream")
        data = decompressor.unused_data or next(blob, b"")
