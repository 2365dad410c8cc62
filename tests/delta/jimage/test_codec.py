from __future__ import annotations

import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs.choose import encode as choose
from nixoci.delta.codecs.formats import JIMAGE
from nixoci.delta.codecs.hdiff import patch
from nixoci.delta.codecs.model import CorruptPayloadError
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.source import Held
from nixoci.delta.effort import Effort
from nixoci.delta.format.numbers import pack_text
from nixoci.delta.jimage.codec import encode
from nixoci.delta.jimage.index import HEAD, index_size, shorten
from nixoci.errors import DeltaError
from tests.delta.jimage.samples import modules, resources

OLD, NEW = (modules(resources(900, grown=grown)) for grown in (0, 1))


def test_a_file_of_modules_costs_less_than_its_patch() -> None:
    codec, payload = choose(NEW, OLD, Effort.DEFAULT)
    assert codec is JIMAGE
    assert decode(JIMAGE.number, payload, OLD, len(NEW)) == NEW
    assert len(lzma.compress(payload)) < len(lzma.compress(patch(OLD, NEW))) / 4
    with pytest.raises(DeltaError):
        decode(JIMAGE.number, payload, OLD, len(NEW) - 1)


def test_what_has_no_index_that_is_made_again_has_no_payload() -> None:
    assert encode(Held(b"text"), Held(NEW)) is None
    assert encode(Held(OLD), Held(b"text")) is None
    assert encode(Held(OLD), Held(NEW[:40])) is None
    count = int.from_bytes(NEW[16:20], "little")
    padded = bytearray(NEW)
    padded[index_size(NEW[:HEAD]) - 1 - int.from_bytes(NEW[24:28], "little")] = 1  # the last byte before the strings
    assert encode(Held(OLD), Held(bytes(padded))) is None
    swapped = bytearray(NEW)
    swapped[28 : 28 + 4 * count] = NEW[28 : 28 + 4 * count][::-1]
    assert encode(Held(OLD), Held(bytes(swapped))) is None


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"", "a truncated index of modules"),
        (b"\x80", "a truncated index of modules"),
        (b"\0", "a patch is cut short"),
        (pack_text(patch(shorten(OLD), b"text")), "an index of modules cannot be made (an index of 4 bytes)"),
    ],
)
def test_a_damaged_payload_is_refused(payload: bytes, found: str) -> None:
    with pytest.raises(CorruptPayloadError) as refusal:
        JIMAGE.decode(payload, OLD, 1000)
    assert str(refusal.value).startswith(found)


def test_an_old_segment_without_an_index_is_refused() -> None:
    with pytest.raises(DeltaError, match=r"an index of modules cannot be made \(an index of"):
        decode(JIMAGE.number, encode(Held(OLD), Held(NEW)) or b"", b"text" * 99, len(NEW))


_PAYLOAD = encode(Held(OLD), Held(NEW)) or b""


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), min_size=1, max_size=3))
@settings(deadline=None)
def test_a_changed_payload_is_refused_or_makes_a_bounded_content(changes: list[tuple[int, int]]) -> None:
    payload = bytearray(_PAYLOAD)
    for at, byte in changes:
        payload[at % len(payload)] = byte
    made, refusal = b"", ""
    try:
        made = decode(JIMAGE.number, bytes(payload), OLD, len(NEW))
    except DeltaError as error:
        refusal = str(error)
    assert len(made) <= len(NEW)
    assert "\n" not in refusal
