"""Sparse files: as GNU tar writes them in each of its formats, and with maps that lie."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import LimitError
from nixoci.tree.limits import Limits
from nixoci.tree.tar_format import show
from tests.support.layers import (
    BLOCK,
    END,
    GNU,
    base256,
    checksummed,
    content,
    file,
    header,
    inode_of,
    layer,
    octal,
    only,
    padded,
    pax,
    read,
    refused,
    symlink,
)

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = {
    "old": ["--format=gnu"],
    "0.0": ["--format=pax", "--sparse-version=0.0"],
    "0.1": ["--format=pax", "--sparse-version=0.1"],
    "1.0": ["--format=pax", "--sparse-version=1.0"],
}
HOLE = 1 << 16


def write_sparse(path: Path, runs: int, *, size: int) -> bytes:
    """A file with `runs` runs of data between holes, and a hole at its end if `size` is past them."""
    with path.open("wb") as target:
        for number in range(runs):
            target.seek(number * 2 * HOLE + HOLE)
            target.write(b"run %d" % number)
        target.truncate(size)
    return path.read_bytes()


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("runs", [0, 1, 3, 4, 5, 30, 100])
def test_what_gnu_tar_writes_is_read_with_the_right_zeros(tmp_path: Path, options: list[str], runs: int) -> None:
    expected = write_sparse(tmp_path / "sparse", runs, size=(2 * runs + 3) * HOLE)
    (tmp_path / "after").write_bytes(b"next entry")
    command = ["tar", "--sparse", *options, "--create", "sparse", "after"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    data = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True).stdout
    assert len(data) < len(expected)  # or it was not stored as sparse
    entry, after = read(data)
    assert (entry.path, after.path) == (b"sparse", b"after")
    assert entry.inode is not None
    assert entry.inode.size == len(expected)
    assert content(entry.inode) == expected


def old(runs: list[tuple[bytes, bytes]], *, size: bytes, stored: int, extended: bool = False) -> bytes:
    """An old GNU sparse header, its numbers given as the bytes of their fields."""
    block = bytearray(header(b"x", b"S", size=stored, magic=GNU))
    for index, (position, length) in enumerate(runs):
        at = 386 + 24 * index
        block[at : at + 24] = position.ljust(12, b"\0") + length.ljust(12, b"\0")
    block[482] = extended
    block[483:495] = size.ljust(12, b"\0")
    return checksummed(bytes(block))


def test_old_maps_may_have_base_256_numbers() -> None:
    data = layer(old([(base256(5, 12), base256(3, 12))], size=base256(10, 12), stored=3) + padded(b"abc"))
    assert content(inode_of(data)) == b"\0" * 5 + b"abc" + b"\0\0"


@pytest.mark.parametrize("number", [b"-0000000512", b"+0000000512", b"0o000000512", b"1_0", b"8", b"x"])
def test_an_old_map_with_what_is_no_octal_number_is_refused(number: bytes) -> None:
    refused(
        layer(old([(octal(0, 12), number)], size=octal(1024, 12), stored=0)),
        f"layer L: entry 'x': its sparse map is malformed: number {show(number.ljust(12, bytes(1)))}",
    )


def test_an_old_map_with_a_negative_base_256_number_is_refused() -> None:
    refused(
        layer(old([(octal(0, 12), base256(-1, 12))], size=octal(1024, 12), stored=0)),
        f"layer L: entry 'x': its sparse map is malformed: number {show(base256(-1, 12))}",
    )


def test_an_old_map_whose_extension_is_cut_off_is_refused() -> None:
    refused(
        old([(octal(0, 12), octal(1, 12))], size=octal(1, 12), stored=1, extended=True) + b"cut",
        "layer L: entry 'x': its sparse map is malformed: the archive ends inside it",
    )


def test_an_old_map_without_end_hits_the_header_limit() -> None:
    endless = (octal(0, 12) * 2 * 21 + b"\1").ljust(BLOCK, b"\0")
    refused(
        old([], size=octal(1, 12), stored=0, extended=True) + endless * 10,
        "layer L: entry 'x': an extended header of more than 2048 bytes, the limit;"
        " raise it with --max-header-size if you trust the image",
        limits=Limits(header_size=2048),
        error=LimitError,
    )


def pax_0_1(sparse_map: bytes, *, size: bytes, data: bytes) -> bytes:
    records = {b"GNU.sparse.size": size, b"GNU.sparse.map": sparse_map, b"GNU.sparse.name": b"x"}
    return layer(pax(records), file(b"GNUSparseFile.1/x", data))


@pytest.mark.parametrize(
    ("sparse_map", "reason"),
    [
        (b"8,4,0,4", "a run of 4 bytes at 0 in a file of 16 bytes"),
        (b"0,4,2,4", "a run of 4 bytes at 2 in a file of 16 bytes"),
        (b"14,4,20,4", "a run of 4 bytes at 14 in a file of 16 bytes"),
        (b"0,4", "its runs have 4 bytes, the archive carries 8"),
        (b"0,16", "its runs have 16 bytes, the archive carries 8"),
        (b"", "its runs have 0 bytes, the archive carries 8"),
        (b"0,4,8", "an offset without a length"),
        (b"0,-4,8,12", "number '-4'"),
        (b"0,4,8,4,", "number ''"),
        (b"0,x", "number 'x'"),
        (b"0," + b"9" * 21, "number '99999999999999999999'"),
    ],
)
def test_a_map_that_lies_is_refused(sparse_map: bytes, reason: str) -> None:
    refused(
        pax_0_1(sparse_map, size=b"16", data=b"8 bytes."),
        f"layer L: entry 'x': its sparse map is malformed: {reason}",
    )


def test_a_size_that_is_no_number_is_refused() -> None:
    refused(
        pax_0_1(b"0,8", size=b"-8", data=b"8 bytes."),
        "layer L: entry 'x': its sparse map is malformed: number '-8'",
    )


def test_runs_of_no_bytes_are_legal() -> None:
    data = pax_0_1(b"0,0,4,8,16,0", size=b"16", data=b"8 bytes.")
    assert content(inode_of(data)) == b"\0" * 4 + b"8 bytes." + b"\0" * 4


def test_offsets_and_lengths_of_format_0_0_alternate() -> None:
    pair = [(b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"8")]
    ok = layer(pax([(b"GNU.sparse.size", b"8"), *pair]), file(b"x", b"8 bytes."))
    assert inode_of(ok).size == 8
    refused(
        layer(pax([(b"GNU.sparse.size", b"8"), *reversed(pair)]), file(b"x", b"8 bytes.")),
        "layer L: entry 'x': its sparse map is malformed: offsets and lengths do not alternate",
    )


def pax_1_0(body: bytes, *, size: bytes = b"16") -> bytes:
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.realsize": size,
        b"GNU.sparse.name": b"x",
    }
    return layer(pax(records), file(b"GNUSparseFile.1/x", body))


def test_a_map_in_the_content_may_fill_several_blocks() -> None:
    runs = 200
    lines = b"".join(b"%d\n1\n" % (2 * index) for index in range(runs))
    data = pax_1_0(padded(b"%d\n" % runs + lines) + b"y" * runs, size=b"400")
    assert content(inode_of(data)) == b"y\0" * runs


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the map is longer than the content"),
        (padded(b"5\n0\n1\n"), "the map is longer than the content"),
        (padded(b"1\n0\n\n"), "number ''"),
        (padded(b"1\n0\n99\n"), "a run of 99 bytes at 0 in a file of 16 bytes"),
        (padded(b"many\n"), "number 'many'"),
        (b"1" * BLOCK, "the map is longer than the content"),
        (b"9" * 19 + b"\n" + b"0\n" * 246, "the map is longer than the content"),
    ],
)
def test_a_map_in_the_content_that_lies_is_refused(body: bytes, reason: str) -> None:
    refused(pax_1_0(body), f"layer L: entry 'x': its sparse map is malformed: {reason}")


@pytest.mark.parametrize(
    "records",
    [
        {b"GNU.sparse.major": b"2", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"8"},
        {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"1", b"GNU.sparse.realsize": b"8"},
        {b"GNU.sparse.realsize": b"8"},
    ],
)
def test_a_file_of_an_unknown_sparse_format_is_an_ordinary_one(records: dict[bytes, bytes]) -> None:
    data = layer(pax(records | {b"GNU.sparse.name": b"other"}), file(b"x", b"8 bytes."))
    assert only(data).path == b"x"
    assert content(inode_of(data)) == b"8 bytes."


@pytest.mark.parametrize("version", [{}, {b"GNU.sparse.major": b"0", b"GNU.sparse.minor": b"1"}])
@pytest.mark.parametrize("size", [b"GNU.sparse.size", b"GNU.sparse.realsize"])
def test_format_0_1_may_name_its_version_and_its_size_in_two_ways(version: dict[bytes, bytes], size: bytes) -> None:
    records = {size: b"016", b"GNU.sparse.map": b"0,+4,0012,4", b"GNU.sparse.name": b"x"} | version
    data = layer(pax(records), file(b"GNUSparseFile.1/x", b"8 bytes."))
    assert only(data).path == b"x"
    assert content(inode_of(data)) == b"8 by" + bytes(8) + b"tes."


def test_a_sparse_file_without_a_size_is_as_long_as_its_content() -> None:
    assert content(inode_of(layer(pax({b"GNU.sparse.map": b"0,8"}), file(b"x", b"8 bytes.")))) == b"8 bytes."


def test_a_map_in_the_content_may_be_all_of_an_unpadded_archive() -> None:
    data = pax_1_0(padded(b"1\n0\n16\n") + b"sixteen bytes ..")
    assert content(inode_of(data[: -len(END) - BLOCK + 16])) == b"sixteen bytes .."


def test_the_name_of_a_sparse_file_is_for_sparse_files_only() -> None:
    assert only(layer(pax({b"GNU.sparse.name": b"real"}), symlink(b"l", b"x"))).path == b"l"
    refused(
        layer(pax({b"GNU.sparse.map": b"", b"GNU.sparse.name": b"real"}), symlink(b"l", b"x")),
        "layer L: entry 'l': a sparse map, which only a regular file can have",
    )


def test_a_sparse_entry_of_no_content_is_all_zeros() -> None:
    inode = inode_of(pax_0_1(b"", size=b"99", data=b""))
    assert (inode.size, inode.content) == (99, None)


def test_a_sparse_file_larger_than_the_limit_is_refused_before_it_is_made() -> None:
    refused(
        pax_0_1(b"0,8", size=b"%d" % 10**18, data=b"8 bytes."),
        f"layer L: entry 'x': a file of {10**18} bytes, the limit for the image is {64 << 30};"
        " raise it with --max-size if you trust the image",
        error=LimitError,
    )
