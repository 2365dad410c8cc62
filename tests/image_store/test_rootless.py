"""The metadata of a store for rootless users, read by another reader of tar files."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given

from nixoci.cli.image_store import image_store
from nixoci.image_store.build import build_image_store
from nixoci.image_store.rootless import write_metadata
from nixoci.tree.model import NANOSECONDS, Inode, Kind, walk
from tests.image_store.trees import Tree, image_path, small_tree, trees

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = {Kind.CHARACTER, Kind.BLOCK}
XATTR = "SCHILY.xattr."


def metadata(root: Inode) -> bytes:
    file = io.BytesIO()
    write_metadata(root, file)
    return file.getvalue()


def members(data: bytes) -> dict[bytes, tarfile.TarInfo]:
    """Return the members by path, without the dot of the top."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz", errors="surrogateescape") as tar:
        names = {b".": b""}
        return {names.get(name := os.fsencode(member.name), name): member for member in tar}


@given(trees())
def test_every_file_but_devices_is_there_with_its_attributes(tree: Tree) -> None:
    found = members(metadata(tree.root))
    wanted = {path: inode for path, inode in walk(tree.root) if inode.kind not in DEVICES}
    assert set(found) == set(wanted)
    for path, inode in wanted.items():
        member = found[path]
        if member.islnk():
            assert wanted[os.fsencode(member.linkname)] is inode
            continue
        assert (member.mode, member.uid, member.gid) == (inode.mode, inode.uid, inode.gid)
        assert int(member.mtime) == inode.mtime // NANOSECONDS
        assert os.fsencode(member.linkname) == inode.target
        assert member.size == inode.size
        redirect = member.pax_headers.get(f"{XATTR}user.overlay.redirect")
        if inode.kind is Kind.REGULAR and inode.size:
            assert os.fsencode(redirect or "") == b"/" + path
            assert member.pax_headers[f"{XATTR}user.overlay.metacopy"] == ""
            extents: Any = member.sparse
            assert sum(size for _, size in extents) == 0
        else:
            assert redirect is None


@given(trees())
def test_the_same_tree_gives_the_same_bytes(tree: Tree) -> None:
    assert metadata(tree.root) == metadata(tree.root)


def test_xattrs_are_those_that_a_user_may_set_and_none_is_the_overlays() -> None:
    root = Inode(Kind.DIRECTORY, xattrs={b"user.overlay.opaque": b"y", b"trusted.x": b"1", b"security.selinux": b"s"})
    root.xattrs |= {b"user.a=%": b"1", b"security.capability": b"\1\0"}
    headers = members(metadata(root))[b""].pax_headers
    assert headers == {
        f"{XATTR}security.capability": "\1\0",
        f"{XATTR}user.a%3D%25": "1",
        f"{XATTR}user.overlay.overlay.opaque": "y",
    }


def test_a_store_for_rootless_users(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    (stored,) = build_image_store(tmp_path / "store", [image], mkcomposefs="/no/such/program", rootless=True)
    overlay = tmp_path / "store/overlay" / stored.layer
    assert (overlay / "metadata.tar.gz").read_bytes() == metadata(small_tree().root)
    assert not (overlay / "composefs-data").exists()
    assert os.access(tmp_path / "store/mount-program", os.X_OK)


def test_its_storage_conf_names_the_program_that_is_in_it(tmp_path: Path) -> None:
    store, conf = tmp_path / "store", tmp_path / "storage.conf"
    arguments = [str(store), "--rootless", "--storage-conf", str(conf)]
    assert CliRunner().invoke(image_store, arguments, catch_exceptions=False).exit_code == 0
    assert f'mount_program = "{store}/mount-program"' in conf.read_text("utf-8")


def test_two_kinds_of_store_at_once_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(image_store, [str(tmp_path / "store"), "--rootless", "--no-erofs"])
    assert done.exit_code == 2
    assert "--rootless and --no-erofs are two kinds of store" in done.output


@pytest.mark.parametrize("arguments", [[], ["-o", "lowerdir=/a"], ["-x", "lowerdir=/a", "/t"], ["-o", "ro", "/t"]])
def test_the_mount_program_says_what_is_wrong(tmp_path: Path, arguments: list[str]) -> None:
    build_image_store(tmp_path / "store", [], rootless=True)
    program = str(tmp_path / "store/mount-program")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert subprocess.run([program, "--version"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("lower", ["overlay/l/{link}", "overlay/{layer}/diff"])
def test_the_mount_program_names_an_image_path_that_has_gone(tmp_path: Path, lower: str) -> None:
    image = image_path(tmp_path / "image", small_tree())
    store = tmp_path / "store"
    (stored,) = build_image_store(store, [image], rootless=True)
    image.rootfs.rename(tmp_path / "gone")
    link = (store / "overlay" / stored.layer / "link").read_text("ascii")
    options = f"lowerdir={store}/{lower.format(link=link, layer=stored.layer)},upperdir=/u,workdir=/w"
    program = [str(store / "mount-program"), "-o", options, "/target"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {image.rootfs}: it is not there, and {store} refers to it; keep them together\n"
