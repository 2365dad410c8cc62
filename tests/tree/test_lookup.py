"""Paths inside a tree."""

from __future__ import annotations

import pytest

from nixoci.tree.lookup import clamped, follow, lookup
from nixoci.tree.model import Children, Inode, Kind


def tree() -> Inode:
    return directory(
        bin=symlink(b"usr/bin"),
        loop=symlink(b"loop"),
        up=symlink(b"../../../usr"),
        usr=directory(bin=directory(sh=Inode(Kind.REGULAR), absolute=symlink(b"/usr/bin/./sh"))),
        broken=symlink(b"missing/../usr"),
    )


def directory(**children: Inode) -> Inode:
    return Inode(Kind.DIRECTORY, children=Children({name.encode(): child for name, child in children.items()}))


def symlink(target: bytes) -> Inode:
    return Inode(Kind.SYMLINK, target=target)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        (b"", b""),
        (b"/", b""),
        (b"..", b""),
        (b"/bin/sh", b"usr/bin/sh"),
        (b"bin//./sh", b"usr/bin/sh"),
        (b"/../../bin/../bin/absolute", b"usr/bin/sh"),
        (b"up/bin", b"usr/bin"),
        (b"usr/bin/sh/..", b"usr/bin"),
    ],
)
def test_a_path_leads_where_a_process_inside_would_get(path: bytes, canonical: bytes) -> None:
    found = lookup(tree(), path)
    assert found is not None
    assert found[0] == canonical


@pytest.mark.parametrize("path", [b"missing", b"bin/missing", b"usr/bin/sh/x", b"missing/..", b"broken", b"loop"])
def test_a_path_that_leads_nowhere(path: bytes) -> None:
    assert lookup(tree(), path) is None


def test_forty_symlinks_are_followed_and_not_one_more() -> None:
    links = {f"l{number}": symlink(b"l%d" % (number + 1)) for number in range(41)}
    root = directory(**links, l41=Inode(Kind.REGULAR))
    assert lookup(root, b"l0") is None
    assert lookup(root, b"l1") == (b"l41", root.children[b"l41"])
    assert follow(root, b"l0") is None


def test_a_trail_goes_back_over_what_is_missing() -> None:
    trail = follow(tree(), b"broken/bin")
    assert trail is not None
    assert (trail.names, len(trail.symlinks), trail.missing) == ([b"usr", b"bin"], 1, True)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", ""), ("/", ""), ("..", ""), ("../a", "a"), ("/a//b/./c", "a/b/c"), ("a/../../b", "b"), ("//a", "a")],
)
def test_a_path_is_clamped_to_its_root(path: str, expected: str) -> None:
    assert clamped(path) == expected
