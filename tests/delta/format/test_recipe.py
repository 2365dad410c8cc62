import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.format.numbers import pack_text, pack_varint
from nixoci.delta.format.recipe import (
    IMPLIED,
    Copy,
    Directory,
    Drop,
    File,
    Node,
    OldNode,
    OldSegment,
    RecipeReader,
    RecipeWriter,
    Symlink,
)
from nixoci.errors import DeltaError

SEGMENT_SIZE = 10
BASES = 5

old_nodes = st.builds(OldNode, st.integers(min_value=0, max_value=BASES - 1), st.binary(max_size=9))
segments = st.integers(min_value=0, max_value=300) | st.builds(
    OldSegment, old_nodes, st.integers(min_value=0, max_value=9)
)
names = st.binary(min_size=1, max_size=5).filter(lambda name: name not in (b".", b"..") and not set(name) & {0, 0x2F})


@st.composite
def files(draw: st.DrawFn) -> File:
    old = draw(st.none() | old_nodes)
    if draw(st.booleans()):
        return File(draw(st.booleans()), None, [draw(st.integers(min_value=0, max_value=300))], old)
    parts = draw(st.lists(segments, max_size=4))
    size = max(0, len(parts) * SEGMENT_SIZE - draw(st.integers(min_value=0, max_value=SEGMENT_SIZE - 1)))
    return File(draw(st.booleans()), size, parts, old)


def directories(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Directory]:
    entries = st.dictionaries(names, children, max_size=4).map(lambda found: sorted(found.items()))
    changes = st.dictionaries(names, children | st.builds(Drop), max_size=4).map(lambda found: sorted(found.items()))
    return st.builds(Directory, entries, st.none(), st.none() | old_nodes) | st.builds(
        Directory, changes, st.sampled_from(["copy", "rewrite"]), old_nodes
    )


leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(Copy, old_nodes, st.booleans()), st.builds(Symlink, st.binary(max_size=9)), files()
)
nodes: st.SearchStrategy[Node] = st.recursive(leaves, directories, max_leaves=8)


def reader(data: bytes, *, predecessor: int | None = None) -> RecipeReader:
    return RecipeReader(data, 0, predecessor=predecessor, bases=BASES, what="it", segment_size=SEGMENT_SIZE)


def read(node: Node | Drop, inherited: OldNode | None) -> Node | Drop:
    """Return a node with its entries read, without the counterparts that nobody named."""
    match node:
        case Directory():
            old = node.old
            entries = [(name, read(child, None if old is None else old.entry(name))) for name, child in node.entries]
            return Directory(entries, node.changed, None if old == inherited else old)
        case File():
            return File(node.executable, node.size, node.segments, None if node.old == inherited else node.old)
        case _:
            return node


@given(nodes)
def test_a_recipe_is_read_as_it_was_written(node: Node) -> None:
    data = RecipeWriter(lambda number: number).pack(node)
    recipe = reader(data)
    assert recipe.check({}, set()) == len(data)
    assert read(recipe.node(), None) == node
    assert read(recipe.node(), None) == node  # again


@pytest.mark.parametrize(
    ("node", "data"),
    [
        (Copy(IMPLIED, rewritten=False), b"="),
        (Copy(IMPLIED, rewritten=True), b"~"),
        (Copy(OldNode(1, b"a/b"), rewritten=False), b"@\x02\x03a/b="),
        (Symlink(b"to"), b"l\x02to"),
        (File(False, None, [7]), b"f\x07"),
        (File(True, None, [7], OldNode(0, b"")), b"@\0\0x\x07"),
        (File(False, 0, []), b"F\0"),
        (File(True, 25, [4, OldSegment(IMPLIED, 1), OldSegment(OldNode(0, b"a"), 9)]), b"X\x19\x07\1\0\0\x01a\x09"),
        (Directory([(b"a", Symlink(b""))]), b"d\1\1al\0"),
        (Directory([(b"a", Drop()), (b"b", Copy(IMPLIED, rewritten=False))], "copy"), b"D\2\1a-\1b="),
        (Directory([], "rewrite", OldNode(3, b"d")), b"@\x06\1dR\0"),
    ],
)
def test_the_letters_are_those_of_the_format(node: Node, data: bytes) -> None:
    assert RecipeWriter(lambda number: number * 2).pack(node).replace(b"@\0\1a", b"@\0\1a") == data


def test_a_counterpart_is_inherited() -> None:
    first_uses: dict[int, OldSegment | None] = {}
    data = b"D\2\1ad\1\1bf\0\1c@\1\1zF\x0b\4\2"
    assert reader(data, predecessor=3).check(first_uses, set()) == len(data)
    assert {number: (old.node.base, old.node.path, old.index) for number, old in first_uses.items() if old} == {
        0: (3, b"a/b", 0),
        1: (1, b"z", 0),
    }


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_paths_in_a_recipe_take_little_memory() -> None:
    """An old node is kept as its last name and its parent: in full, these would be 100 MB."""
    count = 2000
    deep = b"d\1" + pack_text(b"n" * 255)
    files = b"".join(pack_text(b"%06d" % number) + b"f" + pack_varint(number) for number in range(count))
    data = b"@\0" + pack_text(b"a/" * 2000 + b"a") + deep * 200 + b"d" + pack_varint(count) + files
    first_uses: dict[int, OldSegment | None] = {}
    assert peak(lambda: reader(data).check(first_uses, set())) < 2 << 20
    assert len(first_uses) == count


def test_a_file_of_more_segments_than_bytes_is_refused() -> None:
    with pytest.raises(DeltaError, match="segments of a file where 1 bytes are left"):
        reader(b"F" + pack_varint(1 << 60) + b"\3").check({}, set())
