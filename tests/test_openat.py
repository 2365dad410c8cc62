import os
from pathlib import Path

import pytest

from nixoci.errors import DeltaError
from nixoci.openat import Below
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
    with Below() as below:
        for root, path in wanted:
            below.act(root, path, read)
        below.act(tmp_path / "file", b"", read)
        below.act(one, b"h", read)
    assert seen[:7] == [os.fsencode(root.name) + path.replace(b"/", b"") for root, path in wanted]
    assert seen[7:] == [b"file", b"oneh"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_symlink_is_followed_and_the_next_path_is_still_found(tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "out"), {b"f": b"secret"})
    make(os.fsencode(tmp_path / "root"), {b"l": ("l", b"../out"), b"d": {b"f": b"own"}})
    seen.clear()
    with Below() as below:
        for path in (b"l/f", b"../out/f", b"d/none", b"d/f/x"):
            with pytest.raises(DeltaError):
                below.act(tmp_path / "root", path, read)
        below.act(tmp_path / "root", b"d/f", read)
    assert seen == [b"own"]
