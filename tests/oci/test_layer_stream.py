"""A layer's bytes: decompressed as their first bytes say, verified to the end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import threading
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.compression import MAX_INFLATED, compress
from nixoci.errors import BlobError
from nixoci.oci.digest import Digest
from nixoci.oci.image import Layer
from nixoci.oci.layer_stream import CHUNK, layer_chunks
from nixoci.oci.media_types import OCI_LAYER
from nixoci.oci.model import Descriptor
from tests.support.memory import MemoryBlobs

if TYPE_CHECKING:
    from collections.abc import Callable

TAR = b"some tar stream" * 1000
SKIPPABLE = b"\x50\x2a\x4d\x18\x05\x00\x00\x00table"
gzipped = partial(gzip.compress, mtime=0)  # the time would be in the names of tests, which workers compare
GZIP, ZSTD = OCI_LAYER + "+gzip", OCI_LAYER + "+zstd"


class OneBlob:
    """A source of one blob, which tells whether the blob was closed."""

    def __init__(self, blob: bytes) -> None:
        self.file = io.BytesIO(blob)

    def open_blob(self, _: Descriptor) -> BinaryIO:
        return self.file


def layer_of(blob: bytes, media_type: str, tar: bytes = TAR) -> Layer:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(blob), size=len(blob))
    return Layer(descriptor=descriptor, diff_id=Digest.of(tar))


def unpacked(blob: bytes, media_type: str, tar: bytes = TAR) -> bytes:
    layer = layer_of(blob, media_type, tar)
    return b"".join(layer_chunks(OneBlob(blob), layer))


def refused(blob: bytes, layer: Layer, message: str) -> None:
    source = OneBlob(blob)
    with pytest.raises(BlobError) as caught:
        list(layer_chunks(source, layer))
    assert re.fullmatch(re.escape(f"layer {layer.descriptor.digest}: ") + message, str(caught.value))
    assert source.file.closed


@pytest.mark.parametrize(
    ("media_type", "blob"),
    [
        ("application/vnd.oci.image.layer.v1.tar", TAR),
        ("application/vnd.oci.image.layer.v1.tar+gzip", gzipped(TAR)),
        ("application/vnd.oci.image.layer.v1.tar+zstd", compress(TAR)),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", TAR),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", gzipped(TAR)),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", compress(TAR)),
        ("application/vnd.docker.image.rootfs.diff.tar", TAR),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", gzipped(TAR)),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", compress(TAR)),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", gzipped(TAR)),
    ],
)
def test_every_media_type_of_a_layer_is_read(media_type: str, blob: bytes) -> None:
    assert unpacked(blob, media_type) == TAR


@pytest.mark.parametrize(
    ("media_type", "blob"), [(OCI_LAYER, b""), (GZIP, gzipped(b"")), (ZSTD, compress(b"")), (ZSTD, SKIPPABLE)]
)
def test_a_layer_of_no_bytes_is_legal(media_type: str, blob: bytes) -> None:
    assert unpacked(blob, media_type, b"") == b""


@pytest.mark.parametrize("cuts", [(5,), (0, 0, 5), tuple(range(0, 15000, 100))])
def test_gzip_members_are_read_one_after_the_other(cuts: tuple[int, ...]) -> None:
    pieces = [TAR[start:end] for start, end in zip((0, *cuts), (*cuts, len(TAR)), strict=True)]
    assert unpacked(b"".join(map(gzipped, pieces)), GZIP) == TAR


def test_gzip_headers_may_have_every_field() -> None:
    deflater = zlib.compressobj(wbits=-15)
    body = deflater.compress(TAR) + deflater.flush()
    extra = b"\x06\x00" + b"SG\x02\x00ab"
    head = b"\x1f\x8b\x08\x1c" + bytes(4) + b"\x00\x03" + extra + b"name\0" + b"comment\0"
    tail = zlib.crc32(TAR).to_bytes(4, "little") + len(TAR).to_bytes(4, "little")
    assert unpacked(head + body + tail, GZIP) == TAR


def test_zstd_frames_and_skippable_ones_are_read_one_after_the_other() -> None:
    frames = [SKIPPABLE, compress(TAR[:5]), SKIPPABLE, SKIPPABLE, compress(b""), compress(TAR[5:]), SKIPPABLE]
    assert unpacked(b"".join(frames), ZSTD) == TAR


def test_every_number_of_a_skippable_frame_is_known() -> None:
    for number in range(16):
        assert unpacked(bytes([0x50 + number]) + SKIPPABLE[1:] + compress(TAR), ZSTD) == TAR


@pytest.mark.parametrize("compression", ["", "+gzip", "+zstd"])
def test_a_blob_larger_than_a_chunk_comes_in_bounded_pieces(compression: str) -> None:
    tar = bytes(5 * MAX_INFLATED) + bytes(range(256)) * (CHUNK // 64)
    source = MemoryBlobs()
    layer = source.add_layer(tar, compression)
    chunks = list(layer_chunks(source, layer))
    assert b"".join(chunks) == tar
    assert max(map(len, chunks)) <= MAX_INFLATED


def test_progress_is_the_bytes_of_the_blob() -> None:
    source = MemoryBlobs()
    layer = source.add_layer(TAR, "+gzip")
    done: list[int] = []
    list(layer_chunks(source, layer, advance=done.append))
    assert sum(done) == layer.descriptor.size


def test_sha512_digests_are_verified() -> None:
    descriptor = Descriptor(media_type=OCI_LAYER, digest=Digest.of(TAR, "sha512"), size=len(TAR))
    good = Layer(descriptor=descriptor, diff_id=Digest.of(TAR, "sha512"))
    assert b"".join(layer_chunks(OneBlob(TAR), good)) == TAR
    with pytest.raises(BlobError, match=r"the blob's digest is sha512:[0-9a-f]{128}; the blob is damaged"):
        list(layer_chunks(OneBlob(TAR[:-1] + b"x"), good))


@pytest.mark.parametrize("media_type", [OCI_LAYER, GZIP, ZSTD, "text/plain"])
@pytest.mark.parametrize("pack", [bytes, gzipped, compress, bz2.compress, lzma.compress])
def test_the_first_bytes_say_how_a_layer_is_packed(media_type: str, pack: Callable[[bytes], bytes]) -> None:
    blob = pack(TAR)
    assert b"".join(layer_chunks(OneBlob(blob), layer_of(blob, media_type))) == TAR


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, lambda tar: lzma.compress(tar) + bytes(1000)])
def test_xz_and_bzip2_streams_may_follow_one_another(pack: Callable[[bytes], bytes]) -> None:
    blob = pack(TAR) + pack(TAR)
    assert b"".join(layer_chunks(OneBlob(blob), layer_of(blob, GZIP, TAR + TAR))) == TAR + TAR


@pytest.mark.parametrize("media_type", [OCI_LAYER, GZIP, ZSTD])
@pytest.mark.parametrize("missing", [1, 100])
def test_a_short_blob_is_refused(media_type: str, missing: int) -> None:
    blob = {OCI_LAYER: TAR, GZIP: gzipped(TAR), ZSTD: compress(TAR)}[media_type] + SKIPPABLE * 20
    blob = blob if media_type == ZSTD else blob[: -len(SKIPPABLE * 20)]
    cut = blob[: max(len(blob) - missing, 30)]
    refused(
        cut,
        layer_of(blob, media_type),
        rf"the blob has {len(cut)} bytes, its descriptor says {len(blob)}; the blob is cut short, fetch it again",
    )


def test_a_long_blob_is_refused() -> None:
    refused(
        TAR + b"x",
        layer_of(TAR, OCI_LAYER),
        "the blob has more than the 15000 bytes that its descriptor says; it is not the blob that the manifest names",
    )


@pytest.mark.parametrize("size", [0, 1, 14_999])
def test_a_descriptor_that_understates_the_size_is_refused(size: int) -> None:
    layer = layer_of(TAR, OCI_LAYER)
    refused(
        TAR,
        replace(layer, descriptor=replace(layer.descriptor, size=size)),
        f"the blob has more than the {size} bytes that its descriptor says; it is not the blob that the manifest names",
    )


def test_a_blob_of_another_digest_is_refused() -> None:
    other = TAR[:-1] + b"x"
    refused(
        other,
        layer_of(TAR, OCI_LAYER),
        f"the blob's digest is {Digest.of(other)}; the blob is damaged, fetch it again",
    )


@pytest.mark.parametrize("media_type", [OCI_LAYER, GZIP, ZSTD])
def test_a_tar_stream_of_another_diff_id_is_refused(media_type: str) -> None:
    blob = {OCI_LAYER: TAR, GZIP: gzipped(TAR), ZSTD: compress(TAR)}[media_type]
    promised = Digest.of(b"other")
    refused(
        blob,
        layer_of(blob, media_type, b"other"),
        f"its tar stream has digest {Digest.of(TAR)}, the config promises the diff id {promised};"
        " the image is inconsistent, do not use it",
    )


@pytest.mark.parametrize(
    ("media_type", "blob"),
    [
        (GZIP, gzipped(TAR)[:-1]),
        (GZIP, gzipped(TAR)[:-8]),
        (GZIP, gzipped(TAR)[:40]),
        (GZIP, gzipped(TAR)[:5]),
        (GZIP, gzipped(TAR) + gzipped(TAR)[:30]),
        (ZSTD, compress(TAR)[:-1]),
        (ZSTD, compress(TAR)[:6]),
        (ZSTD, compress(TAR) + SKIPPABLE[:-1]),
        (ZSTD, SKIPPABLE[:6]),
    ],
)
def test_a_compressed_stream_that_ends_early_is_refused(media_type: str, blob: bytes) -> None:
    message = "cannot be decompressed: it ends inside a compressed stream; the blob is damaged, fetch it again"
    refused(blob, layer_of(blob, media_type), message)


@pytest.mark.parametrize(
    ("media_type", "blob"),
    [
        (GZIP, gzipped(TAR) + b"trailing bytes"),
        (GZIP, gzipped(TAR) + bytes(512)),
        (GZIP, gzipped(TAR) + compress(TAR)),
        (GZIP, gzipped(TAR)[:-8] + bytes(8)),
        (GZIP, b"\x1f\x8b\x07" + bytes(100)),
        (ZSTD, compress(TAR) + b"trailing bytes"),
        (ZSTD, compress(TAR) + gzipped(TAR)),
        (ZSTD, b"\x28\xb5\x2f\xfd" + b"\xff" * 100),
    ],
)
def test_what_cannot_be_decompressed_is_refused(media_type: str, blob: bytes) -> None:
    refused(blob, layer_of(blob, media_type), "cannot be decompressed: [^\n]+; the blob is damaged, fetch it again")


def test_a_frame_that_wants_too_large_a_window_is_refused() -> None:
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00"  # a window of 2^31 bytes
    message = "its zstd stream needs too much memory to decompress; compress it again with a smaller window"
    refused(frame, layer_of(frame, ZSTD, b""), message)


@settings(max_examples=200)
@given(st.sampled_from(["", "+gzip", "+zstd"]), st.data())
def test_a_flipped_bit_anywhere_is_found(compression: str, data: st.DataObject) -> None:
    source = MemoryBlobs()
    layer = source.add_layer(TAR, compression)
    broken = bytearray(source.blobs[layer.descriptor.digest])
    broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BlobError) as caught:
        list(layer_chunks(OneBlob(bytes(broken)), layer))
    assert str(caught.value).startswith(f"layer {layer.descriptor.digest}: ")
    assert "\n" not in str(caught.value)


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    st.sampled_from(["+gzip", "+zstd"]),
    st.integers(1, 64),
    st.lists(st.integers(0, 5)),
)
def test_streams_cut_anywhere_are_read_alike(parts: list[bytes], compression: str, step: int, skips: list[int]) -> None:
    class Dripping(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size, step) if size and size > 0 else size)

    class Source(OneBlob):
        def open_blob(self, _: Descriptor) -> BinaryIO:
            return Dripping(self.file.getvalue())

    tar = b"".join(parts)
    frames = [gzipped(part) if compression == "+gzip" else compress(part) for part in parts]
    if compression == "+zstd":
        for place in skips:
            frames.insert(min(place, len(frames)), SKIPPABLE)
    blob = b"".join(frames)
    layer = layer_of(blob, OCI_LAYER + compression, tar)
    assert b"".join(layer_chunks(Source(blob), layer)) == tar


def test_a_reader_that_stops_early_closes_the_blob_and_ends_the_threads() -> None:
    tar = bytes(100 * MAX_INFLATED)
    source = OneBlob(gzipped(tar, 1))
    before = set(threading.enumerate())  # those of other tests may end meanwhile
    chunks = layer_chunks(source, layer_of(source.file.getvalue(), GZIP, tar))
    next(chunks)
    chunks.close()
    assert source.file.closed
    assert set(threading.enumerate()) <= before


def test_a_missing_blob_is_what_its_source_says() -> None:
    layer = layer_of(TAR, OCI_LAYER)
    with pytest.raises(BlobError, match=f"^blob {layer.descriptor.digest}: not there$"):
        list(layer_chunks(MemoryBlobs(), layer))
