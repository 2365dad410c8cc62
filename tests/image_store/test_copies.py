from __future__ import annotations

import errno
import gzip
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import StoreError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import read_image_store
from nixoci.image_store.copies import TreeCopies, set_times
from nixoci.tree.model import Inode, Kind
from tests.image_store.trees import Tree, image_path, small_tree
from tests.units.samples import MKCOMPOSEFS, executable

if TYPE_CHECKING:
    from pathlib import Path


def listing(folder: Path) -> dict[str, tuple[int, int, bytes | str | None]]:
    """Return mode, time and content of all below a folder."""
    found: dict[str, tuple[int, int, bytes | str | None]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        mode = 0 if path.is_dir() or path.is_symlink() else status.st_mode
        found[str(path.relative_to(folder))] = (mode, status.st_mtime_ns, content)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    for name, content, mode in (
        ("a/one", "same", 0o444),
        ("a/b/two", "same", 0o444),
        ("run", "same", 0o555),
        ("other", "else", 0o444),
        ("empty", "", 0o444),
    ):
        (tree / name).write_text(content, encoding="ascii")
        (tree / name).chmod(mode)
    (tree / "link").symlink_to("/etc/shadow")
    (tree / "a/folder").symlink_to("b")
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (1, 1), follow_symlinks=False)
    return tree


def test_a_copy_has_all_and_equal_files_once(tree: Path, tmp_path: Path) -> None:
    made = TreeCopies()
    copied = 0

    def advance(size: int) -> None:
        nonlocal copied
        copied += size

    made.copy(tree, tmp_path / "first", advance=advance)
    made.copy(tree, tmp_path / "second")
    set_times(tmp_path)
    assert listing(tmp_path / "first") == listing(tmp_path / "second") == listing(tree)
    assert copied == 4 * 4
    numbers = {
        name: {(tmp_path / folder / name).stat().st_ino for folder in ("first", "second")}
        for name in ("a/one", "a/b/two", "run", "other", "empty")
    }
    assert all(len(inodes) == 1 for inodes in numbers.values())
    assert numbers["a/one"] == numbers["a/b/two"]
    assert len({frozenset(inodes) for inodes in numbers.values()}) == 4, "modes differ, or contents do"


