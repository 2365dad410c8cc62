"""The rules for entries, one by one, on headers written by hand."""

from __future__ import annotations

import pytest

from nixoci.errors import LayerError, LimitError
from nixoci.tree.limits import Limits
from nixoci.tree.model import Kind
from nixoci.tree.tar_format import show
from tests.support.layers import (
    GNU,
    V7,
    base256,
    content,
    directory,
    file,
    gnu_long,
    hardlink,
    header,
    inode_of,
    layer,
    octal,
    only,
    padded,
    pax,
    raw_pax,
    read,
    record,
    refused,
    symlink,
)

SECOND = 1_000_000_000


# names


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"etc/passwd", b"etc/passwd"),
        (b"./etc/passwd", b"etc/passwd"),
        (b"/etc/passwd", b"etc/passwd"),
        (b"//etc///./passwd", b"etc/passwd"),
        (b"./", b""),
        (b"/", b""),
        (b".", b""),
        (b"a..b/...", b"a..b/..."),
        (b"caf\xc3\xa9", b"caf\xc3\xa9"),
        (b"cafe\xcc\x81", b"cafe\xcc\x81"),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"new\nline\\back", b"new\nline\\back"),
        (b" ", b" "),
        (b"a/../b", b"b"),
        (b"a/./c/../../b", b"b"),
        (b"a/..", b""),
        (b"/../b", b"b"),
    ],
)
def test_names_are_kept_byte_for_byte_and_made_relative(name: bytes, path: bytes) -> None:
    assert only(layer(file(name))).path == path


@pytest.mark.parametrize("name", [b"../x", b"a/../../b", b"..", b"./.."])
def test_a_parent_component_that_leads_out_is_refused(name: bytes) -> None:
    refused(
        layer(file(name)),
        f"layer L: entry '{name.decode()}': a '..' in its name; it must not lead out of the archive's root",
    )


def test_a_parent_component_in_a_hardlink_target_is_refused() -> None:
    refused(
        layer(hardlink(b"x", b"../../etc/shadow")),
        "layer L: entry '../../etc/shadow': a '..' in its name; it must not lead out of the archive's root",
    )


def test_a_nul_in_a_pax_name_is_refused() -> None:
    refused(layer(pax({b"path": b"a\0b"}), file(b"x")), "layer L: entry 'a\\x00b': a NUL byte in its name")


def test_a_name_of_255_bytes_is_read_and_one_of_256_refused() -> None:
    longest = b"n" * 255
    assert only(layer(pax({b"path": b"d/" + longest}), file(b"x"))).path == b"d/" + longest
    refused(
        layer(pax({b"path": b"n" * 256}), file(b"x")),
        f"layer L: entry '{'n' * 199}…': its name is too long; a name has at most 255 bytes, a path 3840",
        error=LimitError,
    )


def test_the_whiteout_of_a_name_of_255_bytes_is_read() -> None:
    path = b"d/.wh." + b"n" * 255
    assert only(layer(pax({b"path": path}), file(b"x"))).path == path
    refused(
        layer(pax({b"path": b".wh." + b"n" * 256}), file(b"x")),
        f"layer L: entry '.wh.{'n' * 195}…': its name is too long; a name has at most 255 bytes, a path 3840",
        error=LimitError,
    )


def test_a_path_of_more_than_3840_bytes_is_refused() -> None:
    deep = b"/".join([b"n" * 255] * 15)
    assert only(layer(pax({b"path": deep}), file(b"x"))).path == deep
    refused(
        layer(pax({b"path": deep + b"/d"}), file(b"x")),
        f"layer L: entry '{'n' * 199}…': its name is too long; a name has at most 255 bytes, a path 3840",
        error=LimitError,
    )


def test_the_depth_limit_names_itself() -> None:
    assert only(layer(file(b"a/b"))).path == b"a/b"
    refused(
        layer(file(b"a/b/c")),
        "layer L: entry 'a/b/c': 3 directories deep, the limit is 2; raise it with --max-depth if you trust the image",
        limits=Limits(depth=2),
        error=LimitError,
    )


def test_a_ustar_prefix_comes_before_the_name() -> None:
    tail = b"a/long/prefix"
    assert only(layer(header(b"name", tail=tail))).path == b"a/long/prefix/name"


