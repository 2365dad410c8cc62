"""The walk over a tree's names, and what a tree of many files takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from nixoci.tree.model import Inode, Kind, walk, walk_names
from tests.support.trees import trees

if TYPE_CHECKING:
    from collections.abc import Iterator


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
