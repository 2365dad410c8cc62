"""Xattrs that Linux refuses are left out, or refused where podman refuses them; the others arrive."""

from __future__ import annotations

import pytest

from tests.support.layers import directory, file, inode_of, layer, pax, reader, refused
from tests.support.xattrs import DROPPED, KEPT, REFUSED


def xattrs(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return inode_of(layer(pax(records), file(b"x"))).xattrs


@pytest.mark.parametrize("name", KEPT)
def test_what_linux_takes_is_kept(name: str) -> None:
    case = KEPT[name]
    assert inode_of(layer(case.members())).xattrs == {case.name: case.value}


@pytest.mark.parametrize("name", DROPPED)
def test_what_no_file_can_have_is_dropped_with_a_warning(name: str) -> None:
    case = DROPPED[name]
    source = reader(layer(case.members()))
    assert [entry.inode.xattrs for entry in source if entry.inode] == [{}]
    (warning,) = source.warnings
    assert warning.startswith("layer L: entry 'n': xattr '")
    assert warning.endswith(f"' dropped: {case.dropped}")


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_linux_refuses_is_refused(name: str) -> None:
    case = REFUSED[name]
    shown = case.value[:32].hex() + ("..." if len(case.value) > 32 else "")
    refused(
        layer(case.members()),
        f"layer L: entry 'n': xattr '{case.name.decode()}' has a value that Linux refuses, in hexadecimal {shown};"
        " remove it where the image is built",
    )


def test_equal_warnings_are_one_with_their_number() -> None:
    apple = pax({b"SCHILY.xattr.com.apple.provenance": b"1"})
    source = reader(layer(*(apple + file(name) for name in (b"a", b"b", b"c")), apple + directory(b"d")))
    list(source)
    assert source.warnings == [
        "layer L: entry 'a' and 3 more: xattr 'com.apple.provenance' dropped: Linux has no xattr of such a name"
    ]


def test_binary_xattrs_are_kept() -> None:
    records = {b"SCHILY.xattr.user.bytes": bytes(range(256)), b"SCHILY.xattr.user.empty": b""}
    assert xattrs(records) == {b"user.bytes": bytes(range(256)), b"user.empty": b""}


@pytest.mark.parametrize("text", [b"AP8K", b"AP8KAQ", b"AP8KAQ=="])
def test_libarchive_xattrs_are_base64_and_percent_encoded(text: bytes) -> None:
    value = {b"AP8K": b"\0\xff\n", b"AP8KAQ": b"\0\xff\n\1", b"AP8KAQ==": b"\0\xff\n\1"}[text]
    assert xattrs({b"LIBARCHIVE.xattr.user.a%20b": text}) == {b"user.a b": value}


def test_schily_wins_over_libarchive_in_any_order() -> None:
    both = [(b"SCHILY.xattr.user.a", b"raw"), (b"LIBARCHIVE.xattr.user.a", b"AAAA")]
    for records in (dict(both), dict(reversed(both))):
        assert xattrs(records) == {b"user.a": b"raw"}


def test_a_libarchive_xattr_that_is_not_base64_is_refused() -> None:
    refused(
        layer(pax({b"LIBARCHIVE.xattr.user.a": b"?"}), file(b"x")),
        "layer L: entry 'x': xattr 'LIBARCHIVE.xattr.user.a': its value is not base64;"
        " remove it where the image is built",
    )


def test_selinux_labels_are_dropped_silently() -> None:
    source = reader(layer(pax({b"SCHILY.xattr.security.selinux": b"system_u"}), file(b"x")))
    assert [entry.inode.xattrs for entry in source if entry.inode] == [{}]
    assert source.warnings == []


@pytest.mark.parametrize("name", ["trusted.overlay.opaque", "user.overlay.redirect"])
def test_overlay_xattrs_are_dropped_with_a_warning(name: str) -> None:
    source = reader(layer(pax({b"SCHILY.xattr." + name.encode(): b"y", b"SCHILY.xattr.user.ok": b""}), file(b"x")))
    assert [entry.inode.xattrs for entry in source if entry.inode] == [{b"user.ok": b""}]
    assert source.warnings == [f"layer L: entry 'x': xattr '{name}' dropped: it would steer the overlay mount"]


@pytest.mark.parametrize("name", ["", "nodot", "user." + "n" * 251, "LIB=user.a%00b", "LIB=purgeable-drecs-fixed"])
def test_an_xattr_name_that_linux_cannot_hold_is_dropped_with_a_warning(name: str) -> None:
    key = f"LIBARCHIVE.xattr.{name[4:]}" if name.startswith("LIB=") else f"SCHILY.xattr.{name}"
    source = reader(layer(pax({key.encode(): b"", b"SCHILY.xattr.user.ok": b""}), file(b"x")))
    assert [entry.inode.xattrs for entry in source if entry.inode] == [{b"user.ok": b""}]
    (warning,) = source.warnings
    assert warning.startswith("layer L: entry 'x': xattr '")
    assert warning.endswith("' dropped: Linux has no xattr of such a name")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b"LIBARCHIVE.xattr.user.a%3Db", b"user.a=b"),
        (b"LIBARCHIVE.xattr.user.100%25", b"user.100%"),
        (b"LIBARCHIVE.xattr.user.a%c3%a9", b"user.a\xc3\xa9"),
        (b"SCHILY.xattr.user.a%3Db", b"user.a%3Db"),
    ],
)
def test_only_libarchive_percent_encodes_xattr_names(key: bytes, name: bytes) -> None:
    assert xattrs({key: b""}) == {name: b""}


def test_an_xattr_value_that_linux_cannot_hold_is_refused() -> None:
    refused(
        layer(pax({b"SCHILY.xattr.user.a": b"v" * 65536}), file(b"x")),
        "layer L: entry 'x': xattr 'user.a' has 65536 bytes; at most 65535 are possible;"
        " remove it where the image is built",
    )


def test_more_xattrs_than_an_erofs_file_can_have_are_refused_with_their_sum() -> None:
    assert len(xattrs({b"SCHILY.xattr.user.big": b"v" * 32740})) == 1
    refused(
        layer(pax({b"SCHILY.xattr.user.big": b"v" * 32741}), file(b"x")),
        "layer L: entry 'x': its xattrs have 32756 bytes in all; at most 32755 are possible;"
        " remove some where the image is built",
    )
    many = {b"SCHILY.xattr.user.%05d" % number: b"v" for number in range(1820)}
    refused(
        layer(pax(many), file(b"x")),
        "layer L: entry 'x': its xattrs have 32760 bytes in all; at most 32755 are possible;"
        " remove some where the image is built",
    )