def test_a_file_with_all_the_names_that_it_may_have_is_copied(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", link)
    TreeCopies().copy(tree, tmp_path / "copy")
    set_times(tmp_path)
    assert listing(tmp_path / "copy") == listing(tree)


def test_what_no_image_path_has_is_refused(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(StoreError, match="pipe: neither a regular file, a directory nor a symlink"):
        TreeCopies().copy(tree, tmp_path / "copy")


def test_a_self_contained_store_refers_to_nothing(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None, self_contained=True)
    build_image_store(tmp_path / "usual", [image], mkcomposefs=None)
    (layer,) = (path for path in (tmp_path / "store/overlay").iterdir() if path.name != "l")
    set_times(image.rootfs)
    assert listing(layer / "diff") == listing(image.rootfs)
    links = {path: str(path.readlink()) for path in (tmp_path / "store").rglob("*") if path.is_symlink()}
    assert not [target for path, target in links.items() if layer / "diff" not in path.parents and target[0] == "/"]
    ours, usual = (listing(tmp_path / name) for name in ("store", "usual"))
    diff = f"overlay/{layer.name}/diff"
    tar_split = f"overlay-layers/{layer.name}.tar-split.gz"
    texts = {gzip.decompress((tmp_path / name / tar_split).read_bytes()) for name in ("store", "usual")}
    assert len(texts) == 1
    without = {name: content[2] for name, content in ours.items() if not name.startswith((diff, tar_split))}
    assert without == {name: content[2] for name, content in usual.items() if name not in {diff, tar_split}}


def test_two_self_contained_stores_are_the_same_for_tar(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    archives = []
    for name in ("first", "second"):
        os.utime(image.rootfs / "bin")
        build_image_store(tmp_path / name, [image], mkcomposefs=None, self_contained=True)
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            archive.add(tmp_path / name, arcname=".")
        archives.append((tmp_path / f"{name}.tar").read_bytes())
        assert {path.lstat().st_mtime for path in (tmp_path / name, *(tmp_path / name).rglob("*"))} == {1}
    assert archives[0] == archives[1]


def test_contents_are_copied_once_whatever_their_names_and_modes(tree: Path, tmp_path: Path) -> None:
    made = TreeCopies()
    copied = 0

    def advance(size: int) -> None:
        nonlocal copied
        copied += size

    names = made.copy_contents(tree, tmp_path / "first", advance=advance)
    assert copied == 4 * 4
    assert names.keys() == {b"a/one", b"a/b/two", b"run", b"other"}, "an empty file has no content to name"
    assert names[b"a/one"] == names[b"a/b/two"] == names[b"run"]
    for path, name in names.items():
        file = tmp_path / "first" / os.fsdecode(name)
        assert file.read_bytes() == (tree / os.fsdecode(path)).read_bytes()
        assert (file.stat().st_mode & 0o7777, file.stat().st_nlink) == (0o444, 1)
    assert made.copy_contents(tree, tmp_path / "second") == names
    for folder in (tmp_path / "first", tmp_path / "second"):
        assert {os.fsencode(path.name) for path in folder.iterdir()} == set(names.values())
        assert {path.stat().st_nlink for path in folder.iterdir()} == {2}
    os.mkfifo(tree / "pipe")
    with pytest.raises(StoreError, match="pipe: neither a regular file, a directory nor a symlink"):
        made.copy_contents(tree, tmp_path / "third")


def test_contents_with_the_same_start_of_their_digests_have_two_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nixoci.image_store.copies._NAME", 1)
    (tmp_path / "tree").mkdir()
    contents = {b"%d" % number: b"content %d" % number for number in range(200)}
    for name, content in contents.items():
        (tmp_path / "tree" / name.decode()).write_bytes(content)
    names = TreeCopies().copy_contents(tmp_path / "tree", tmp_path / "copy")
    assert len(set(names.values())) == len(contents)
    assert {name: (tmp_path / "copy" / names[name].decode()).read_bytes() for name in contents} == contents


def test_a_store_with_erofs_files_names_contents_in_them(tmp_path: Path) -> None:
    program = executable(tmp_path / "mkcomposefs", MKCOMPOSEFS)
    images = [
        image_path(tmp_path / name, small_tree(content), reference=f"localhost/{name}:1")
        for name, content in (("one", b"first"), ("two", b"second"))
    ]
    for name in ("store", "again"):
        build_image_store(tmp_path / name, images, mkcomposefs=program, self_contained=True)
    assert listing(tmp_path / "store") == listing(tmp_path / "again")
    trees = {image.path.name: image for image in images}
    for stored in read_image_store(tmp_path / "store"):
        assert stored.erofs is not None
        rootfs = trees[stored.record.names[0].split("/")[1].partition(":")[0]].rootfs
        dump = [line.split(b" ") for line in stored.erofs.read_bytes().splitlines()]  # the stand-in copies it
        payloads = {os.fsdecode(line[0]): os.fsdecode(line[8]) for line in dump if line[2] == b"104755"}
        assert payloads.keys() == {"/bin/su"}
        (content,) = (stored.folder / "diff").iterdir()
        assert content.name == payloads["/bin/su"]
        assert content.read_bytes() == (rootfs / "bin/su").read_bytes()
        assert not list(stored.folder.glob("*.dump"))
    links = [path.readlink() for path in (tmp_path / "store").rglob("*") if path.is_symlink()]
    assert not [target for target in links if target.is_absolute()]


def test_names_of_any_bytes_are_copied(tmp_path: Path) -> None:
    tree = Tree(Inode(Kind.DIRECTORY))
    names = [b"x" + bytes([byte]) for byte in range(1, 256) if byte != ord("/")] + [b"...", b" ", b"-rf", b"\xff" * 255]
    for name in names:
        tree.file(tree.root, name, name)
    image = image_path(tmp_path / "image", tree)
    (stored,) = build_image_store(tmp_path / "store", [image], mkcomposefs=None, self_contained=True)
    diff = tmp_path / "store/overlay" / stored.layer / "diff"
    assert {os.fsencode(path.name): path.read_bytes() for path in diff.iterdir()} == {name: name for name in names}
