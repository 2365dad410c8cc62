import random
from dataclasses import replace

import hdiffpatch
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixoci.delta.codecs.hdiff13 import MAGIC, Cover, Patch, pack_patch, pieces, read_patch, without_start

_RANDOM = random.Random(2).randbytes(3000)
_PARTS = [
    *[b"", b"a", b"words of a text\n", bytes(300), b"\xff" * 90, _RANDOM[:700], _RANDOM[1000:1100]],
    bytes(byte + 1 & 0xFF for byte in _RANDOM[:700]),
    bytes(byte + number % 3 & 0xFF for number, byte in enumerate(_RANDOM)),
    b"\x07" * 80,
]
contents = st.lists(st.sampled_from(_PARTS), max_size=6).map(b"".join)
numbers = st.integers(min_value=0, max_value=1 << 40)


def diff(old: bytes, new: bytes) -> bytes:
    return hdiffpatch.diff(old, new, validate=False)


@given(contents, contents)
@settings(deadline=None)
def test_a_patch_of_hdiffpatch_is_read_and_packed_again(old: bytes, new: bytes) -> None:
    made = diff(old, new)
    patch = read_patch(made)
    assert (patch.new_size, patch.old_size) == (len(new), len(old))
    assert len(patch.inserted) + sum(cover.length for cover in patch.covers) == len(new)
    assert pack_patch(patch) == made


@given(
    numbers,
    numbers,
    st.lists(st.tuples(numbers, numbers, numbers).map(lambda three: Cover(*three)), max_size=5),
    st.binary(max_size=9),
    st.binary(max_size=9),
)
def test_any_patch_that_was_packed_is_read(
    new_size: int, old_size: int, covers: list[Cover], control: bytes, inserted: bytes
) -> None:
    ordered, end = [], 0
    for old, gap, length in covers:
        ordered.append(Cover(old, end + gap, length))
        end += gap + length
    patch = Patch(
        new_size=new_size, old_size=old_size, covers=ordered, control=control, runs=inserted[::-1], inserted=inserted
    )
    assert read_patch(pack_patch(patch)) == patch


@given(contents, contents, st.data())
@example(old=_PARTS[5], new=_PARTS[7], data=None)
@settings(deadline=None)
def test_a_patch_without_its_start_makes_the_rest(old: bytes, new: bytes, data: st.DataObject | None) -> None:
    size = data.draw(st.integers(min_value=0, max_value=len(new))) if data is not None else 100
    rest = without_start(read_patch(diff(old, new)), size)
    assert hdiffpatch.apply(old, pack_patch(rest)) == new[size:]


@given(contents, contents, st.integers(min_value=1, max_value=4000))
@example(old=_PARTS[5], new=_PARTS[7], size=100)
@example(old=bytes(1000), new=b"\x07" * 1000, size=300)
@settings(deadline=None)
def test_pieces_of_a_patch_make_one_part_after_another(old: bytes, new: bytes, size: int) -> None:
    parts = pieces(diff(old, new).removeprefix(MAGIC), size, 1 << 20)
    assert parts is not None
    made = [hdiffpatch.apply(old, pack_patch(part)) for part in parts]
    assert made == [new[start : start + size] for start in range(0, len(new), size)]


def test_a_patch_that_tells_more_than_is_allowed_has_no_pieces() -> None:
    payload = diff(_RANDOM, _RANDOM[500:] + _RANDOM[:500]).removeprefix(MAGIC)
    patch = read_patch(MAGIC + payload)
    told = len(payload) - len(pack_patch(replace(patch, covers=[], control=b""))) + len(MAGIC)
    assert pieces(payload, 100, told) is not None
    assert pieces(payload, 100, told - 1) is None


@pytest.mark.parametrize(
    "change",
    [
        {"new_size": 3001},
        {"covers": [Cover(0, 0, 2999)]},
        {"covers": [Cover(0, 4000, 3000)]},
        {"covers": [Cover(0, 0, 1 << 65)]},
        {"covers": [Cover(1, 0, 3000)]},
        {"control": b""},
    ],
)
def test_pieces_of_a_damaged_patch_are_refused(change: dict[str, object]) -> None:
    patch = replace(read_patch(diff(_RANDOM, _RANDOM)), **change)  # type: ignore[arg-type]
    payload = pack_patch(patch).removeprefix(MAGIC)
    with pytest.raises((ValueError, IndexError, hdiffpatch.HDiffPatchError)):
        _ = [hdiffpatch.apply(_RANDOM, pack_patch(part)) for part in pieces(payload, 1000, 1 << 20) or ()]


def test_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="a patch that starts with b'BSDIFF40x'"):
        read_patch(b"BSDIFF40x")
