from __future__ import annotations

import io
import random
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.recompress.streams import find_cut_stream, find_streams, inflate, inflate_start
from tests.delta.recompress.samples import gzip_file, gzip_member, text, zip_archive

LIMIT = 1 << 20


def test_the_members_of_a_zip_archive_are_found() -> None:
    members = {f"a/{number}": text(number, 500 * number) for number in range(1, 5)}
    archive = zip_archive(members)
    found = list(find_streams(archive, LIMIT))
    assert [inflate(archive, stream.start, LIMIT) for stream in found] == [
        (data, stream.end) for data, stream in zip(members.values(), found, strict=True)
    ]
    assert not any(stream.gzip for stream in found)


def test_stored_and_encrypted_members_are_not_streams_but_members_of_stored_archives_are() -> None:
    inner = zip_archive({"class": text(1, 3000)})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("inner.jar", inner)
    (stream,) = find_streams(out.getvalue(), LIMIT)
    assert inflate(out.getvalue(), stream.start, LIMIT)[0] == text(1, 3000)
    encrypted = bytearray(inner)
    encrypted[6] |= 1
    assert list(find_streams(bytes(encrypted), LIMIT)) == []


def test_members_of_a_gzip_file_are_found() -> None:
    parts = [text(1, 3000), text(2, 40_000)]
    content = gzip_file(parts[0], name=b"a") + gzip_file(parts[1], by_zlib=True, level=6)
    found = list(find_streams(content, LIMIT))
    assert [inflate(content, stream.start, LIMIT)[0] for stream in found] == parts
    assert [(stream.gzip, stream.level, stream.size) for stream in found] == [(True, 9, 3000), (True, 6, 40_000)]


def test_all_fields_of_a_gzip_header_are_skipped() -> None:
    plain = gzip_file(text(1, 300))
    fields = b"\x03\x00abc" + b"name\0" + b"comment\0" + b"\1\2"
    content = plain[:3] + bytes([2 | 4 | 8 | 16]) + plain[4:10] + fields + plain[10:]
    (stream,) = find_streams(content, LIMIT)
    assert inflate(content, stream.start, LIMIT)[0] == text(1, 300)


def test_a_stream_that_inflates_to_too_much_is_left_out() -> None:
    content = gzip_file(bytes(LIMIT + 1), by_zlib=True)
    assert list(find_streams(content, LIMIT)) == []
    with pytest.raises(ValueError, match=f"byte 10 inflates to more than {LIMIT} bytes"):
        inflate(content, 10, LIMIT)


def test_a_stream_at_the_very_end_is_whole() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bytes(3 << 20)
    stream = packer.compress(data) + packer.flush()
    assert inflate(stream, 0, len(data)) == (data, len(stream))


@given(st.integers(min_value=0, max_value=400))
def test_a_truncated_stream_is_refused(left: int) -> None:
    content = gzip_file(random.Random(1).randbytes(380), by_zlib=True)
    if left < len(content) - 8:
        assert list(find_streams(content[:left], LIMIT)) == []
        with pytest.raises(ValueError, match="does not inflate"):
            inflate(content[:left], 10, LIMIT)


@given(st.binary(max_size=300), st.sampled_from([b"\x1f\x8b\x08", b"PK\x03\x04", b"PK\x03\x04\x14\0\0\0\x08\0"]))
def test_any_content_has_streams_in_order_or_none(data: bytes, start: bytes) -> None:
    content = start + data
    at = 0
    for stream in find_streams(content, LIMIT):
        assert at <= stream.start < stream.end <= len(content)
        assert inflate(content, stream.start, LIMIT)[1] == stream.end
        at = stream.end
    find_cut_stream(content)


def test_the_start_of_a_stream_is_inflated() -> None:
    data = text(1, 300_000)
    for content in (gzip_file(data), zip_archive({"a": data})):
        head = content[: len(content) // 2]
        cut = find_cut_stream(head)
        assert cut is not None
        start = inflate_start(head, cut)
        assert len(start) == cut.size > 50_000
        assert data.startswith(start)
        assert find_cut_stream(content) is None
    assert find_cut_stream(b"text") is None
    assert find_cut_stream(gzip_member(b"\xff" * 100, b"")) is None
