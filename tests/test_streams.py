import io
import os
import random
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.nix_store.nar import NarWriter
from nixoci.openat import open_below
from nixoci.streams import ThreadedSink, read_fully
from tests.delta.trees import make, nar


@given(st.binary(max_size=50), st.integers(min_value=1, max_value=60), st.integers(min_value=1, max_value=7))
def test_a_stream_that_gives_little_at_a_time_is_read_fully(data: bytes, count: int, step: int) -> None:
    source = io.BytesIO(data)
    assert read_fully(lambda limit: source.read(min(limit, step)), count) == data[:count]


def test_what_a_thread_writes_is_what_is_written_at_once(tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "tree"), {b"big": random.Random(3).randbytes(3_000_000), b"e": b"", b"d": {b"f": b"f"}})
    out = io.BytesIO()
    with ThreadedSink(out) as sink:
        writer = NarWriter(sink, limit=1 << 40, what="d")
        open_below(tmp_path / "tree", b"", writer.dump)
        sink.finish()
    made, _, size = nar(tmp_path / "tree")
    assert (out.getvalue(), writer.size) == (made, size)


def test_a_thread_that_is_slow_keeps_no_large_data() -> None:
    class Slow:
        def write(self, data: bytes | memoryview, /) -> None:
            sizes.append(len(data))
            time.sleep(0.01)

    sizes: list[int] = []
    tracemalloc.start()
    with ThreadedSink(Slow()) as sink:
        for _ in range(3):
            sink.write(bytes(8 << 20))
            assert tracemalloc.get_traced_memory()[0] < 6 << 20
        sink.finish()
    tracemalloc.stop()
    assert sum(sizes) == 24 << 20


def test_a_thread_that_cannot_write_says_so() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, ThreadedSink(full) as sink:
        sink.write(b"data")
        with pytest.raises(OSError, match="No space"):
            sink.finish()