def test_gnu_and_v7_headers_have_no_prefix() -> None:
    for magic in (GNU, V7):
        assert only(layer(header(b"name", magic=magic, tail=octal(1, 12) + octal(2, 12)))).path == b"name"
    assert only(layer(header(b"name", magic=V7, tail=b"not a prefix"))).path == b"name"


def test_the_prefix_that_go_before_1_8_wrote_into_gnu_headers_is_one() -> None:
    assert only(layer(header(b"name", magic=GNU, tail=b"usr/share/doc"))).path == b"usr/share/doc/name"
    assert only(layer(header(b"name", magic=GNU, tail=b"\xc3\xa9"))).path == b"name"
    times = base256(1 << 40, 12) + base256(-1, 12)
    assert only(layer(header(b"name", magic=GNU, tail=times))).path == b"name"


def test_a_star_header_has_a_prefix_of_131_bytes_and_times_behind_it() -> None:
    tail = b"prefix".ljust(131, b"\0") + b"00000000001\x0000000000002\0" + bytes(8) + b"tar\0"
    assert only(layer(header(b"name", tail=tail))).path == b"prefix/name"


def test_a_name_that_fills_its_field_has_no_terminator() -> None:
    assert only(layer(file(b"n" * 100))).path == b"n" * 100
    assert inode_of(layer(symlink(b"s", b"t" * 100))).target == b"t" * 100


def test_gnu_long_name_and_link() -> None:
    name, target = b"d/" * 70 + b"name", b"t" * 300
    data = layer(gnu_long(name), gnu_long(target, flag=b"K"), header(b"d/d", b"2", link=b"short", magic=GNU))
    assert only(data).path == name
    assert inode_of(data).target == target


def test_gnu_long_names_win_over_pax_and_pax_over_the_header() -> None:
    extended = pax({b"path": b"pax", b"linkpath": b"target"})
    entry = header(b"ustar", b"2", link=b"x")
    assert only(layer(extended, entry)).path == b"pax"
    assert inode_of(layer(extended, entry)).target == b"target"
    gnu = (gnu_long(b"gnu"), gnu_long(b"gnu target", flag=b"K"))
    for headers in ((extended, *gnu), (*gnu, extended)):
        assert only(layer(*headers, entry)).path == b"gnu"
        assert inode_of(layer(*headers, entry)).target == b"gnu target"


def test_an_extended_header_is_for_one_entry_only() -> None:
    first, second = read(layer(pax({b"path": b"long", b"uid": b"7"}), file(b"x"), file(b"y")))
    assert (first.path, second.path) == (b"long", b"y")
    assert second.inode is not None
    assert second.inode.uid == 0


def test_an_empty_pax_value_means_the_header_s() -> None:
    data = layer(pax({b"path": b"", b"uid": b"", b"mtime": b"", b"size": b""}), file(b"x", b"data", uid=3, mtime=4))
    assert only(data).path == b"x"
    inode = inode_of(data)
    assert (inode.uid, inode.mtime, inode.size) == (3, 4 * SECOND, 4)


# kinds


def test_every_kind_is_read() -> None:
    data = layer(
        header(b"old", b"\0"),
        header(b"contiguous", b"7"),
        file(b"file"),
        directory(b"dir/"),
        symlink(b"link", b"/dangling"),
        header(b"char", b"3", device=(5, 1)),
        header(b"block", b"4", device=(8, 0)),
        header(b"fifo", b"6"),
    )
    found = {entry.path: (entry.inode.kind, entry.inode.device) for entry in read(data) if entry.inode}
    assert found == {
        b"old": (Kind.REGULAR, (0, 0)),
        b"contiguous": (Kind.REGULAR, (0, 0)),
        b"file": (Kind.REGULAR, (0, 0)),
        b"dir": (Kind.DIRECTORY, (0, 0)),
        b"link": (Kind.SYMLINK, (0, 0)),
        b"char": (Kind.CHARACTER, (5, 1)),
        b"block": (Kind.BLOCK, (8, 0)),
        b"fifo": (Kind.FIFO, (0, 0)),
    }


