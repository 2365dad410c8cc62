import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.elf.numbers import fold, pack_column, unfold, unpack_column
from nixoci.delta.format.numbers import pack_varint

numbers = st.lists(st.integers(min_value=0, max_value=(1 << 35) - 1), max_size=50)


@given(numbers)
def test_a_column_is_its_numbers_one_after_another(values: list[int]) -> None:
    packed = pack_column(np.array(values, np.int64))
    assert packed == b"".join(map(pack_varint, values))
    assert unpack_column(packed, len(values)).tolist() == values


@given(st.lists(st.integers(min_value=-(1 << 34), max_value=(1 << 34) - 1), max_size=50))
def test_signed_numbers_are_folded(values: list[int]) -> None:
    folded = fold(np.array(values, np.int64))
    assert all(number >= 0 for number in folded.tolist())
    assert unfold(folded).tolist() == values


@pytest.mark.parametrize("data", [b"\x80", b"\1\xff", b"\xff" * 5 + b"\1", b"\1\1\1"])
def test_a_damaged_column_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="column"):
        unpack_column(data, 2)


def test_a_column_of_too_many_numbers_takes_no_memory_for_them() -> None:
    column = bytes(1 << 22)
    tracemalloc.start()
    with pytest.raises(ValueError, match="a column of 4194304 bytes with 4194304 numbers"):
        unpack_column(column, 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(column)


@given(st.binary(max_size=30))
def test_any_column_is_read_or_refused(data: bytes) -> None:
    try:
        values = unpack_column(data, 20)
    except ValueError:
        return
    assert len(values) <= 20
    assert all(0 <= value < 1 << 35 for value in values.tolist())
