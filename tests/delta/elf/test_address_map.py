from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.elf import address_map
from nixoci.delta.elf.address_map import AddressMap
from nixoci.delta.elf.covers import Covers
from nixoci.delta.elf.layout import Layout
from nixoci.delta.elf.steps import Steps
from tests.delta.elf import plain

small = st.integers(min_value=0, max_value=60)
Segments = tuple[tuple[int, int, int, int], ...]


@st.composite
def segments(draw: st.DrawFn) -> Segments:
    """Return segments with their lowest address at zero, of which parts in the file may overlap."""
    found: list[tuple[int, int, int, int]] = []
    address = 0
    for gap, offset, held, more in draw(st.lists(st.tuples(small, small, small, small), min_size=1, max_size=4)):
        address += gap if found else 0
        found.append((address, offset, held, held + more + 1))
        address += held + more + 1
    return tuple(found)


def layout(parts: Segments) -> Layout:
    return Layout(machine=0, fixed=False, low=0, segments=parts, sections={}, headers=())


def plain_file(parts: Segments) -> plain.File:
    file = plain.File.__new__(plain.File)
    file.segments = list(parts)
    file.file_end = parts[-1][0] + parts[-1][2]
    return file


@pytest.mark.parametrize("most", [address_map._MAX_STEPS, 0])
@given(
    old=segments(),
    new=segments(),
    covers=st.lists(st.tuples(small, small, small), max_size=5),
    corrections=st.dictionaries(st.integers(min_value=0, max_value=400), st.integers(min_value=-99, max_value=99)),
)
def test_it_is_that_of_the_text(
    most: int, old: Segments, new: Segments, covers: list[tuple[int, int, int]], corrections: dict[int, int]
) -> None:
    """Also where there are more steps than are looked up in a table, which no real file has."""
    known = sorted(corrections)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address_map, "_MAX_STEPS", most)
        move = AddressMap(Covers.of(covers), layout(old), layout(new))
    move.exact = np.array(known, np.int64), np.array([corrections[one] for one in known], np.int64)
    named = [one for one in covers if one[2]]
    payload = SimpleNamespace(covers=named, corrections=corrections)
    expected = plain.address_map(payload, plain_file(old), plain_file(new))  # type: ignore[arg-type]
    addresses = range(-20, 600)
    assert move(np.array(addresses, np.int64)).tolist() == [expected(one) for one in addresses]


@pytest.mark.parametrize("most", [1 << 41, 1 << 20])
@given(st.data())
def test_a_number_gets_what_belongs_to_the_last_step_before_it(most: int, data: st.DataObject) -> None:
    numbers = st.integers(min_value=-most, max_value=most)
    at = sorted(data.draw(st.lists(numbers, min_size=1, unique=True)))
    others = sorted(data.draw(st.lists(numbers, max_size=5)))
    size = data.draw(st.sampled_from([7, 1 << 40]))
    near = [*data.draw(st.lists(numbers)), *at, *others, *(step - 1 for step in at)]
    added, more = size * np.arange(len(at) + 1), 3 + np.arange(len(others))
    steps = Steps(np.array(at, np.int64), added, np.array(others, np.int64), more)
    expected = [
        size * sum(step <= number for step in at) + (3 + others.index(number) if number in others else 0)
        for number in near
    ]
    assert steps.added(np.array(near, np.int64)).tolist() == expected
    if most < 1 << 31:
        assert steps.added(np.array(near, np.int32)).tolist() == expected
