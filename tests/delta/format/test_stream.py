import io
import lzma
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.effort import Effort, body_packing, incompressible_packing
from nixoci.delta.format.model import Header
from nixoci.delta.format.stream import LZMA, MAX_STREAMS, DeltaReader, DeltaWriter, Packing
from nixoci.errors import DeltaError

NOTHING = Header(roots=(), bases=(), paths=(), predecessors=())


def stream(*parts: tuple[Packing, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    writer = DeltaWriter(out, parts[0][0])
    writer.header(NOTHING)
    for number, (packing, data) in enumerate(parts):
        if number:
            writer.change(packing)
        writer.write(data)
    writer.finish()
    out.seek(0)
    return out


def read_body(source: io.BytesIO, size: int) -> bytes:
    reader = DeltaReader(source.read, what="d")
    reader.header()
    data = reader.read(size)
    reader.finish()
    return data


makers = st.sampled_from([*(lambda effort=effort: body_packing(effort) for effort in Effort), incompressible_packing])


bodies = st.one_of(st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=9).map(lambda part: part * 9000))


@given(st.lists(st.tuples(makers, bodies), min_size=1, max_size=4))
@settings(max_examples=50)
def test_what_several_streams_hold_is_joined(parts: list[tuple[object, bytes]]) -> None:
    made = stream(*((make(), data) for make, data in parts))  # type: ignore[operator]
    whole = b"".join(data for _, data in parts)
    assert read_body(made, len(whole)) == whole


def test_more_streams_than_there_may_be_are_refused() -> None:
    assert read_body(stream(*[(incompressible_packing(), b"a") for _ in range(MAX_STREAMS)]), MAX_STREAMS)
    made = stream(*[(incompressible_packing(), b"a") for _ in range(MAX_STREAMS + 1)])
    with pytest.raises(DeltaError, match="goes on after the compressed streams"):
        read_body(made, MAX_STREAMS + 1)


def by_hand(payload: bytes) -> io.BytesIO:
    out = io.BytesIO()
    writer = DeltaWriter(out, incompressible_packing())
    writer.header(NOTHING)
    writer.raw(payload)
    writer.finish()
    out.seek(0)
    return out


def test_a_body_of_no_known_kind_is_refused() -> None:
    with pytest.raises(DeltaError, match="no known kind"):
        read_body(by_hand(b"plain text"), 1)


def test_a_dictionary_that_would_take_too_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]
    packed = lzma.compress(b"a" * 99, lzma.FORMAT_RAW, filters=filters)
    assert read_body(by_hand(LZMA + b"\x10" + packed), 99) == b"a" * 99
    with pytest.raises(DeltaError, match=r"a dictionary of 2\^28 bytes"):
        read_body(by_hand(LZMA + b"\x1c" + packed), 99)


@pytest.mark.parametrize("effort", Effort)
def test_little_is_not_larger_than_it_is(effort: Effort) -> None:
    data = random.Random(9).randbytes(40)
    frame = 1 + 8
    assert len(stream((body_packing(effort), data)).read()) == len(b"nxd\1") + frame + len(b"\x06\0\0\1") + 2 + len(
        data
    )
