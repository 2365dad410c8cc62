import io
import os
from pathlib import Path

import pytest

from nixoci.delta.assemble import Assembler, Bases
from nixoci.delta.format.model import MAX_DEPTH
from nixoci.delta.format.recipe import Copy, Directory, Drop, File, Node, OldNode, OldSegment, Symlink
from nixoci.delta.rewrite import Rewriter
from nixoci.errors import DeltaError, NixociError
from nixoci.nix_store.nar import NarWriter
from nixoci.openat import TreeOpener
from tests.delta.trees import Spec, make, nar, store_path

OLD, NEW = store_path("lib-1.0", "a"), store_path("lib-1.1", "b")
BASE: Spec = {
    b"bin": {b"run": ("x", OLD.encode() + b"/sh"), b"link": ("l", OLD.encode())},
    b"text": b"0123456789",
    b"z": b"last",
}
TOP = OldNode(0, b"")
CONTENTS = [b"content", b"4567"]


def assembled(folder: Path, node: Node) -> bytes:
    if not (folder / "base").exists():
        make(os.fsencode(folder / "base"), BASE)
    out = io.BytesIO()
    with TreeOpener() as opener:
        bases = Bases([folder / "base"], Rewriter([(OLD, NEW)], segment_size=4), opener)
        Assembler(NarWriter(out, limit=1 << 20, what="it"), bases, CONTENTS.__getitem__).write(node)
    return out.getvalue()


@pytest.mark.parametrize(
    ("node", "spec"),
    [
        (Copy(TOP, rewritten=False), BASE),
        (Copy(OldNode(0, b"bin/link"), rewritten=True), ("l", NEW.encode())),
        (Symlink(b"to"), ("l", b"to")),
        (File(True, None, [0]), ("x", b"content")),
        (File(False, 0, []), b""),
        (File(False, 10, [OldSegment(OldNode(0, b"text"), 0), 1, OldSegment(OldNode(0, b"text"), 2)]), b"0123456789"),
        (Directory([]), {}),
        (
            Directory([(b"a", Directory([(b"b", Symlink(b"c"))])), (b"d", Symlink(b"e"))]),
            {b"a": {b"b": ("l", b"c")}, b"d": ("l", b"e")},
        ),
        (Directory([], "copy", TOP), BASE),
        (
            Directory(
                [(b"a", Symlink(b"first")), (b"bin", Drop()), (b"none", Drop()), (b"z", File(False, None, [1]))],
                "copy",
                TOP,
            ),
            {b"a": ("l", b"first"), b"text": b"0123456789", b"z": b"4567"},
        ),
        (
            Directory([(b"run", Symlink(b"/x"))], "rewrite", OldNode(0, b"bin")),
            {b"run": ("l", b"/x"), b"link": ("l", NEW.encode())},
        ),
    ],
)
def test_a_node_becomes_its_nar(tmp_path: Path, node: Node, spec: Spec) -> None:
    make(os.fsencode(tmp_path / "expected"), spec)
    assert assembled(tmp_path, node) == nar(tmp_path / "expected")[0]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (File(False, 5, [1]), "a file's segments have 4 bytes, expected 5"),
        (File(False, 3, [1]), "a file's segments have 4 bytes, expected 3"),
        (Copy(OldNode(0, b"no"), rewritten=False), "cannot be read"),
        (Copy(OldNode(0, b"bin/link/etc"), rewritten=False), "cannot be read"),
        (Copy(OldNode(0, b"../base"), rewritten=False), "not a path inside"),
        (Directory([], "copy", OldNode(0, b"text")), "cannot be read"),
    ],
)
def test_what_does_not_fit_its_bases_is_refused(tmp_path: Path, node: Node, message: str) -> None:
    with pytest.raises(NixociError, match=message):
        assembled(tmp_path, node)


def test_a_recipe_as_deep_as_it_may_be_over_a_base_as_deep(tmp_path: Path) -> None:
    spec: Spec = b"x"
    for _ in range(200):
        spec = {b"d": spec}
    make(os.fsencode(tmp_path / "base"), spec)
    node: Node = Copy(TOP, rewritten=False)
    for _ in range(MAX_DEPTH):
        node = Directory([(b"d", node)])
    deep = assembled(tmp_path, node)
    assert deep.count(b"directory") == 200 + MAX_DEPTH


def test_a_size_that_is_wrong_is_a_damaged_delta(tmp_path: Path) -> None:
    with pytest.raises(DeltaError):
        assembled(tmp_path, File(False, 5, [1]))