def test_an_old_regular_entry_whose_name_ends_in_a_slash_is_a_directory() -> None:
    assert inode_of(layer(header(b"dir/", b"\0", magic=V7))).kind is Kind.DIRECTORY
    assert inode_of(layer(header(b"file/", b"0"))).kind is Kind.REGULAR


@pytest.mark.parametrize("flag", [b"D", b"M", b"V", b"N", b"Z", b"8", b"\xff"])
def test_a_type_that_no_layer_holds_is_refused(flag: bytes) -> None:
    refused(layer(header(b"x", flag)), f"layer L: entry 'x': type {show(flag)} is not a type that a layer can hold")


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../../..", b"nowhere", b"a//b/", b"\xff \n", b"."])
def test_a_symlink_target_is_kept_verbatim(target: bytes) -> None:
    assert inode_of(layer(symlink(b"s", target))).target == target


def test_an_impossible_symlink_target_is_refused() -> None:
    refused(layer(symlink(b"s", b"")), "layer L: entry 's': a symlink target of 0 bytes; 1 to 4095 are possible")
    refused(
        layer(pax({b"linkpath": b"t" * 4096}), symlink(b"s", b"t")),
        "layer L: entry 's': a symlink target of 4096 bytes; 1 to 4095 are possible",
    )
    refused(
        layer(pax({b"linkpath": b"a\0b"}), symlink(b"s", b"t")),
        "layer L: entry 's': a NUL byte in its symlink target",
    )


def test_a_hardlink_has_the_normalised_target_and_no_content() -> None:
    entry = only(layer(header(b"x", b"1", link=b"/./a//b", size=4096)))
    assert (entry.path, entry.link, entry.inode) == (b"x", b"a/b", None)


@pytest.mark.parametrize("device", [(4096, 0), (0, 1 << 20), (base256(1 << 40, 8), 0)])
def test_a_device_number_that_linux_cannot_hold_is_refused(device: tuple[int | bytes, int | bytes]) -> None:
    with pytest.raises(LayerError, match=r"^layer L: entry 'x': device \d+:\d+; Linux has majors to 4095 and minors"):
        read(layer(header(b"x", b"3", device=device)))


def test_a_damaged_device_number_is_refused() -> None:
    with pytest.raises(LayerError, match=r"the device major in a header is not a number of the tar format"):
        read(layer(header(b"x", b"4", device=(b"9", 0))))


# attributes


def test_mode_owner_and_time_come_from_the_header() -> None:
    inode = inode_of(layer(file(b"x", mode=0o104755, uid=1000, gid=33, mtime=1_700_000_000)))
    assert (inode.mode, inode.uid, inode.gid, inode.mtime) == (0o4755, 1000, 33, 1_700_000_000 * SECOND)


def test_sticky_and_set_group_bits_are_kept() -> None:
    assert inode_of(layer(directory(b"tmp/", mode=0o3777))).mode == 0o3777


def test_base_256_numbers_are_read() -> None:
    data = layer(header(b"x", uid=base256(3_000_000_000, 8), gid=base256(1 << 31, 8), mtime=base256(-5, 12)))
    inode = inode_of(data)
    assert (inode.uid, inode.gid, inode.mtime) == (3_000_000_000, 1 << 31, -5 * SECOND)


def test_a_base_256_size_is_read() -> None:
    data = layer(header(b"x", size=base256(3, 12)) + padded(b"abc"), file(b"y"))
    assert [entry.path for entry in read(data)] == [b"x", b"y"]


@pytest.mark.parametrize(
    ("text", "mtime"),
    [
        (b"1", SECOND),
        (b"1.5", 1_500_000_000),
        (b"1.", SECOND),
        (b"0.000000001", 1),
        (b"0.0000000019", 1),
        (b"-1", -SECOND),
        (b"-1.5", -1_500_000_000),
        (b"-0.25", -250_000_000),
        (b"+1", SECOND),
        (b"0" * 5000 + b"1." + b"0" * 50, SECOND),
    ],
)
def test_pax_times_have_fractions_and_signs(text: bytes, mtime: int) -> None:
    assert inode_of(layer(pax({b"mtime": text}), file(b"x", mtime=99))).mtime == mtime


