"""Zip archives and gzip files of random text, whose members are deflated by the encoders and by others."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

from isal import isal_zlib

from nixoci.delta.recompress.encoders import GZIP


def text(seed: int, size: int) -> bytes:
    """Return lines of words, of which a twentieth depend on the seed."""
    common, own = random.Random(0), random.Random(seed)
    words = [bytes(common.choices(range(97, 123), k=2 + n % 9)) for n in range(300)]
    lines = bytearray()
    while len(lines) < size:
        pick = own if common.random() < 0.05 else common
        lines += b" ".join(pick.choices(words, k=8)) + b"\n"
    return bytes(lines[:size])


def zip_archive(members: dict[str, bytes], level: int = 6) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, level)
    return out.getvalue()


def gzip_file(data: bytes, *, level: int = 9, name: bytes = b"", by_zlib: bool = False) -> bytes:
    """Return a gzip file as GNU gzip makes it, or as zlib does."""
    if by_zlib:
        packer = zlib.compressobj(level, zlib.DEFLATED, -15)
        stream = packer.compress(data) + packer.flush()
    else:
        stream = GZIP.deflate(data, level)
    return gzip_member(stream, data, level=level, name=name)


def foreign_gzip_file(data: bytes) -> bytes:
    """Return a gzip file of an encoder that is none of ours."""
    packer = isal_zlib.compressobj(2, zlib.DEFLATED, -15)
    return gzip_member(packer.compress(data) + packer.flush(), data)


def gzip_member(stream: bytes, data: bytes, *, level: int = 9, name: bytes = b"") -> bytes:
    flags = 8 if name else 0
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(4) + bytes([{9: 2, 1: 4}.get(level, 0), 3])
    return (
        head + (name + b"\0" if name else b"") + stream + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    )
