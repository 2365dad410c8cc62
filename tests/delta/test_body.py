import io
import lzma
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.codecs import Effort, body_packing, packed_packing
from nixoci.delta.format.model import Header
from nixoci.delta.format.numbers import pack_varint, read_varint
from nixoci.delta.format.stream import LZMA, MAX_STREAMS, DeltaReader, DeltaWriter, Packing
from nixoci.errors import DeltaError
from nixoci.nix_store.nar import NarWriter
from nixoci.openat import open_below
from nixoci.streams import Data, ThreadedSink, read_fully
from tests.delta.trees import closure, delta, make, nar, rebuild, store_path

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


makers = st.sampled_from([*(lambda effort=effort: body_packing(effort) for effort in Effort), packed_packing])


bodies = st.one_of(st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=9).map(lambda part: part * 9000))


@given(st.lists(st.tuples(makers, bodies), min_size=1, max_size=MAX_STREAMS))
def test_what_several_streams_hold_is_joined(parts: list[tuple[object, bytes]]) -> None:
    made = stream(*((make(), data) for make, data in parts))  # type: ignore[operator]
    whole = b"".join(data for _, data in parts)
    assert read_body(made, len(whole)) == whole


def test_more_streams_than_there_may_be_are_refused() -> None:
    made = stream(*[(packed_packing(), b"a") for _ in range(MAX_STREAMS + 1)])
    with pytest.raises(DeltaError, match="goes on after the compressed streams"):
        read_body(made, MAX_STREAMS + 1)


def by_hand(payload: bytes) -> io.BytesIO:
    out = io.BytesIO()
    writer = DeltaWriter(out, packed_packing())
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


@given(st.integers(min_value=0, max_value=(1 << 70) - 1))
def test_a_number_is_read_as_it_was_written(value: int) -> None:
    assert read_varint(iter(pack_varint(value)).__next__) == value


def test_a_number_ends() -> None:
    with pytest.raises(OverflowError):
        read_varint(lambda: 0x80)


@given(st.binary(max_size=50), st.integers(min_value=1, max_value=60), st.integers(min_value=1, max_value=7))
def test_a_stream_that_gives_little_at_a_time_is_read_fully(data: bytes, count: int, step: int) -> None:
    source = io.BytesIO(data)
    assert read_fully(lambda limit: source.read(min(limit, step)), count) == data[:count]


@pytest.mark.parametrize("effort", Effort)
def test_packed_contents_travel_as_they_are(tmp_path: Path, effort: Effort) -> None:
    one, other = random.Random(1).randbytes(200_000), random.Random(2).randbytes(200_000)
    text = b"".join(b"line %d\n" % line for line in range(30_000))
    old = closure(tmp_path, {store_path("app-1", "a"): {b"a.gz": one, b"b.gz": one[:100_000], b"c": b"text"}})
    new = closure(tmp_path, {store_path("app-2", "b"): {b"a.gz": other, b"b.gz": one[:100_001] + b"!", b"z": text}})
    made, summary = delta(old, new, effort)
    assert summary.by["plain"].residue == len(other) + len(text)
    assert len(made) < len(other) + len(text) // 4
    path = store_path("app-2", "b")
    assert rebuild(made, tmp_path, tmp_path / "spool") == {path: nar(new.on_disk(path))[0]}
    assert delta(old, new, effort)[0] == made


def test_what_a_thread_writes_is_what_is_written_at_once(tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "tree"), {b"big": random.Random(3).randbytes(3_000_000), b"e": b"", b"d": {b"f": b"f"}})
    out = io.BytesIO()
    with ThreadedSink(out) as sink:
        writer = NarWriter(sink, limit=1 << 40, what="d")
        open_below(tmp_path / "tree", b"", writer.dump)
        sink.finish()
    made, _, size = nar(tmp_path / "tree")
    assert (out.getvalue(), writer.size) == (made, size)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))

    class Cutting:
        def write(self, data: Data) -> None:
            if len(data) > 1000:
                os.truncate(tmp_path / "file", 300_000)

    writer = NarWriter(Cutting(), limit=1 << 40, what="d")
    with pytest.raises(DeltaError, match=r"^d: a base file lacks 748576 of its 1048576 bytes; verify the store$"):
        open_below(tmp_path / "file", b"", writer.dump)


def test_a_thread_that_cannot_write_says_so() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, ThreadedSink(full) as sink:
        sink.write(b"data")
        with pytest.raises(OSError, match="No space"):
            sink.finish()
