"""The canonical tar: its bytes, and the tree that every reader finds in it."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings

from nixoci.tree.byte_stream import ChunkStream
from nixoci.tree.limits import Limits
from nixoci.tree.merge import Merger
from nixoci.tree.model import Children, Inode, Kind, walk
from nixoci.tree.tar_format import END_OF_ARCHIVE, padding
from nixoci.tree.tar_reader import TarReader
from nixoci.tree.tar_writer import tar_entries
from tests.support.layers import (
    description,
    directory,
    file,
    hardlink,
    header,
    layer,
    merge,
    padded,
    pax,
    read,
    record,
    symlink,
)
from tests.support.trees import trees


def canonical(root: Inode) -> bytes:
    """The tar, with zeros for every file's content."""
    parts = [entry.header + bytes(entry.size) + padding(entry.size) for entry in tar_entries(root)]
    return b"".join([*parts, END_OF_ARCHIVE])


def shrunk(root: Inode) -> Inode:
    """The tree with no file too large to hold its zeros in memory."""
    for _, inode in walk(root):
        inode.size = min(inode.size, 2000)
    return root


def extended(records: dict[bytes, bytes]) -> bytes:
    body = b"".join(record(key, value) for key, value in sorted(records.items()))
    return header(b"PaxHeaders/entry", b"x", size=len(body)) + padded(body)


def test_the_bytes_are_those_of_the_format_s_description() -> None:
    """These bytes determine every image's diff id; a change needs a new version of the extraction format."""
    long = b"n" * 101
    attributes = pax({b"SCHILY.xattr.security.any": b"\1\0\n", b"mtime": b"-1.25", b"uid": b"3000000"})
    root = merge(
        layer(
            symlink(b"s", b"caf\xc3\xa9"),
            directory(b"d/", mode=0o1777, mtime=1_700_000_000),
            attributes + file(b"d/f", bytes(3), mode=0o4755),
            hardlink(b"e", b"d/f"),
            pax({b"path": long, b"gid": b"2097152"}) + file(b"x"),
            header(b"null", b"3", device=(1, 3)),
        )
    )
    values = {b"SCHILY.xattr.security.any": b"\1\0\n", b"mtime": b"-1.25", b"uid": b"3000000"}
    expected = [
        header(b"./", b"5", mode=0o755),
        header(b"d/", b"5", mode=0o1777, mtime=1_700_000_000),
        extended(values) + header(b"d/f", size=3, mode=0o4755) + padded(bytes(3)),
        extended({b"mtime": b"-1.25", b"uid": b"3000000"}) + header(b"e", b"1", link=b"d/f", mode=0o4755),
        extended({b"gid": b"2097152", b"path": long}) + header(long[:100]),
        header(b"null", b"3", device=(1, 3)),
        extended({b"linkpath": b"caf\xc3\xa9"}) + header(b"s", b"2", link=b"caf__", mode=0o777),
    ]
    assert canonical(root) == b"".join(expected) + bytes(1024)


def test_plain_entries_have_plain_ustar_headers() -> None:
    root = merge(layer(file(b"d/f", b"abc", mode=0o640, uid=1, gid=2, mtime=3)))
    first, second, third = tar_entries(root)
    assert (first.path, first.name, first.size) == (b"", b"./", 0)
    assert (second.path, second.name, second.size) == (b"d", b"d/", 0)
    assert (third.path, third.name, third.size) == (b"d/f", b"d/f", 3)
    expected = header(b"d/f", size=3, mode=0o640, uid=1, gid=2, mtime=3)
    assert third.header == expected
    assert first.header == header(b"./", b"5", mode=0o755)


def test_padding_fills_a_block() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


@pytest.mark.parametrize("length", [89, 90, 91, 92, 93, 987, 988, 989, 990])
def test_a_pax_record_s_length_counts_itself(length: int) -> None:
    root = Inode(Kind.DIRECTORY)
    root.children[b"s"] = Inode(Kind.SYMLINK, target=b"t" * length + b"\xff")
    link = next(entry for entry in read(canonical(root)) if entry.path == b"s")
    assert link.inode is not None
    assert len(link.inode.target) == length + 1


@given(trees())
def test_our_reader_finds_the_tree(root: Inode) -> None:
    data = canonical(shrunk(root))
    merger = Merger(Limits())
    merger.apply(TarReader(ChunkStream([data]), what="layer L", limits=Limits()), layer="L")
    assert description(merger.root) == description(root)


@given(trees())
def test_the_same_tree_gives_the_same_bytes_whatever_order_it_was_built_in(root: Inode) -> None:
    before = canonical(shrunk(root))
    for _, inode in walk(root):
        inode.children = Children(dict(reversed(list(inode.children.items()))))
        inode.xattrs = dict(reversed(inode.xattrs.items()))
    assert canonical(root) == before


@given(trees())
@settings(max_examples=60)
def test_a_large_file_has_its_size_in_the_header(root: Inode) -> None:
    for entry in tar_entries(root):
        inode = next(inode for path, inode in walk(root) if path == entry.path)
        assert entry.size in (0, inode.size)
        assert len(entry.header) % 512 == 0


@given(trees())
def test_python_s_reader_finds_the_tree(root: Inode) -> None:
    data = canonical(shrunk(root))
    kinds = {
        Kind.REGULAR: tarfile.REGTYPE,
        Kind.SYMLINK: tarfile.SYMTYPE,
        Kind.CHARACTER: tarfile.CHRTYPE,
        Kind.BLOCK: tarfile.BLKTYPE,
        Kind.DIRECTORY: tarfile.DIRTYPE,
        Kind.FIFO: tarfile.FIFOTYPE,
    }
    first: dict[int, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        members = archive.getmembers()
    assert len(members) == sum(1 for _ in walk(root))
    for member, (path, inode) in zip(members, walk(root), strict=True):
        assert member.name.encode("utf-8", "surrogateescape").rstrip(b"/") == (path or b".")
        assert (member.mode, member.uid, member.gid) == (inode.mode, inode.uid, inode.gid)
        assert abs(member.mtime - inode.mtime / 10**9) < max(1e-6, abs(inode.mtime / 10**9) * 1e-12)
        canonical_name = first.setdefault(id(inode), path)
        if canonical_name != path:
            assert member.type == tarfile.LNKTYPE
            assert member.linkname.encode("utf-8", "surrogateescape") == canonical_name
            continue
        assert member.type == kinds[inode.kind]
        assert member.size == inode.size
        if inode.kind is Kind.SYMLINK:
            assert member.linkname.encode("utf-8", "surrogateescape") == inode.target
        if inode.kind in (Kind.CHARACTER, Kind.BLOCK):
            assert (member.devmajor, member.devminor) == inode.device
