"""The metadata dump: composefs's format, and a round trip through writer and reader."""

from __future__ import annotations

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import StoreError
from nixoci.tree.dump import escape, read_dump, unescape, write_dump
from nixoci.tree.model import Inode, Kind, walk
from nixoci.tree.tar_format import show
from tests.support.layers import description, directory, file, hardlink, header, layer, merge, pax, symlink
from tests.support.trees import trees


def lines(root: Inode) -> list[str]:
    return [line.decode("ascii") for line in write_dump(root)]


def test_every_field_is_where_composefs_looks_for_it() -> None:
    xattr = pax({b"SCHILY.xattr.user.b": b"x=y z", b"SCHILY.xattr.user.a": b"\0\xff", b"mtime": b"-1.5"})
    root = merge(
        layer(
            directory(b"./", mode=0o1777, uid=1, gid=2, mtime=3),
            directory(b"d/", mode=0o750),
            directory(b"d/sub/"),
            xattr + file(b"d/f", b"data", mode=0o4755, uid=1000, gid=33),
            hardlink(b"e", b"d/f"),
            file(b"empty"),
            symlink(b"s", b"-"),
            header(b"null", b"3", device=(1, 3), mode=0o666),
            header(b"disk", b"4", device=(259, 300), mode=0o660),
            header(b"pipe", b"6", mode=0o600),
        )
    )
    assert lines(root) == [
        "/ 0 41777 3 1 2 0 3.0 - - -\n",
        "/d 0 40750 3 0 0 0 0.0 - - -\n",
        "/d/f 4 104755 2 1000 33 0 -2.500000000 d/f - - user.a=\\x00\\xff user.b=x\\x3dy\\x20z\n",
        "/d/sub 0 40755 2 0 0 0 0.0 - - -\n",
        "/disk 0 60660 1 0 0 1114924 0.0 - - -\n",
        "/e 4 @104755 2 1000 33 0 -2.500000000 /d/f - - user.a=\\x00\\xff user.b=x\\x3dy\\x20z\n",
        "/empty 0 100644 1 0 0 0 0.0 - - -\n",
        "/null 0 20666 1 0 0 259 0.0 - - -\n",
        "/pipe 0 10600 1 0 0 0 0.0 - - -\n",
        "/s 1 120777 1 0 0 0 0.0 \\x2d - -\n",
    ]


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        (b"plain-text.txt", b"plain-text.txt"),
        (b"-", b"\\x2d"),
        (b"--", b"--"),
        (b"a b", b"a\\x20b"),
        (b"a\\b", b"a\\\\b"),
        (b"\n\r\t", b"\\n\\r\\t"),
        (b"\0\x7f\xff", b"\\x00\\x7f\\xff"),
        (b"caf\xc3\xa9", b"caf\\xc3\\xa9"),
        (b"a=b", b"a=b"),
        (b"\\x41", b"\\\\x41"),
    ],
)
def test_escapes(raw: bytes, escaped: bytes) -> None:
    assert escape(raw) == escaped
    assert unescape(escaped) == raw


@given(st.binary())
def test_escaping_is_undone_and_leaves_nothing_that_separates_fields(raw: bytes) -> None:
    escaped = escape(raw)
    assert unescape(escaped) == raw
    assert re.fullmatch(rb"[\x21-\x7e]*", escaped)
    assert escaped != b"-"


@pytest.mark.parametrize("text", [b"\\", b"\\q", b"\\x4", b"\\xg0", b"a\\"])
def test_what_is_no_escape_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="escape"):
        unescape(text)


@given(trees())
def test_a_tree_reads_back_from_its_dump(root: Inode) -> None:
    text = list(write_dump(root))
    again = read_dump(text)
    assert description(again) == description(root)
    assert list(write_dump(again)) == text
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in text)


@given(trees())
def test_link_counts_are_those_of_a_file_system(root: Inode) -> None:
    for line, (path, inode) in zip(write_dump(root), walk(root), strict=True):
        links = int(line.split(b" ")[3])
        if inode.kind is Kind.DIRECTORY:
            assert links == 2 + sum(child.kind is Kind.DIRECTORY for child in inode.children.values()), path
        else:
            assert links == sum(other is inode for _, other in walk(root)), path


