from __future__ import annotations

import pytest

from nixoci.tree.model import Children, Inode, Kind, walk
from nixoci.tree.mount_points import with_mount_points


def paths(root: Inode) -> dict[bytes, Kind]:
    return {path: inode.kind for path, inode in walk(root) if path}


def test_an_empty_tree_gets_what_engines_mount() -> None:
    root = Inode(Kind.DIRECTORY)
    root = with_mount_points(root, [])
    found = paths(root)
    assert {path for path, kind in found.items() if kind is Kind.DIRECTORY} == {
        b"dev", b"etc", b"proc", b"run", b"run/secrets", b"sys", b"tmp", b"var", b"var/tmp",
    }  # fmt: skip
    assert {path for path, kind in found.items() if kind is Kind.REGULAR} == {
        b"etc/group", b"etc/hostname", b"etc/hosts", b"etc/passwd", b"etc/resolv.conf", b"run/.containerenv",
    }  # fmt: skip
    assert root.children[b"etc"].children[b"mtab"].target == b"/proc/mounts"


def test_volumes_and_the_working_directory_are_added() -> None:
    root = Inode(Kind.DIRECTORY)
    root = with_mount_points(root, ["/data//x/", "/../up", "srv/app"])
    found = paths(root)
    assert {b"data/x", b"up", b"srv/app"} <= set(found)


def test_what_the_image_has_stays() -> None:
    own = Inode(Kind.REGULAR, mode=0o600, size=3)
    root = Inode(
        Kind.DIRECTORY,
        children=Children({b"etc": Inode(Kind.DIRECTORY, mode=0o700, children=Children({b"hosts": own}))}),
    )
    root = with_mount_points(root, [])
    assert root.children[b"etc"].children[b"hosts"] is own
    assert root.children[b"etc"].mode == 0o700


def test_a_symlink_or_a_file_in_the_way_is_left_alone() -> None:
    link = Inode(Kind.SYMLINK, target=b"run")
    file = Inode(Kind.REGULAR)
    root = Inode(Kind.DIRECTORY, children=Children({b"var": link, b"run": file}))
    root = with_mount_points(root, ["/var/lib/x"])
    assert root.children[b"var"] is link
    assert root.children[b"run"] is file


def test_a_root_as_working_directory_adds_nothing() -> None:
    root, other = Inode(Kind.DIRECTORY), Inode(Kind.DIRECTORY)
    root = with_mount_points(root, ["/"])
    other = with_mount_points(other, [])
    assert paths(root) == paths(other)


def test_the_tree_itself_stays_as_it_is() -> None:
    inner = Inode(Kind.DIRECTORY, children=Children({b"lib": Inode(Kind.DIRECTORY)}))
    root = Inode(Kind.DIRECTORY, children=Children({b"var": inner}))
    before = paths(root)
    assert b"var/tmp" in paths(with_mount_points(root, ["/var/lib/data"]))
    assert paths(root) == before


def test_a_deep_path_is_added() -> None:
    root = with_mount_points(Inode(Kind.DIRECTORY), ["/d" * 1500])
    assert max(paths(root), key=len).count(b"/") == 1499


@pytest.mark.parametrize("path", ["/a\0b", "/x/a\0b/y", "/" + "n" * 256, "/n" * 2000])
def test_a_path_that_no_file_system_holds_is_skipped(path: str) -> None:
    root = Inode(Kind.DIRECTORY)
    assert paths(with_mount_points(root, [path])) == paths(with_mount_points(root, []))
