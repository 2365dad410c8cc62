"""The parts of a tar stream: sizes, extended headers, damage, and the end."""

from __future__ import annotations

import pytest

from nixoci.errors import LayerError, LimitError
from nixoci.tree.byte_stream import ChunkStream
from nixoci.tree.limits import Limits
from nixoci.tree.tar_reader import TarReader
from tests.support.layers import (
    BLOCK,
    END,
    USTAR,
    checksummed,
    content,
    file,
    gnu_long,
    header,
    inode_of,
    kept,
    layer,
    only,
    padded,
    pax,
    raw_pax,
    read,
    refused,
    symlink,
)

# size smuggling: what one reader skips and another reads as headers


def test_pax_size_overrides_the_header_s() -> None:
    hidden = file(b"hidden")
    data = layer(pax({b"size": b"%d" % len(hidden)}), header(b"x", size=0), hidden, file(b"after"))
    assert [entry.path for entry in read(data)] == [b"x", b"after"]
    inode = read(data)[0].inode
    assert inode is not None
    assert content(inode) == hidden


def test_pax_size_zero_overrides_the_header_s() -> None:
    data = layer(pax({b"size": b"0"}), header(b"x", size=BLOCK), file(b"seen"))
    assert [entry.path for entry in read(data)] == [b"x", b"seen"]


def test_the_size_of_what_has_no_content_hides_nothing() -> None:
    for flag in (b"1", b"2", b"3", b"4", b"5", b"6"):
        data = layer(header(b"x", flag, size=BLOCK, link=b"t"), file(b"seen"))
        assert [entry.path for entry in read(data)] == [b"x", b"seen"]


def test_the_last_of_two_pax_sizes_counts() -> None:
    data = layer(pax([(b"size", b"0"), (b"size", b"3")]), header(b"x") + padded(b"abc"))
    assert inode_of(data).size == 3


# extended headers


def test_global_headers_create_and_change_nothing() -> None:
    data = layer(pax({b"comment": b"git", b"uid": b"5", b"path": b"evil"}, flag=b"g"), file(b"x"))
    assert only(data).path == b"x"
    assert inode_of(data).uid == 0
    assert read(layer(pax({b"comment": b"alone"}, flag=b"g"))) == []


def test_a_global_header_between_an_extended_one_and_its_entry_takes_nothing_away() -> None:
    assert only(layer(pax({b"path": b"long"}), pax({b"a": b"b"}, flag=b"g"), file(b"x"))).path == b"long"


def test_solaris_extended_headers_are_read() -> None:
    assert only(layer(pax({b"path": b"long"}, flag=b"X"), file(b"x"))).path == b"long"


@pytest.mark.parametrize(
    "body",
    [
        b"no length\n",
        b"12 path=abc\n\n",
        b"99 path=x\n",
        b"5 path=x\n",
        b"10 path=abc",
        b"0 =\n",
        b"-1 a=b\n",
        b"6 =ab\n",
        b"6 abc\n",
        b"6 a=bc",
        b"+6 a=b\n",
        b"1 ",
        b"\0" * 10,
        b"999999999999999999999 a=b\n",
    ],
)
@pytest.mark.parametrize("flag", [b"x", b"g"])
def test_a_malformed_pax_record_is_refused(body: bytes, flag: bytes) -> None:
    refused(
        layer(raw_pax(body, flag=flag), file(b"x")),
        "layer L: tar offset 1024: a PAX record is malformed; the archive is damaged",
    )


@pytest.mark.parametrize("flag", [b"x", b"g", b"L", b"K"])
def test_a_huge_extended_header_is_refused_unread(flag: bytes) -> None:
    refused(
        header(b"x", flag, size=1 << 32),
        "layer L: tar offset 512: an extended header of more than 1048576 bytes, the limit;"
        " raise it with --max-header-size if you trust the image",
        error=LimitError,
    )


def test_the_header_size_limit_is_an_option() -> None:
    data = layer(pax({b"comment": b"c" * 2000}), file(b"x"))
    with pytest.raises(LimitError, match="more than 1000 bytes, the limit"):
        read(data, limits=Limits(header_size=1000))
    assert len(read(data, limits=Limits(header_size=3000))) == 1


