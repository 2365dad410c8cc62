"""Payloads, read by what docs/delta-format.md says of them and nothing else of nixoci."""

from __future__ import annotations

import hashlib
import re
import subprocess
import zlib
from pathlib import Path

import hdiffpatch
import pytest

from nixoci.delta.recompress.codec import encode
from nixoci.delta.recompress.encoders import GZIP, ZLIB
from tests.delta.recompress.samples import gzip_file, text, zip_archive

CHECKOUT = Path(__file__).parents[3]


class Reader:
    def __init__(self, data: bytes) -> None:
        self.left = data

    def number(self) -> int:
        value = shift = 0
        while True:
            byte, self.left = self.left[0], self.left[1:]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def deflate(letter: bytes, level: int, data: bytes) -> bytes:
    if letter == b"g":
        made = subprocess.run(["gzip", f"-{level}", "--no-name"], input=data, stdout=subprocess.PIPE, check=True)
        return made.stdout[10:-8]
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, 0)
    return packer.compress(data) + packer.flush()


def apply(payload: bytes, old: bytes) -> bytes:
    letter, level = payload[:1], payload[1]
    reader = Reader(payload[2:])
    inflated, rest = b"", old
    for gap in [reader.number() for _ in range(reader.number())]:
        stream = zlib.decompressobj(-15)
        inflated += rest[:gap] + stream.decompress(rest[gap:])
        rest = stream.unused_data
    count = reader.number()
    gaps = [reader.number() for _ in range(count)]
    sizes = [reader.number() for _ in range(count)]
    rest = hdiffpatch.apply(inflated + rest, b"HDIFF13&\0" + reader.left)
    content = b""
    for gap, size in zip(gaps, sizes, strict=True):
        content += rest[:gap] + deflate(letter, level, rest[gap : gap + size])
        rest = rest[gap + size :]
    return content + rest


@pytest.mark.parametrize(
    ("old", "new"),
    [[zip_archive({f"f{n}": text(seed * n, 900 * n) for n in range(9)}, level) for seed in (1, 2)] for level in (6, 9)]
    + [[gzip_file(text(seed, 300_000), level=level) for seed in (1, 2)] for level in (1, 9)],
)
def test_a_payload_is_applied_by_the_text(old: bytes, new: bytes) -> None:
    payload = encode(old, new)
    assert payload is not None
    assert apply(payload, old) == new


def test_the_sample_is_made_by_the_text() -> None:
    noise = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(1500))
    texts = [f"{(n**2 % 65521) >> (n % 7):x} ".encode() for n in range(20_000)]
    sample = b"".join(texts) + bytes(byte % 4 for byte in noise) + noise[:20_000]
    for encoder, letter in ((ZLIB, b"z"), (GZIP, b"g")):
        stream = deflate(letter, 6, sample)
        assert hashlib.sha256(stream).hexdigest().startswith(encoder.fingerprints[5])


def test_the_fingerprints_are_those_of_the_text() -> None:
    documented = (CHECKOUT / "docs/delta-format.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| ([1-9]) \| `([0-9a-f]{16})` \| `([0-9a-f]{16})` \|", documented)
    assert rows == [
        (str(level), *found)
        for level, found in enumerate(zip(ZLIB.fingerprints, GZIP.fingerprints, strict=True), start=1)
    ]
