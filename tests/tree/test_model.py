"""The walk over a tree's names, and what a tree of many files takes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.tree.contents import Contents
from nixoci.tree.dump import read_dump, write_dump
from nixoci.tree.model import Children, Inode, Kind, Packer, walk, walk_names
from tests.support.layers import file, hardlink, layer, merge
from tests.support.trees import trees

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@given(trees())
def test_each_name_has_the_first_name_of_its_file_and_their_number(root: Inode) -> None:
    names = list(walk(root))
    for (path, inode), name in zip(names, walk_names(root), strict=True):
        same = [other for other, file in names if file is inode]
        assert name == (path, inode, same[0], len(same))


def test_only_a_directory_has_a_place_for_children() -> None:
    Inode(Kind.DIRECTORY).children[b"a"] = Inode(Kind.REGULAR)
    assert not Inode(Kind.DIRECTORY).children
    with pytest.raises(TypeError):
        Inode(Kind.REGULAR).children[b"a"] = Inode(Kind.REGULAR)


def test_files_hold_no_containers_of_their_own() -> None:
    """An image may have a million files."""

    def containers() -> Iterator[int]:
        for _ in range(2):
            file = Inode(Kind.REGULAR, size=1)
            yield from map(id, (file.xattrs, file.children))

    assert len(set(containers())) == 1


@given(trees())
def test_a_packed_file_is_the_file_again(root: Inode) -> None:
    for number, (_, inode) in enumerate(walk(root)):
        inode.content = number % 3 if inode.kind is Kind.REGULAR and number % 3 else None
        children = Children()
        children.pack(b"name", inode)
        again = children[b"name"]
        for name in Inode.__slots__:
            assert getattr(again, name) == getattr(inode, name), name
        assert (children[b"name"] is inode) == (inode in children.objects())


@pytest.mark.parametrize(
    "attributes",
    [
        {"uid": (1 << 16) - 1, "gid": (1 << 16) - 1, "mode": 0o7777},
        {"uid": 1 << 16},
        {"gid": 1 << 16},
        {"mtime": (1 << 63) - 1},
        {"mtime": 1 << 63},
        {"mtime": -1},
        {"content": (1 << 32) - 1, "size": (1 << 63) - 1},
        {"content": 1 << 32},
        {"xattrs": {b"user.a": b"b"}},
    ],
)
def test_a_file_with_the_largest_values_and_beyond_is_packed_without_loss(attributes: dict[str, Any]) -> None:
    file = Inode(Kind.REGULAR, **attributes)
    children = Children()
    children.pack(b"name", file)
    for name in Inode.__slots__:
        assert getattr(children[b"name"], name) == getattr(file, name), name


def test_a_packed_file_that_gets_another_name_is_one_object() -> None:
    root = merge(layer(file(b"a", b"x"), file(b"b", b"y")), layer(hardlink(b"c", b"a"), hardlink(b"d", b"c")))
    for tree in (root, read_dump(write_dump(root))):
        assert tree.children[b"a"] is tree.children[b"c"] is tree.children[b"d"]
        assert [(path, first, links) for path, _, first, links in walk_names(tree)][1:] == [
            *((b"a", b"a", 3), (b"b", b"b", 1), (b"c", b"a", 3), (b"d", b"a", 3))
        ]


def test_a_copy_of_children_does_not_change_with_them() -> None:
    children = Children()
    children.pack(b"a", Inode(Kind.REGULAR, size=3))
    copy = children.copy()
    del children[b"a"]
    children[b"b"] = Inode(Kind.SYMLINK, target=b"a")
    assert (list(children), list(copy), copy[b"a"].size) == ([b"b"], [b"a"], 3)
    assert (children.share(b"a"), children.get(b"a"), b"a" in children) == (None, None, False)


STEPS = st.tuples(
    st.sampled_from(["set", "pack", "delete", "share", "seal", "copy"]),
    st.sampled_from([b"a", b"b", b"c"]),
    st.sampled_from([Inode(Kind.REGULAR, size=1, content=1), Inode(Kind.REGULAR, uid=1 << 16), Inode(Kind.SYMLINK)]),
)


@given(st.lists(STEPS))
def test_sealed_children_are_the_same_files(steps: list[tuple[str, bytes, Inode]]) -> None:
    children = Children()
    files: dict[bytes, Inode] = {}
    for step, name, inode in steps:
        if step == "set":
            children[name] = files[name] = inode
        elif step == "pack":
            assert children.pack(name, inode) == (inode.uid == 0)
            files[name] = inode
        elif step == "delete":
            assert (children.pop(name, None) is None) == (files.pop(name, None) is None)
        elif step == "share":
            assert children.share(name) is children.get(name)
        elif step == "seal":
            children.seal()
            assert not children.unsealed
        else:
            children = children.copy()
        assert [(name, attributes(file)) for name, file in children.in_order()] == [
            (name, attributes(file)) for name, file in sorted(files.items())
        ]
    children.seal()
    assert (len(children), set(children), b"a" in children) == (len(files), set(files), b"a" in files)
    assert {name: attributes(file) for name, file in children.items()} == {
        name: attributes(file) for name, file in files.items()
    }
    with pytest.raises(KeyError):
        del children[b"d"]


def attributes(inode: Inode) -> list[object]:
    return [getattr(inode, name) for name in Inode.__slots__]


def test_files_that_go_to_two_directories_in_turn_are_not_sealed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    files, sealed = 2_000, 0
    seal = Children.seal

    def counted(self: Children) -> None:
        nonlocal sealed
        sealed += self.unsealed
        seal(self)

    monkeypatch.setattr(Children, "seal", counted)
    packer, directories = Packer(), (Children(), Children())
    for number in range(files):
        packer.pack(directories[number % 2], b"%d" % number, Inode(Kind.REGULAR))
    assert 0 < sealed <= 4 * files
    assert sum(map(len, directories)) == files


def test_a_file_of_a_layer_takes_little_memory(tmp_path: Path) -> None:
    files = 5_000
    data = layer(*(file(b"d%d/%08d" % (number // 100, number), b"x", mtime=10**9) for number in range(files)))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with Contents(tmp_path / "contents") as contents:
            for _ in write_dump(merge(data, save=contents.save)):
                pass
        assert tracemalloc.get_traced_memory()[1] - before < files * 70
    finally:
        tracemalloc.stop()
