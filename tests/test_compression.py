"""Compression by first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from nixoci.compression import (
    HEAD,
    Compression,
    CompressionParameter,
    DecompressError,
    ZstdCompressor,
    compress,
    decompress,
    detect,
)


def tar(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "compression"),
    [
        (gzip.compress(b"data", mtime=0), Compression.GZIP),
        (compress(b"data"), Compression.ZSTD),
        (b"\x50\x2a\x4d\x18" + bytes(4), Compression.ZSTD),
        (b"\x5f\x2a\x4d\x18" + bytes(4), Compression.ZSTD),
        (lzma.compress(b"data"), Compression.XZ),
        (bz2.compress(b"data"), Compression.BZIP2),
        (tar("BZh9file"), Compression.NONE),
        (tar("P*M"), Compression.NONE),
        (b"\x1f", Compression.NONE),
        (b"", Compression.NONE),
    ],
)
def test_the_first_bytes_decide(data: bytes, compression: Compression) -> None:
    assert detect(data) is compression
    assert detect(data[:HEAD]) is compression


def with_window(log: int) -> bytes:
    compressor = ZstdCompressor(options={CompressionParameter.window_log: log})
    return compressor.compress(b"x" * (9 << 20)) + compressor.flush()


@pytest.mark.parametrize(
    "data",
    [
        lzma.compress(b"x" * 100, preset=9),
        with_window(23),
    ],
    ids=["xz", "zstd"],
)
def test_the_memory_of_a_stream_may_be_bounded(data: bytes) -> None:
    assert set(b"".join(decompress([data]))) == {ord("x")}
    with pytest.raises(DecompressError, match="needs too much memory") as caught:
        list(decompress([data], memory=4 << 20))
    assert not caught.value.damaged
