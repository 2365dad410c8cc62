from __future__ import annotations

import lzma
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.cds.codec import encode
from nixoci.delta.cds.payload import read_payload
from nixoci.delta.codecs.choose import encode as choose
from nixoci.delta.codecs.formats import CDS
from nixoci.delta.codecs.hdiff import patch
from nixoci.delta.codecs.model import CorruptPayloadError
from nixoci.delta.codecs.registry import decode
from nixoci.delta.effort import Effort
from nixoci.delta.format.numbers import pack_varint
from nixoci.errors import DeltaError
from tests.delta.cds.samples import ADDRESS, archive, names

OLD = archive(names(2000), buckets=301)
NEW = archive(names(2000, more=20), buckets=307)


def test_an_archive_costs_less_than_its_patch() -> None:
    codec, payload = choose(NEW, OLD, Effort.DEFAULT)
    assert codec is CDS
    assert decode(CDS.number, payload, OLD, len(NEW)) == NEW
    assert len(lzma.compress(payload)) < len(lzma.compress(patch(OLD, NEW))) / 10
    with pytest.raises(DeltaError):
        decode(CDS.number, payload, OLD, len(NEW) - 1)


@given(st.integers(0, 30), st.integers(100, 140), st.binary(max_size=9), st.binary(max_size=9))
@settings(deadline=None, max_examples=20)
def test_archives_are_made_again(more: int, buckets: int, old_tail: bytes, new_tail: bytes) -> None:
    old = archive(names(300), objects=400, tail=old_tail)
    new = archive(names(300, more=more), objects=400, buckets=buckets, tail=new_tail)
    payload = encode(old, new)
    assert payload is not None
    assert decode(CDS.number, payload, old, len(new)) == new


def test_what_does_not_follow_is_sent() -> None:
    sound = read_payload(encode(OLD, NEW) or b"")
    assert sound.old.table is not None
    assert sound.old.bitmap is not None
    assert sound.new.table is not None
    assert sound.new.bitmap is not None
    assert sound.new.table.seed
    new = bytearray(NEW)
    new[sound.new.table.entries + 4] ^= 1
    new[sound.new.bitmap.offset + 999] ^= 255
    payload = encode(OLD, bytes(new))
    assert payload is not None
    assert read_payload(payload).new.table is None
    assert read_payload(payload).new.bitmap == sound.new.bitmap
    assert read_payload(payload).moves
    assert decode(CDS.number, payload, OLD, len(new)) == new
    undrawn = archive(names(2000, more=9), drawn=False)
    payload = encode(OLD, undrawn)
    assert payload is not None
    table = read_payload(payload).new.table
    assert table is not None
    assert not table.seed
    assert decode(CDS.number, payload, OLD, len(undrawn)) == undrawn


def test_what_is_no_archive_has_no_payload() -> None:
    assert encode(b"text" * 99, NEW) is None
    assert encode(OLD, b"text" * 99) is None
    assert encode(OLD, NEW[:4] + bytes(5000)) is None
    elsewhere = NEW.replace(struct.pack("<Q", ADDRESS)[3:], struct.pack("<Q", ADDRESS * 2)[3:])
    assert encode(OLD, elsewhere) is None


def _payload(*numbers: int) -> bytes:
    return b"".join(map(pack_varint, numbers))


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"", "a truncated list of moves of pointers"),
        (_payload(0, 2, 1, 1, 1), "a truncated list of moves of pointers"),
        (_payload(0, 0, 1, 1, 1), "a truncated list of moves of pointers"),
        (_payload(0, 0, 0, 0, 0, 1, 1), "a truncated list of moves of pointers"),
        (_payload(0, 1 << 20), "1048576 moves of pointers, at most 262144 are allowed"),
        (_payload(0, 0, 0, 0, 0, 0), "a patch is cut short"),
        (
            _payload(0, 0, 1, 0, 64, 0, 64, 0, 1 << 18, 0, 1, 0, 0, 0),
            "a class data archive cannot be made (a symbol at",
        ),
        (_payload(0, 0, 0, 1, 0, 1 << 60, 0, 0), "a class data archive cannot be made (a bitmap of the words"),
        (
            _payload(0, 0, 0, 0, 0, 1, 7, 8) + patch(OLD, OLD[:99]),
            "a class data archive cannot be made (a bitmap of the words from byte 7 on at byte 8 of 99",
        ),
    ],
)
def test_a_damaged_payload_is_refused(payload: bytes, found: str) -> None:
    with pytest.raises(CorruptPayloadError) as refusal:
        CDS.decode(payload, OLD, 1000)
    assert str(refusal.value).startswith(found)


_PAYLOAD = encode(OLD, NEW) or b""


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=3))
@settings(deadline=None)
def test_a_changed_payload_is_refused_or_makes_a_bounded_content(changes: list[tuple[int, int]]) -> None:
    payload = bytearray(_PAYLOAD)
    for at, byte in changes:
        payload[at] = byte
    made, refusal = b"", ""
    try:
        made = decode(CDS.number, bytes(payload), OLD, len(NEW))
    except DeltaError as error:
        refusal = str(error)
    assert len(made) <= len(NEW)
    assert "\n" not in refusal