ROOT = b"/ 0 40755 2 0 0 0 0.0 - - -\n"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"/f\n",
        b"f 0 100644 1 0 0 0 0.0 - - -\n",
        b"/f 0 100644 1 0 0 0 0.0 - -\n",
        b"/f 0 999 1 0 0 0 0.0 - - -\n",
        b"/f 0 0 1 0 0 0 0.0 - - -\n",
        b"/f 0 100644 1 root 0 0 0.0 - - -\n",
        b"/f 0 100644 1 0 0 0 now - - -\n",
        b"/f x 100644 1 0 0 0 0.0 - - -\n",
        b"/d/f 0 100644 1 0 0 0 0.0 - - -\n",
        b"/f 0 @100644 2 0 0 0 0.0 nowhere - -\n",
        b"/f\\q 0 100644 1 0 0 0 0.0 - - -\n",
        # paths
        b"/ 0 40755 2 0 0 0 0.0 - - -\n",
        b"// 0 40755 2 0 0 0 0.0 - - -\n",
        b"/. 0 40755 2 0 0 0 0.0 - - -\n",
        b"/.. 0 40755 2 0 0 0 0.0 - - -\n",
        b"/a\\x00b 0 40755 2 0 0 0 0.0 - - -\n",
        b"/" + b"n" * 256 + b" 0 40755 2 0 0 0 0.0 - - -\n",
        # hardlinks
        b"/l 0 @40755 2 0 0 0 0.0 / - -\n",
        b"/l 0 @100644 2 0 0 0 0.0 /l - -\n",
        # numbers
        b"/f -1 100644 1 0 0 0 0.0 - - -\n",
        b"/f +1 100644 1 0 0 0 0.0 f - -\n",
        b"/f 1_0 100644 1 0 0 0 0.0 f - -\n",
        b"/f 00 100644 1 0 0 0 0.0 - - -\n",
        b"/f %d 100644 1 0 0 0 0.0 f - -\n" % (1 << 63),
        b"/f " + b"9" * 5000 + b" 100644 1 0 0 0 0.0 f - -\n",
        b"/f 0 1100644 1 0 0 0 0.0 - - -\n",
        b"/f 0 -100644 1 0 0 0 0.0 - - -\n",
        b"/f 0 100644 x 0 0 0 0.0 - - -\n",
        b"/f 0 100644 -1 0 0 0 0.0 - - -\n",
        b"/f 0 100644 1 4294967295 0 0 0.0 - - -\n",
        b"/f 0 100644 1 0 -1 0 0.0 - - -\n",
        b"/f 0 20644 1 0 0 99999999999999999999999 0.0 - - -\n",
        b"/f 0 20644 1 0 0 -1 0.0 - - -\n",
        b"/f 0 100644 1 0 0 1 0.0 - - -\n",
        b"/f 0 100644 1 0 0 0 0 - - -\n",
        b"/f 0 100644 1 0 0 0 0.1000000000 - - -\n",
        b"/f 0 100644 1 0 0 0 0.-1 - - -\n",
        b"/f 0 100644 1 0 0 0 99999999999999999999.0 - - -\n",
        # payload, content, digest
        b"/f 5 100644 1 0 0 0 0.0 ../../etc/shadow - -\n",
        b"/f 5 100644 1 0 0 0 0.0 - - -\n",
        b"/f 0 100644 1 0 0 0 0.0 f - -\n",
        b"/f 5 100644 1 0 0 0 0.0 f inline -\n",
        b"/f 5 100644 1 0 0 0 0.0 f - 0123\n",
        b"/s 1 120777 1 0 0 0 0.0 long - -\n",
        b"/s 0 120777 1 0 0 0 0.0 - - -\n",
        b"/s 3 120777 1 0 0 0 0.0 a\\x00b - -\n",
        b"/s 4096 120777 1 0 0 0 0.0 " + b"t" * 4096 + b" - -\n",
        # xattrs
        b"/f 0 100644 1 0 0 0 0.0 - - - user.a\n",
        b"/f 0 100644 1 0 0 0 0.0 - - - =\n",
        b"/f 0 100644 1 0 0 0 0.0 - - - user.a=1 user.a=2\n",
        b"/f 0 100644 1 0 0 0 0.0 - - - user.a=\xff\n",
        b"/f 0 100644 1 0 0 0 0.0 - - - user.a\\x00=1\n",
        b"/f 0 100644 1 0 0 0 0.0 - - - " + b"x" * 256 + b"=1\n",
        b"/f 0 100644 1 0 0 0 0.0 - - - user.a=" + b"x" * 65536 + b"\n",
        # the end of the line
        b"/f 0 100644 1 0 0 0 0.0 - - -",
        b"/f 0 100644 1 0 0 0 0.0 - - - \n",
    ],
)
def test_a_line_that_is_not_of_the_format_is_refused_by_number(line: bytes) -> None:
    with pytest.raises(StoreError, match=f"^{re.escape(f'metadata dump: line 2 is not valid: {show(line[:100])}')}"):
        read_dump([ROOT, line])


