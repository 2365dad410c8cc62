"""tar-diff, read and written; tests/host runs the real program."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compression import ZstdCompressor, ZstdDict, compress
from nixoci.errors import DeltaError
from nixoci.image_delta.tar_diff import MAGIC, MAGIC_2, MAX_PATH, Op, TarDiffWriter, apply_tar_diff

OLD = {b"usr/bin/a": bytes(range(256)) * 20, b"etc/b": b"some text", b"empty": b""}


def read_old(path: bytes, at: int, size: int) -> bytes:
    return OLD[path][at : at + size]


def written(operations: list[tuple[object, ...]]) -> tuple[bytes, bytes]:
    """Return a tar-diff of calls of the writer, and what they mean."""
    out, meant = bytearray(), bytearray()
    writer = TarDiffWriter(out.extend, level=3)
    for kind, *rest in operations:
        if kind == "data":
            (data,) = rest
            assert isinstance(data, bytes)
            writer.data(data)
            meant += data
            continue
        path, at, last = rest
        assert isinstance(path, bytes)
        assert isinstance(at, int)
        if kind == "copy":
            assert isinstance(last, int)
            writer.copy(path, at, last)
            meant += OLD[path][at : at + last]
        else:
            assert isinstance(last, bytes)
            writer.add(path, at, last)
            meant += bytes((one + other) % 256 for one, other in zip(last, OLD[path][at:], strict=False))
    writer.finish()
    return bytes(out), bytes(meant)


def applied(diff: bytes, pieces: int = 1 << 16) -> bytes:
    chunks = (diff[start : start + pieces] for start in range(0, len(diff), pieces))
    return b"".join(apply_tar_diff(chunks, read_old, largest=1 << 30, what="the diff"))


@st.composite
def ranges(draw: st.DrawFn) -> tuple[bytes, int, int]:
    path = draw(st.sampled_from(sorted(OLD)))
    at = draw(st.integers(0, len(OLD[path])))
    return path, at, draw(st.integers(0, len(OLD[path]) - at))


@st.composite
def operations(draw: st.DrawFn) -> tuple[object, ...]:
    kind = draw(st.sampled_from(["data", "copy", "add"]))
    if kind == "data":
        return kind, draw(st.binary(max_size=300))
    path, at, size = draw(ranges())
    return kind, path, at, size if kind == "copy" else draw(st.binary(min_size=size, max_size=size))


@given(calls=st.lists(operations(), max_size=20), pieces=st.integers(1, 500))
def test_what_is_written_is_read(calls: list[tuple[object, ...]], pieces: int) -> None:
    diff, meant = written(calls)
    assert applied(diff, pieces) == meant


def diff_of(*operations: bytes) -> bytes:
    return MAGIC + compress(b"".join(operations))


def test_the_example_of_the_format() -> None:
    """Numbers are varints as in protocol buffers: 300 is AC 02."""
    opened = bytes([Op.OPEN, 9]) + b"usr/bin/a"
    sought = bytes([Op.SEEK, 0xAC, 0x02])
    copied = bytes([Op.COPY, 2])
    added = bytes([Op.ADD, 2, 0xFF, 1])
    assert applied(diff_of(opened, sought, copied, added)) == bytes([44, 45, 45, 48])
    assert applied(diff_of(bytes([Op.OPEN, 6]) + b"/etc/b", copied)) == b"so"


def diff_2(*operations: bytes) -> bytes:
    return MAGIC_2 + compress(b"".join(operations))


def unpacks(path: bytes, new: bytes, after: bytes = b"") -> bytes:
    """Return the operations that make `new` of an old file by a frame of zstd, which other bytes may follow."""
    prefix = OLD[path].rjust(8, b"\0")
    frame = ZstdCompressor(level=19, zstd_dict=ZstdDict(prefix, is_raw=True).as_prefix).compress(
        new, ZstdCompressor.FLUSH_FRAME
    )
    size = len(frame + after)
    return bytes([Op.OPEN, len(path)]) + path + bytes([Op.ZSTD, size & 0x7F | 0x80, size >> 7]) + frame + after


@given(
    path=st.sampled_from(sorted(OLD)), new=st.binary(max_size=500), after=st.binary(max_size=9), at=st.integers(0, 99)
)
def test_version_2_has_frames_against_old_files(path: bytes, new: bytes, after: bytes, at: int) -> None:
    content = OLD[path][at:] + new + OLD[path][:at]
    operations = unpacks(path, content, after)
    assert len(operations) < len(new) + len(path) + len(after) + 60
    copied = bytes([Op.SEEK, 0, Op.COPY, 2]) if len(OLD[path]) > 1 else b""
    assert applied(diff_2(operations, copied), 7) == content + OLD[path][: 2 if copied else 0]


def test_a_frame_leaves_the_place_at_the_end_of_the_old_file() -> None:
    with pytest.raises(DeltaError, match="reads beyond the end of the old file 'etc/b'"):
        applied(diff_2(unpacks(b"etc/b", b"new"), bytes([Op.COPY, 1])))


def test_an_old_file_that_no_memory_takes_is_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.image_delta.tar_diff._MAX_PREFIX_LOG", 12)
    assert applied(diff_2(unpacks(b"etc/b", b"new"))) == b"new"
    with pytest.raises(DeltaError, match="the prefix of a zstd frame has more than 4096 bytes"):
        applied(diff_2(unpacks(b"usr/bin/a", b"new")))


@pytest.mark.parametrize(
    ("diff", "says"),
    [
        (b"", "the diff: starts with b''; expected the tar-diff format"),
        (b"tardf3\n\0" + compress(b""), r"the diff: starts with b'tardf3\n\x00'"),
        (diff_2(b"\6\1x"), "the diff: damaged tar-diff: operation 6"),
        (diff_2(b"\5\1x"), "the diff: damaged tar-diff: it copies before it has opened a file"),
        (diff_2(b"\1\5etc/b\5\1x"), "the diff: damaged tar-diff: a zstd frame ("),
        (diff_2(b"\1\5etc/b\5\2\x28\xb5"), "the diff: damaged tar-diff: a zstd frame that ends too early"),
        (diff_2(b"\1\5etc/b\5\3\x28\xb5"), "the diff: damaged tar-diff: it ends too early"),
        (diff_2(b"\1\5etc/b\5\0"), "the diff: damaged tar-diff: a zstd frame that ends too early"),
        (diff_2(b"\1\5etc/b\5\x09xxxxxxxxx"), "the diff: damaged tar-diff: a zstd frame ("),
        (
            diff_2(b"\1\5etc/b\5\x09\x28\xb5\x2f\xfd\x00\x98\x01\0\0"),  # a window of 512 MiB
            "the diff: damaged tar-diff: a zstd frame (",
        ),
        (diff_of(b"\5\1x"), "the diff: damaged tar-diff: operation 5"),
        (diff_of(b"\0\5x"), "the diff: damaged tar-diff: it ends too early"),
        (diff_of(b"\0"), "the diff: damaged tar-diff: it ends too early"),
        (diff_of(b"\0" + b"\xff" * 10), "the diff: damaged tar-diff: a number without an end"),
        (diff_of(b"\2" + b"\xff" * 9 + b"\1"), "the diff: damaged tar-diff: the size 18446744073709551615"),
        (diff_of(b"\1\xff\xff\x03"), "the diff: damaged tar-diff: a path of 65535 bytes"),
        (diff_of(b"\2\1"), "the diff: damaged tar-diff: it copies before it has opened a file"),
        (diff_of(b"\1\x0b../etc/pass"), "the diff: damaged tar-diff: the path b'../etc/pass'"),
        (diff_of(b"\1\1/"), "the diff: damaged tar-diff: the path b'/'"),
        (diff_of(b"\1\3a\0b"), r"the diff: damaged tar-diff: the path b'a\x00b'"),
        (diff_of(b"\1\5etc/b\2\x0a"), "the diff: reads beyond the end of the old file 'etc/b'"),
        (MAGIC + compress(b"\0\1x")[:-2], "the diff: damaged tar-diff: cannot be decompressed"),
    ],
)
def test_a_damaged_one_is_refused(diff: bytes, says: str) -> None:
    with pytest.raises(DeltaError, match=re.escape(says)):
        applied(diff)


@given(diff=st.binary(max_size=200), plain=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(diff: bytes, plain: bytes) -> None:
    for each in (diff, MAGIC + diff, MAGIC_2 + diff, diff_of(plain), diff_2(plain), diff_2(b"\1\1a", plain)):
        with suppress(DeltaError):
            for _ in zip(
                range(1000), apply_tar_diff([each], _anything, largest=1 << 30, what="the diff"), strict=False
            ):
                pass


def _anything(_path: bytes, at: int, size: int) -> bytes:
    return bytes(min(size, max(0, 5000 - at)))


def test_a_path_may_be_long() -> None:
    path = b"x" * MAX_PATH
    head = bytes([Op.OPEN, 0x80 | MAX_PATH & 0x7F, MAX_PATH >> 7])
    diff = diff_of(head + path + bytes([Op.COPY, 3]))
    made = apply_tar_diff([diff], _anything, largest=1 << 30, what="the diff")
    assert b"".join(made) == bytes(3)


def test_operations_that_make_nothing_come_to_an_end() -> None:
    """A few bytes can be billions of them."""
    diff = diff_of(bytes([Op.DATA, 0]) * 600_000)
    assert len(diff) < 1000
    with pytest.raises(DeltaError, match=r"^the diff: makes more than 1000000 bytes"):
        b"".join(apply_tar_diff([diff], read_old, largest=1_000_000, what="the diff"))
