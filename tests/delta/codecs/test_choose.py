import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixoci.delta.cds.codec import CDS_MAGIC
from nixoci.delta.codecs.choose import encode, estimated_size, needed_memory
from nixoci.delta.codecs.elf import ELF_MAGIC
from nixoci.delta.codecs.hdiff import patch
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.splice import SPLICE, splice
from nixoci.delta.effort import Effort, body_packing
from nixoci.delta.recompress.streams import ZIP_MEMBER
from nixoci.errors import DeltaError

parts = st.lists(
    st.sampled_from([b"", b"a", b"ab", b"common part\n", bytes(100), random.Random(1).randbytes(300)]), max_size=6
)
_OLD = random.Random(3).randbytes(140_000)

contents = parts.map(b"".join) | st.binary(max_size=50)


@given(contents, contents, st.sampled_from(Effort), st.booleans())
@example(old=b"aaaa", new=b"aaaaaa", effort=Effort.DEFAULT, incompressible=False)
@example(old=b"x" * 70_000, new=b"x" * 70_001, effort=Effort.DEFAULT, incompressible=True)
@settings(deadline=None)
def test_what_was_coded_is_decoded(old: bytes, new: bytes, effort: Effort, incompressible: bool) -> None:
    codec, payload = encode(new, old, effort, incompressible=incompressible)
    assert decode(codec.number, payload, old, len(new)) == new
    assert estimated_size(payload) <= estimated_size(new) + 64
    if new:
        with pytest.raises(DeltaError):
            decode(codec.number, payload, old, len(new) - 1)


@given(st.binary(max_size=20), st.integers(min_value=0, max_value=140_000), st.integers(min_value=0, max_value=99))
def test_one_changed_place_costs_what_is_there(change: bytes, start: int, removed: int) -> None:
    old = _OLD
    new = old[:start] + change + old[start + removed :]
    for effort in Effort:
        codec, payload = encode(new, old, effort)
        assert codec is SPLICE
        assert len(payload) <= len(change) + 4
        assert decode(codec.number, payload, old, len(new)) == new


def test_the_smallest_after_compression_is_chosen() -> None:
    """A patch of many lines of few words takes fewer bytes than one replacement, and compresses worse."""
    rng = random.Random(1)
    words = [rng.randbytes(4).hex().encode() for _ in range(30)]
    kept = [b" ".join(rng.choices(words, k=6)) for _ in range(40)]
    lines = [b" ".join(rng.choices(words[:5], k=6)) for _ in range(30)]
    old, new = b"\n".join(kept), b"\n".join([*kept[:20], *lines, *kept[21:]])
    spliced, patched = splice(old, new)[0], patch(old, new)
    assert len(patched) < len(spliced)
    assert in_body(spliced) < in_body(patched)
    assert encode(new, old, Effort.DEFAULT) == (SPLICE, spliced)


@given(contents, contents, st.sampled_from(Effort), st.integers(min_value=0, max_value=40))
@example(old=b"x" * 90, new=b"y" * 90, effort=Effort.DEFAULT, limit=10)
def test_no_patch_exceeds_the_limit(old: bytes, new: bytes, effort: Effort, limit: int) -> None:
    assert len(encode(new, old, effort, limit=limit).payload) <= max(limit, len(new))


def in_body(payload: bytes) -> int:
    """Return the bytes of a payload in a body of its own."""
    compressor = body_packing(Effort.DEFAULT).compressor()
    return len(compressor.compress(payload) + compressor.flush())


def test_what_is_counted_for_a_content_follows_its_format() -> None:
    half = 10 << 20
    counted = {
        start: needed_memory(start, half, half, Effort.DEFAULT) for start in (ELF_MAGIC, CDS_MAGIC, ZIP_MEMBER, b"text")
    }
    assert counted[b"text"] < counted[ELF_MAGIC] < counted[ZIP_MEMBER] < counted[CDS_MAGIC]
    assert needed_memory(ELF_MAGIC, 8 * half, 8 * half, Effort.DEFAULT) == needed_memory(
        b"text", 8 * half, 8 * half, Effort.DEFAULT
    )
    assert needed_memory(ELF_MAGIC, half, half, Effort.FAST) == needed_memory(b"text", half, half, Effort.FAST)
    assert needed_memory(ELF_MAGIC, 0, half, Effort.DEFAULT) == half
