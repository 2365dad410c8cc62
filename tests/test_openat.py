import gc
import os
import tracemalloc
from pathlib import Path

import pytest

from nixoci.errors import StoreError
from nixoci.openat import TreeOpener, read_below
from tests.delta.trees import make


def read(handle: int) -> None:
    seen.append(os.read(handle, 99))


seen: list[bytes] = []


def test_paths_of_several_roots_are_opened_in_any_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        name = os.fsencode(root.name)
        make(os.fsencode(root), {b"a": {b"b": {b"f": name + b"abf"}, b"g": name + b"ag"}, b"h": name + b"h"})
    make(os.fsencode(tmp_path / "file"), b"file")
    wanted = [(one, b"a/b/f"), (one, b"a/g"), (one, b"h"), (one, b"a/b/f"), (two, b"a/b/f"), (two, b"h"), (one, b"a/g")]
    seen.clear()
    before = len(os.listdir("/proc/self/fd"))
    with TreeOpener() as opener:
        for root, path in wanted:
            opener.open(root, path, read)
        opener.open(tmp_path / "file", b"", read)
        opener.open(one, b"h", read)
    assert seen[:7] == [os.fsencode(root.name) + path.replace(b"/", b"") for root, path in wanted]
    assert seen[7:] == [b"file", b"oneh"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_symlink_is_followed_and_the_next_path_is_still_found(tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "out"), {b"f": b"secret"})
    make(os.fsencode(tmp_path / "root"), {b"l": ("l", b"../out"), b"d": {b"f": b"own"}})
    seen.clear()
    with TreeOpener() as opener:
        for path in (b"l/f", b"../out/f", b"d/none", b"d/f/x"):
            with pytest.raises(StoreError):
                opener.open(tmp_path / "root", path, read)
        opener.open(tmp_path / "root", b"d/f", read)
    assert seen == [b"own"]


def test_data_are_let_go_of_when_they_were_used(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big/file").write_bytes(bytes(8 << 20))
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(8):
            read_below(tmp_path / "big", b"file", 0, 64 << 20)
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
    finally:
        tracemalloc.stop()
        gc.enable()


def test_a_range_of_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(b"0123456789")
    assert read_below(tmp_path / "root", b"", 3, 4) == b"3456"
    assert read_below(tmp_path / "root", b"", 8, 4) == b"89"
    assert read_below(tmp_path / "root", b"", 10, 4) == b""


def test_a_small_file_takes_no_more_memory_than_it_has_bytes(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    tracemalloc.start()
    try:
        assert read_below(tmp_path / "small", b"", 0, 64 << 20) == b"small"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_directory_is_no_file_that_can_be_read(tmp_path: Path) -> None:
    for offset in (0, 1 << 20):
        with pytest.raises(StoreError, match=r"'' cannot be read \(Is a directory\)"):
            read_below(tmp_path, b"", offset, 9)
