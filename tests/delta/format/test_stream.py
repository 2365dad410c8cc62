import io
import lzma
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixoci.delta.effort import Effort, body_packing, incompressible_packing
from nixoci.delta.format.model import NEWEST, Header
from nixoci.delta.format.start import MAGIC, version_of
from nixoci.delta.format.stream import LZMA, MAX_STREAMS, DeltaReader, DeltaWriter, Packing, pack_start
from nixoci.errors import DeltaError, UnsupportedVersionError
from nixoci.streams import read_fully

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


def of_versions(parts: list[tuple[int, bytes]], newest: int) -> bytes:
    """Return a stream of parts of the body, each with the version that it needs."""
    out = io.BytesIO()
    with DeltaWriter(out, incompressible_packing(), newest=newest) as writer:
        writer.header(NOTHING)
        for version, data in parts:
            writer.need(version)
            writer.write(data)
        writer.finish()
    assert writer.size == len(out.getvalue())
    return out.getvalue()


@given(st.lists(st.tuples(st.sampled_from([1, 2]), bodies), max_size=4), st.sampled_from([0, 1, 8 << 20]))
def test_a_stream_is_of_the_oldest_version_that_has_its_parts(parts: list[tuple[int, bytes]], held: int) -> None:
    whole = b"".join(data for _, data in parts)
    needed = max((version for version, _ in parts), default=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nixoci.delta.format.stream._MAX_HELD", held)
        made = of_versions(parts, 2)
    assert DeltaReader(io.BytesIO(made).read, what="d").version == needed
    assert read_body(io.BytesIO(made), len(whole)) == whole
    if needed == 1:  # the same as from a writer that has no newer version
        assert made == of_versions(parts, 1)


def test_nothing_is_held_back_once_the_version_is_known() -> None:
    out = io.BytesIO()
    with DeltaWriter(out, incompressible_packing(), newest=2) as writer:
        writer.header(NOTHING)
        assert not out.getvalue()
        writer.need(2)
        assert out.getvalue() == pack_start(2)
    assert pack_start(2) == b"nxd\2\0050.2.0"


def start_of_version_1(read: Callable[[int], bytes], what: str) -> None:
    """Read the start of a stream as the receiver of version 1 does: `DeltaReader.__init__` of nixoci 0.1.0."""
    magic = read_fully(read, 3)
    if magic != b"nxd":
        raise DeltaError(f"{what}: not a nixoci delta: it starts with {magic!r}")
    version = read_fully(read, 1)[0]
    if version != 1:
        raise UnsupportedVersionError(f"{what}: version {version} of the format, this nixoci reads 1; update it")


def test_a_receiver_of_version_1_reads_what_needs_no_more_and_refuses_the_rest_by_name() -> None:
    start_of_version_1(io.BytesIO(of_versions([(1, b"a")], NEWEST)).read, "d")
    with pytest.raises(UnsupportedVersionError, match="d: version 2 of the format, this nixoci reads 1; update it"):
        start_of_version_1(io.BytesIO(of_versions([(2, b"a")], NEWEST)).read, "d")


@pytest.mark.parametrize("start", [MAGIC, MAGIC + b"\2", MAGIC + b"\2\x050.2", MAGIC + b"\2\xff0.2.0", MAGIC + b"\0"])
def test_a_damaged_start_is_refused(start: bytes) -> None:
    with pytest.raises(DeltaError, match="damaged delta"):
        DeltaReader(io.BytesIO(start).read, what="d")


def test_the_first_bytes_tell_the_version() -> None:
    assert [version_of(pack_start(version)[:4]) for version in range(1, NEWEST + 1)] == list(range(1, NEWEST + 1))
    assert [version_of(start) for start in (b"", MAGIC, MAGIC[:2], b"abc\x02")] == [0] * 4
