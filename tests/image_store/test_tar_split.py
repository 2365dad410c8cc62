from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from nixoci.errors import StoreError
from nixoci.image_store.tar_split import LayerContent, contents_size, write_tar_split
from nixoci.tree.model import Inode, Kind, walk
from nixoci.tree.tar_format import KIND_FLAGS
from tests.image_store.trees import Tree, small_tree, trees

_ISO_POLYNOMIAL = 0xD800000000000000


def test_the_checksum_is_that_of_go_hash_crc64() -> None:
    assert crc64_iso(b"123456789") == 0xB90956C775A41001  # the catalog's check value of CRC-64/GO-ISO


@settings(deadline=None, max_examples=60)
@given(trees())
def test_the_tar_is_rebuilt_from_the_files(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rootfs = Path(folder, "rootfs")
        content, entries = split(tree, rootfs)
        tar = reassemble(entries, rootfs)
    assert hashlib.sha256(tar).hexdigest() == content.diff_id.hex
    assert len(tar) == content.size
    assert [entry["position"] for entry in entries] == list(range(len(entries)))
    check_listing(tar, tree)


def test_a_file_longer_than_a_buffer_is_rebuilt(tmp_path: Path) -> None:
    tree = small_tree(os.urandom(2_222_222))
    content, entries = split(tree, tmp_path / "rootfs")
    assert hashlib.sha256(reassemble(entries, tmp_path / "rootfs")).hexdigest() == content.diff_id.hex


def test_every_name_is_there_once_and_empty_files_have_no_checksum(tmp_path: Path) -> None:
    _, entries = split(small_tree(), tmp_path / "rootfs")
    files = [entry for entry in entries if entry["type"] == 1]
    assert [file["name"] for file in files] == ["./", "bin/", "bin/empty", "bin/link", "bin/su", "bin/su2", "null"]
    assert [file["payload"] is None for file in files] == [True, True, True, True, False, True, True]
    assert [file.get("size") for file in files] == [None, None, None, None, 6, None, None]


def test_the_gzip_header_has_no_time_and_no_name(tmp_path: Path) -> None:
    small_tree().write(tmp_path / "rootfs")
    file = io.BytesIO()
    write_tar_split(small_tree().root, tmp_path / "rootfs", file)
    assert file.getvalue()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_advance_is_told_every_byte(tmp_path: Path) -> None:
    tree = small_tree(bytes(5_000_000))
    tree.write(tmp_path / "rootfs")
    told: list[int] = []
    write_tar_split(tree.root, tmp_path / "rootfs", io.BytesIO(), advance=told.append)
    assert sum(told) == contents_size(tree.root) == 5_000_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(b"longer than it was"), "has 18 bytes, 6 expected"),
        (lambda file: file.unlink(), "cannot be read: No such file or directory"),
        (
            lambda file: (file.unlink(), file.symlink_to("/etc/passwd")),
            "is not a regular file",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    tree = small_tree()
    rootfs = tmp_path / "rootfs"
    tree.write(rootfs)
    damage(rootfs / "bin/su")
    with pytest.raises(StoreError) as caught:
        write_tar_split(tree.root, rootfs, io.BytesIO())
    assert str(caught.value) == (f"{rootfs}/bin/su: {message}; the image path is damaged, extract the image again")


def test_a_directory_that_became_a_symlink_is_not_followed(tmp_path: Path) -> None:
    tree = small_tree()
    rootfs = tmp_path / "rootfs"
    tree.write(rootfs)
    (rootfs / "bin").rename(tmp_path / "elsewhere")
    (rootfs / "bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"bin/su: cannot be read"):
        write_tar_split(tree.root, rootfs, io.BytesIO())


def split(tree: Tree, rootfs: Path) -> tuple[LayerContent, list[dict[str, Any]]]:
    tree.write(rootfs)
    file = io.BytesIO()
    content = write_tar_split(tree.root, rootfs, file)
    return content, [json.loads(line) for line in gzip.decompress(file.getvalue()).splitlines()]


def reassemble(entries: list[dict[str, Any]], rootfs: Path) -> bytes:
    """Do what tar-split's assembler does (vbatts/tar-split, tar/asm/assemble.go)."""
    tar = bytearray()
    seen: set[bytes] = set()
    for entry in entries:
        if entry["type"] == 2:
            tar += base64.b64decode(entry["payload"])
            continue
        name = base64.b64decode(entry["name_raw"]) if "name_raw" in entry else entry["name"].encode()
        cleaned = os.path.normpath(name)
        assert cleaned not in seen
        seen.add(cleaned)
        if entry.get("size"):
            data = Path(os.fsdecode(os.fsencode(rootfs) + b"/" + name)).read_bytes()
            assert len(data) == entry["size"]
            assert base64.b64decode(entry["payload"]) == crc64_iso(data).to_bytes(8, "big")
            tar += data
    return bytes(tar)


def check_listing(tar: bytes, tree: Tree) -> None:
    first: dict[int, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = archive.getmembers()
        expected = list(walk(tree.root))
        assert len(members) == len(expected)
        for member, (path, inode) in zip(members, expected, strict=True):
            canonical = first.setdefault(id(inode), path)
            assert os.fsencode(os.path.normpath(member.name)) == (path or b".")
            assert (member.mode, member.uid, member.gid) == (inode.mode, inode.uid, inode.gid)
            assert member.mtime == pytest.approx(inode.mtime / 1e9)
            if canonical != path:
                assert member.islnk()
                assert os.fsencode(member.linkname) == canonical
                continue
            assert member.type == KIND_FLAGS[inode.kind]
            check_content(archive, member, tree, inode)


def check_content(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree, inode: Inode) -> None:
    if inode.kind is Kind.REGULAR:
        file = archive.extractfile(member)
        assert file is not None
        assert file.read() == tree.content[id(inode)]
    elif inode.kind is Kind.SYMLINK:
        assert os.fsencode(member.linkname) == inode.target


def crc64_iso(data: bytes) -> int:
    """CRC-64 with the polynomial x^64 + x^4 + x^3 + x + 1, reflected, as Go's hash/crc64 computes it."""
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFFFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_ISO_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = [_remainder(byte) for byte in range(256)]
