"""The wire format by which tests of the host speak to Kubernetes' plugin."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.protobuf import decode, encode


def test_examples_of_the_specification() -> None:
    """protobuf.dev, Encoding."""
    assert encode({1: 150}) == bytes.fromhex("089601")
    assert encode({2: "testing"}) == bytes.fromhex("120774657374696e67")
    assert encode({3: {1: 150}}) == bytes.fromhex("1a03089601")
    assert decode(bytes.fromhex("089601120774657374696e671a03089601")) == {
        1: [150],
        2: [b"testing"],
        3: [b"\x08\x96\x01"],
    }
    assert decode(bytes.fromhex("0d0100000009" + "02" + "00" * 7)) == {1: [b"\1\0\0\0", b"\2" + bytes(7)]}


@given(st.dictionaries(st.integers(1, 2**20), st.lists(st.binary(max_size=300), min_size=1, max_size=3), max_size=5))
def test_fields_are_read_as_they_were_written(fields: dict[int, list[bytes]]) -> None:
    assert decode(b"".join(encode({number: value}) for number, values in fields.items() for value in values)) == fields


@given(st.dictionaries(st.integers(1, 100), st.integers(0, 2**63), max_size=5))
def test_numbers_are_read_as_they_were_written(numbers: dict[int, int]) -> None:
    assert decode(encode(dict(numbers))) == {number: [value] for number, value in numbers.items()}
