import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs import Codec, Effort, decode, encode
from nixoci.errors import DeltaError

parts = st.lists(
    st.sampled_from([b"", b"a", b"ab", b"common part\n", bytes(100), random.Random(1).randbytes(300)]), max_size=6
)
contents = parts.map(b"".join) | st.binary(max_size=50)


@given(contents, contents, st.sampled_from(Effort), st.booleans())
@example(old=b"aaaa", new=b"aaaaaa", effort=Effort.DEFAULT, packed=False)
@example(old=b"x" * 70_000, new=b"x" * 70_001, effort=Effort.DEFAULT, packed=True)
@settings(deadline=None)
def test_what_was_coded_is_decoded(old: bytes, new: bytes, effort: Effort, packed: bool) -> None:
    codec, residue = encode(new, old, effort, packed=packed)
    assert decode(codec, residue, old, len(new)) == new
    assert len(residue) <= len(new)
    if new:
        with pytest.raises(DeltaError):
            decode(codec, residue, old, len(new) - 1)


@given(st.binary(max_size=20), st.integers(min_value=0, max_value=140_000), st.integers(min_value=0, max_value=99))
def test_one_changed_place_costs_what_is_there(change: bytes, start: int, removed: int) -> None:
    old = random.Random(3).randbytes(140_000)
    new = old[:start] + change + old[start + removed :]
    for effort in Effort:
        codec, residue = encode(new, old, effort)
        assert codec is Codec.SPLICE
        assert len(residue) <= len(change) + 4
        assert decode(codec, residue, old, len(new)) == new


@given(st.sampled_from(list(Codec)), st.binary(max_size=40))
def test_any_residue_is_decoded_or_refused(codec: Codec, residue: bytes) -> None:
    made, refusal = b"", ""
    try:
        made = decode(codec, residue, b"an old content " * 9, 1000)
    except DeltaError as error:
        refusal = str(error)
    assert len(made) <= 1000
    assert "\n" not in refusal


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(DeltaError, match="codec 9 is not known"):
        decode(9, b"", b"", 1)