@pytest.mark.parametrize("text", [b"soon", b"1e9", b"1,5", b"--1", b"+-1", b" 1", b".5", b"9" * 21, b"%d" % (1 << 56)])
def test_a_pax_time_that_is_no_number_is_refused(text: bytes) -> None:
    refused(
        layer(pax({b"mtime": text}), file(b"x")),
        f"layer L: entry 'x': PAX mtime {show(text)} is not a decimal number of seconds",
    )


@pytest.mark.parametrize("field", [b"9", base256(1 << 60, 12), b"-1"])
def test_a_header_time_that_is_no_number_is_refused(field: bytes) -> None:
    with pytest.raises(LayerError, match=r"^layer L: entry 'x': mtime .* is not a time of the tar format$"):
        read(layer(header(b"x", mtime=field)))


def test_pax_numbers_may_be_long_and_signed() -> None:
    records = [record(b"uid", b"0" * 5000 + b"7"), record(b"gid", b"+8"), b"0" * 30 + b"40 size=4\n"]
    inode = inode_of(layer(raw_pax(b"".join(records)), file(b"x", b"data")))
    assert (inode.uid, inode.gid, content(inode)) == (7, 8, b"data")


def test_pax_owners_win() -> None:
    inode = inode_of(layer(pax({b"uid": b"4294967294", b"gid": b"2097152"}), file(b"x", uid=1, gid=1)))
    assert (inode.uid, inode.gid) == (4_294_967_294, 2_097_152)


def test_an_owner_past_32_bits_is_refused() -> None:
    refused(
        layer(pax({b"uid": b"4294967295"}), file(b"x")),
        "layer L: entry 'x': owner 4294967295:0; Linux ids end at 4294967294",
    )


@pytest.mark.parametrize("key", [b"uid", b"gid", b"size"])
@pytest.mark.parametrize("text", [b"-1", b"1.0", b"0x10", b"ten", b" 1", b"9" * 21])
def test_a_pax_number_that_is_none_is_refused(key: bytes, text: bytes) -> None:
    refused(
        layer(pax({key: text}), file(b"x")),
        f"layer L: entry 'x': PAX {key.decode()} {show(text)}: expected a decimal number",
    )


@pytest.mark.parametrize("flag", [b"1", b"2", b"5", b"6"])
def test_a_negative_pax_size_is_refused_for_every_kind(flag: bytes) -> None:
    refused(
        layer(pax({b"size": b"-512"}), header(b"x", flag, link=b"t")),
        "layer L: entry 'x': PAX size '-512': expected a decimal number",
    )


@pytest.mark.parametrize("what", ["mode", "uid", "gid", "size"])
def test_a_negative_number_is_refused(what: str) -> None:
    field = base256(-1, 12 if what == "size" else 8)
    members = {
        "mode": header(b"x", mode=field),
        "uid": header(b"x", uid=field),
        "gid": header(b"x", gid=field),
        "size": header(b"x", size=field),
    }
    with pytest.raises(LayerError, match=f"the {what} in a header is not a number of the tar format: '"):
        read(layer(members[what]))


@pytest.mark.parametrize("field", [b"00000000008", b"-0000000001", b"+0000000001", b"0o000000001", b"1_0", b"0x1"])
def test_a_size_that_is_not_octal_is_refused(field: bytes) -> None:
    with pytest.raises(LayerError, match="the size in a header is not a number of the tar format"):
        read(layer(header(b"x", size=field)))


def test_numbers_may_be_padded_with_spaces_and_ended_by_either() -> None:
    assert inode_of(layer(header(b"x", mode=b"   644 \0", uid=b"     1 ", gid=b"\0\0\0"))).uid == 1


def test_what_follows_the_nul_of_a_number_does_not_count() -> None:
    inode = inode_of(layer(header(b"x", mode=b"0644\0xyz", uid=b"0001\0\xff 7", mtime=b"12\0garbage")))
    assert (inode.mode, inode.uid, inode.mtime) == (0o644, 1, 10 * SECOND)


def test_the_last_entry_may_go_without_padding() -> None:
    (entry,) = read(header(b"x", size=3) + b"abc")
    assert entry.inode is not None
    assert content(entry.inode) == b"abc"
