import hashlib
import os
from pathlib import Path

import pytest

from nixoci.delta.format.model import MAX_DEPTH
from nixoci.delta.scan import scan
from nixoci.errors import DeltaError
from tests.delta.trees import Spec, make


def nested(depth: int, inner: Spec) -> Spec:
    for _ in range(depth):
        inner = {b"d": inner}
    return inner


def test_a_tree_is_read_in_byte_order(tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "top"), {b"b": ("x", b"run"), b"\xff": {b"l": ("l", b"to")}, b"a": b"text", b"B": b""})
    top = scan(tmp_path / "top")
    nodes = {path: (node.kind, node.size, node.target) for path, node in top.walk()}
    assert list(nodes) == [b"", b"B", b"a", b"b", b"\xff", b"\xff/l"]
    assert nodes[b"b"] == (b"x", 3, b"")
    assert nodes[b"\xff/l"] == (b"l", 0, b"to")
    assert top.children[b"a"].segments == (hashlib.sha256(b"text").digest(),)
    assert top.children[b"B"].segments == (hashlib.sha256(b"").digest(),)


def test_a_file_has_a_hash_for_each_segment(tmp_path: Path) -> None:
    (tmp_path / "top").write_bytes(b"0123456789")
    segments = scan(tmp_path / "top", segment_size=4).segments
    assert segments == tuple(hashlib.sha256(part).digest() for part in (b"0123", b"4567", b"89"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"text", ("x", b"text")),
        (b"to", ("l", b"to")),
        ({b"a": b"1", b"b": b"2"}, {b"a": b"2", b"b": b"1"}),
        ({b"ab": {b"c": b""}}, {b"a": {b"bc": b""}}),
        ({}, b""),
    ],
)
def test_what_differs_has_another_digest(tmp_path: Path, one: Spec, other: Spec) -> None:
    for name, spec in (("one", one), ("again", one), ("other", other)):
        make(os.fsencode(tmp_path / name), spec)
    digests = [scan(tmp_path / name).digest for name in ("one", "again", "other")]
    assert digests[0] == digests[1] != digests[2]


def test_something_that_no_store_path_holds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    os.mkfifo(tmp_path / "top/pipe")
    with pytest.raises(DeltaError, match=r"top/pipe: no file, directory or symlink"):
        scan(tmp_path / "top")


def test_directories_are_not_deeper_than_a_delta_can_say(tmp_path: Path) -> None:
    make(os.fsencode(tmp_path / "deepest"), nested(MAX_DEPTH, b"x"))
    make(os.fsencode(tmp_path / "deeper"), nested(MAX_DEPTH + 1, b"x"))
    assert scan(tmp_path / "deepest").digest
    with pytest.raises(DeltaError, match="more than 256 directories inside each other"):
        scan(tmp_path / "deeper")