def test_a_directory_may_have_the_size_that_composefs_gives_it() -> None:
    line = b"/d 4096 40755 2 0 0 0 0.0 - - -\n"
    assert read_dump([ROOT, line]).children[b"d"].size == 0


def test_a_child_of_a_file_is_refused() -> None:
    with pytest.raises(StoreError, match=r"^metadata dump: line 3 is not valid: "):
        read_dump([ROOT, b"/f 0 100644 1 0 0 0 0.0 - - -\n", b"/f/g 0 100644 1 0 0 0 0.0 - - -\n"])


FILE = b"/f 0 100644 2 0 0 0 0.0 - - -\n"


@pytest.mark.parametrize(
    "line",
    [
        FILE,  # twice
        b"/g 0 @40755 2 0 0 0 0.0 /d - -\n",  # a link to a directory
        b"/d/l 0 @40755 2 0 0 0 0.0 /d - -\n",  # a circle
        b"/g 0 @100644 2 0 0 0 0.0 /h - -\n",  # a link to a link
        b"/g 0 @100644 2 0 0 0 0.0 f - -\n",
        b"/g 0 @100755 2 0 0 0 0.0 /f - -\n",  # other attributes than the file
        b"/f 0 @100644 2 0 0 0 0.0 /f - -\n",
    ],
)
def test_a_link_or_a_name_that_cannot_be_is_refused(line: bytes) -> None:
    before = [ROOT, b"/d 0 40755 2 0 0 0 0.0 - - -\n", FILE, b"/h 0 @100644 2 0 0 0 0.0 /f - -\n"]
    assert len(list(walk(read_dump(before)))) == 4
    with pytest.raises(StoreError, match=r"^metadata dump: line 5 is not valid: "):
        read_dump([*before, line])


@pytest.mark.parametrize("line", [b"/ 0 100644 1 0 0 0 0.0 - - -\n", b"/ 0 @40755 2 0 0 0 0.0 / - -\n"])
def test_a_root_that_is_not_a_directory_is_refused(line: bytes) -> None:
    with pytest.raises(StoreError, match=r"^metadata dump: line 1 is not valid: "):
        read_dump([line])


@given(st.data())
def test_a_mutated_dump_is_a_tree_or_a_store_error(data: st.DataObject) -> None:
    lines = list(write_dump(data.draw(trees())))
    for _ in range(data.draw(st.integers(1, 4))):
        at, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        line = lines[at]
        match data.draw(st.sampled_from(["copy", "swap", "drop", "byte", "field"])):
            case "copy":
                lines.insert(at, lines[other])
            case "swap":
                lines[at], lines[other] = lines[other], line
            case "drop" if len(lines) > 1:
                del lines[at]
            case "byte":
                place = data.draw(st.integers(0, len(line)))
                lines[at] = (
                    line[:place]
                    + data.draw(st.sampled_from([b"", b"/", b".", b"\\", b" ", b"\0", b"9"]))
                    + (line[place + 1 :])
                )
            case "field":
                fields, donor = line.split(b" "), lines[other].split(b" ")
                place = data.draw(st.integers(0, min(len(fields), len(donor)) - 1))
                fields[place] = data.draw(st.sampled_from([donor[place], b"-", b"0", b"-1", b"9" * 30, b"/..", b"@0"]))
                lines[at] = b" ".join(fields)
    try:
        root = read_dump(lines)
    except StoreError:
        return
    seen = list(islice(walk(root), len(lines) + 1))
    assert len(seen) == len(lines), "no circle, nothing lost"
    assert not any({b"", b".", b".."} & set(path.split(b"/")) for path, _ in seen if path)


def test_a_dump_without_a_root_is_refused() -> None:
    with pytest.raises(StoreError, match=r"^metadata dump: it has no root directory; extract the image again$"):
        read_dump([])