@pytest.mark.parametrize("extended", [pax({b"path": b"x"}), gnu_long(b"x"), gnu_long(b"x", flag=b"K")])
def test_an_extended_header_for_nothing_is_refused(extended: bytes) -> None:
    refused(
        layer(extended),
        f"layer L: tar offset {len(extended) + len(END)}: it ends after an extended header,"
        " before the entry that the header is for",
    )


# the stream


def test_an_empty_stream_an_empty_archive_and_one_without_its_end_are_legal() -> None:
    for data in (b"", END, END[:BLOCK], END * 10):
        assert read(data) == []
    assert only(file(b"x")).path == b"x"


def test_what_follows_the_end_is_read_and_ignored() -> None:
    rest = iter([layer(file(b"x")), file(b"y"), b"not a tar"])
    assert [entry.path for entry in TarReader(ChunkStream(rest), what="layer L", limits=Limits())] == [b"x"]
    assert next(rest, None) is None


def test_a_single_zero_block_in_the_middle_is_refused() -> None:
    refused(
        file(b"x") + bytes(BLOCK) + file(b"y"),
        "layer L: tar offset 1536: a single zero block inside the archive; the archive is damaged",
    )


@pytest.mark.parametrize("at", [0, 99, 100, 156, 257, 300, 511])
def test_a_damaged_header_anywhere_is_an_error_and_never_the_end(at: int) -> None:
    broken = bytearray(file(b"x") + file(b"y") + END)
    broken[BLOCK + at] ^= 1
    refused(
        bytes(broken),
        "layer L: tar offset 1024: the header checksum does not match; the archive is damaged or not a tar archive",
    )


def test_a_checksum_summed_as_signed_bytes_is_accepted() -> None:
    block = header(b"caf\xc3\xa9")
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    assert only(layer(block[:148] + b"%06o\0 " % signed + block[156:])).path == b"caf\xc3\xa9"


def test_a_checksum_of_no_number_is_refused() -> None:
    block = header(b"x")
    refused(
        layer(block[:148] + b"x" * 8 + block[156:]),
        "layer L: tar offset 512: the header checksum does not match; the archive is damaged or not a tar archive",
    )


def test_a_stream_that_ends_anywhere_but_between_entries_is_refused() -> None:
    data = pax({b"path": b"long"}) + file(b"x", b"c" * 600) + file(b"y")
    padding = range(len(data) - BLOCK - (-600 % BLOCK), len(data) - BLOCK)
    whole = {0, *padding, len(data) - BLOCK, len(data)}
    for cut in range(len(data) + 1):
        for save in (kept, None):
            entries = TarReader(ChunkStream([data[:cut]]), what="layer L", limits=Limits(), save=save)
            if cut in whole:
                list(entries)
                continue
            with pytest.raises(LayerError, match=r"truncated$|before the entry that the header is for$"):
                list(entries)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (100, "layer L: tar offset 100: the tar stream ends inside a header; the archive is truncated"),
        (700, "layer L: tar offset 700: the tar stream ends inside an extended header; the archive is truncated"),
        (1600, "layer L: entry 'long': the tar stream ends inside its content; the archive is truncated"),
    ],
)
def test_the_message_says_where_a_stream_ends(cut: int, message: str) -> None:
    refused((pax({b"path": b"long"}) + file(b"x", b"c" * 600))[:cut], message)


@pytest.mark.parametrize("chunk", [1, 511, 512, 513, 4096])
def test_chunks_of_any_size_give_the_same_entries(chunk: int) -> None:
    data = layer(pax({b"path": b"long"}), file(b"x", b"c" * 600), symlink(b"s", b"t"))
    entries = read(data, chunk=chunk)
    assert [entry.path for entry in entries] == [b"long", b"s"]
    assert entries[0].inode is not None
    assert content(entries[0].inode) == b"c" * 600


def test_a_long_name_in_a_message_is_cut_and_printable() -> None:
    refused(
        layer(pax({b"path": b"../\x1b[31m\xff" + b"n" * 300}), file(b"x")),
        f"layer L: entry '../\\x1b[31m\\\\xff{'n' * 187}…': a '..' in its name;"
        " it must not lead out of the archive's root",
    )


def test_the_builder_writes_what_the_format_says() -> None:
    block = header(b"name", size=8)
    assert checksummed(block) == block
    assert block[257:265] == USTAR
