from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs.choose import encode as choose
from nixoci.delta.codecs.model import CorruptPayloadError
from nixoci.delta.codecs.registry import decode, require
from nixoci.delta.effort import Effort
from nixoci.delta.format.numbers import pack_varint
from nixoci.delta.recompress.codec import DEFLATE, encode, is_recompressible
from nixoci.delta.recompress.encoders import GZIP, ZLIB
from nixoci.delta.recompress.inflated import MAX_INFLATED
from nixoci.delta.recompress.payload import read_payload
from nixoci.errors import DeltaError
from tests.delta.recompress.samples import foreign_gzip_file, gzip_file, text, zip_archive

members = st.dictionaries(
    st.sampled_from(["a", "b", "dir/c"]),
    st.builds(text, st.integers(0, 3), st.integers(0, 3000)) | st.binary(max_size=60),
    max_size=3,
)
archives = st.builds(zip_archive, members, st.sampled_from([1, 6, 9]))


@given(archives | st.binary(max_size=80), archives, st.binary(max_size=9))
@settings(deadline=None)
def test_archives_are_made_again(old: bytes, new: bytes, after: bytes) -> None:
    new += after
    payload = encode(old, new)
    if payload is not None:
        assert decode(DEFLATE.number, payload, old, len(new)) == new
        with pytest.raises(DeltaError):
            decode(DEFLATE.number, payload, old, len(new) - 1)


@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("by_zlib", [False, True])
def test_gzip_files_are_made_again(level: int, *, by_zlib: bool) -> None:
    old, new = (gzip_file(text(seed, 300_000), level=level, by_zlib=by_zlib) for seed in (1, 2))
    payload = encode(old, new)
    assert payload is not None
    assert read_payload(payload).encoder is (ZLIB if by_zlib else GZIP)
    assert len(payload) < len(new) / 2
    assert decode(DEFLATE.number, payload, old, len(new)) == new


def test_a_changed_word_in_an_archive_costs_little_and_streams_that_are_equal_stay_deflated() -> None:
    files = {f"f{number}": text(number, 5000) for number in range(20)}
    changed = files | {"f7": files["f7"].replace(b" ", b" new ", 1)}
    old, new = zip_archive(files), zip_archive(changed)
    codec, payload = choose(new, old, Effort.DEFAULT)
    assert codec is DEFLATE
    assert len(zlib.compress(payload)) < 200
    assert len(read_payload(payload).old) == len(read_payload(payload).new) == 1
    assert decode(codec.number, payload, old, len(new)) == new


def test_a_member_of_another_encoder_stays_deflated() -> None:
    data = text(1, 9000)
    packer = zlib.compressobj(2, zlib.DEFLATED, -15, 1)
    other = packer.compress(data) + packer.flush()
    new = zip_archive({"a": text(2, 9000)}) + b"PK\x03\x04" + bytes(4) + b"\x08\0" + bytes(20) + other
    payload = encode(zip_archive({"a": text(1, 9000)}), new)
    assert payload is not None
    assert len(read_payload(payload).new) == 1
    assert decode(DEFLATE.number, payload, zip_archive({"a": data}), len(new)) == new


@pytest.mark.parametrize("new", [b"", b"text", b"\x1f\x8b\x08", foreign_gzip_file(text(1, 50_000))])
def test_what_no_encoder_makes_again_has_no_payload(new: bytes) -> None:
    assert encode(gzip_file(text(2, 50_000)), new) is None


def test_a_program_with_a_small_archive_in_it_has_no_payload() -> None:
    program = random.Random(1).randbytes(40_000)
    old, new = (zip_archive({"a": text(seed, 9000)}) for seed in (1, 2))
    assert encode(program + old, program + new) is None
    assert encode(program[:5000] + old, program[:5000] + new) is not None


def test_a_machine_without_the_encoders_makes_no_such_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (zip_archive({"a": text(seed, 9000)}) for seed in (1, 2))
    payload = encode(old, new)
    assert payload is not None
    monkeypatch.setattr("nixoci.delta.recompress.encoders.fingerprint", lambda _encoder, _level: "other")
    assert encode(old, new) is None
    with pytest.raises(DeltaError, match="zlib of this machine makes other bytes"):
        require(DEFLATE.number, payload)


def test_the_start_of_a_content_tells_whether_it_can_be_made_again() -> None:
    data = text(1, 1_200_000)
    long, short = gzip_file(data), gzip_file(data[:90_000])
    assert is_recompressible(short)
    assert is_recompressible(long[: len(long) // 2])
    assert is_recompressible(zip_archive({"a": data[:90_000]})[:40_000] + zip_archive({"b": data}))
    assert not is_recompressible(foreign_gzip_file(data[:90_000]))
    foreign = foreign_gzip_file(data)
    assert not is_recompressible(foreign[: len(foreign) // 2])
    assert not is_recompressible(long[:1000])
    assert not is_recompressible(random.Random(1).randbytes(70_000))


def _payload(*numbers: int, start: bytes = b"z\x06", patch: bytes = b"") -> bytes:
    return start + b"".join(map(pack_varint, numbers)) + patch


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"", "an encoder of compressed streams is b''"),
        (b"z", "an encoder of compressed streams is b'z'"),
        (b"z\x00\0\0", r"an encoder of compressed streams is b'z\x00'"),
        (b"q\x06\0\0", r"an encoder of compressed streams is b'q\x06'"),
        (_payload(3, 1), "a truncated list of compressed streams"),
        (_payload(0, 2, 1, 1, 7), "a truncated list of compressed streams"),
        (_payload(1 << 19), "524288 compressed streams, at most 262144 are allowed"),
        (_payload(0, 65, start=b"g\x09"), "65 compressed streams, at most 64 are allowed"),
        (_payload(1, 0, 0), "a compressed stream of the old content does not inflate"),
        (_payload(1, 1 << 69, 0), "a compressed stream of the old content does not inflate"),
        (_payload(0, 0), "a patch is cut short"),
    ],
)
def test_a_damaged_payload_is_refused(payload: bytes, found: str) -> None:
    with pytest.raises(CorruptPayloadError) as refusal:
        DEFLATE.decode(payload, b"\xff" * 20, 1000)
    assert str(refusal.value).startswith(found)


def test_streams_beyond_the_end_are_refused() -> None:
    old, new = (zip_archive({"a": text(seed, 9000)}) for seed in (1, 2))
    payload = encode(old, new)
    assert payload is not None
    patch = read_payload(payload).patch
    forged = _payload(1, *read_payload(payload).old, 1, 0, 1 << 60, patch=patch)
    with pytest.raises(DeltaError, match=rf"a compressed stream ends at byte {1 << 60} of"):
        decode(DEFLATE.number, forged, old, 10_000)


def test_an_old_segment_that_inflates_to_too_much_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush()
    old = piece * (MAX_INFLATED >> 20) + b"one more"
    with pytest.raises(DeltaError, match=f"inflates to more than {MAX_INFLATED} bytes"):
        decode(DEFLATE.number, _payload(MAX_INFLATED >> 20, *[0] * (MAX_INFLATED >> 20), 0), old, 1000)


@given(archives, archives, st.data())
@settings(deadline=None)
def test_a_changed_payload_is_refused_or_makes_a_bounded_content(old: bytes, new: bytes, data: st.DataObject) -> None:
    payload = bytearray(encode(old, new) or b"")
    for _ in range(data.draw(st.integers(1, 3))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    made, refusal = b"", ""
    try:
        made = decode(DEFLATE.number, bytes(payload), old, 9000)
    except DeltaError as error:
        refusal = str(error)
    assert len(made) <= 9000
    assert "\n" not in refusal
