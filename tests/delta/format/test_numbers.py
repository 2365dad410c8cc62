import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.format.numbers import pack_varint, read_varint


@given(st.integers(min_value=0, max_value=(1 << 70) - 1))
def test_a_number_is_read_as_it_was_written(value: int) -> None:
    assert read_varint(iter(pack_varint(value)).__next__) == value


def test_a_number_ends() -> None:
    with pytest.raises(OverflowError):
        read_varint(lambda: 0x80)
