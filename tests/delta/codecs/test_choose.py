import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs.choose import encode
from nixoci.delta.codecs.registry import decode
from nixoci.delta.codecs.splice import SPLICE
from nixoci.delta.effort import Effort
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
    assert len(payload) <= len(new)
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
