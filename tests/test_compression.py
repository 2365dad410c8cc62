"""Compression by first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from nixoci.compression import HEAD, Compression, compress, detect


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
