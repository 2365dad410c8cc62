"""The walk over a tree's names, and what a tree of many files takes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from nixoci.tree.contents import Contents
from nixoci.tree.dump import write_dump
from nixoci.tree.model import Inode, Kind, walk, walk_names
from tests.support.layers import file, layer, merge
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


def test_a_file_of_a_layer_takes_little_memory(tmp_path: Path) -> None:
    files = 10_000
    data = layer(*(file(b"d%d/%08d" % (number // 1000, number), b"x", mtime=10**9) for number in range(files)))
    save = Contents(tmp_path / "contents").save
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in write_dump(merge(data, save=save)):
            pass
        assert tracemalloc.get_traced_memory()[1] - before < files * 280
    finally:
        tracemalloc.stop()
