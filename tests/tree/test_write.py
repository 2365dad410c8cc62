"""The rootfs on disk: only files that a NAR can hold, the right content, and no write outside of it."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.tree.byte_stream import ChunkStream
from nixoci.tree.contents import Contents
from nixoci.tree.limits import Limits
from nixoci.tree.merge import Merger
from nixoci.tree.tar_reader import TarReader
from nixoci.tree.write import write_rootfs
from tests.support.layers import directory, file, hardlink, header, layer, merge, pax, symlink, whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def umask_077() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def write(dest: Path, *layers: bytes) -> Path:
    """Write the tree of these layers, with the contents put aside beside it."""
    with Contents(dest.parent / "contents") as contents:
        write_rootfs(merge(*layers, save=contents.save), dest, contents=contents)
    return dest


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("umask_077")
def test_modes_are_normal_whatever_the_umask_and_the_image_say(tmp_path: Path) -> None:
    dest = write(
        tmp_path / "rootfs",
        layer(
            directory(b"./", mode=0),
            directory(b"closed/", mode=0),
            file(b"closed/secret", b"x", mode=0),
            file(b"suid", b"x", mode=0o4711),
            file(b"group-only", b"x", mode=0o010),
            file(b"empty", mode=0o666),
            file(b"empty-program", mode=0o001),
            directory(b"sticky/", mode=0o1777),
        ),
    )
    found = {path.name: mode(path) for path in (dest, *dest.rglob("*"))}
    assert found == {
        "rootfs": 0o755,
        "closed": 0o755,
        "secret": 0o444,
        "suid": 0o555,
        "group-only": 0o555,
        "empty": 0o444,
        "empty-program": 0o555,
        "sticky": 0o755,
    }


def test_modes_are_normal_where_an_acl_takes_bits_away(tmp_path: Path) -> None:
    # version 2; the owner may do everything, the group and others nothing (linux/posix_acl_xattr.h)
    acl = struct.pack("<I" + "HHI" * 3, 2, *(0x01, 7, 0xFFFFFFFF), *(0x04, 0, 0xFFFFFFFF), *(0x20, 0, 0xFFFFFFFF))
    os.setxattr(tmp_path, "system.posix_acl_default", acl)
    (tmp_path / "plain").touch(0o444)
    assert mode(tmp_path / "plain") == 0o400
    dest = write(tmp_path / "rootfs", layer(file(b"d/file", b"x"), file(b"program", b"x", mode=0o700)))
    assert {path.name: mode(path) for path in dest.rglob("*")} == {"d": 0o755, "file": 0o444, "program": 0o555}


def test_contents_come_from_the_layer_that_won(tmp_path: Path) -> None:
    big = bytes(range(256)) * 5000
    dest = write(
        tmp_path / "rootfs",
        layer(file(b"a", b"first"), file(b"big", big), file(b"gone", b"x"), file(b"z", b"last")),
        layer(file(b"a", b"second"), whiteout(b"gone")),
        layer(),
    )
    assert sorted(path.name for path in dest.iterdir()) == ["a", "big", "z"]
    assert (dest / "a").read_bytes() == b"second"
    assert (dest / "big").read_bytes() == big
    assert (dest / "z").read_bytes() == b"last"


def test_sparse_files_have_their_length_and_zeros(tmp_path: Path) -> None:
    def sparse(name: bytes, runs: bytes, size: bytes) -> bytes:
        return pax({b"GNU.sparse.size": size, b"GNU.sparse.map": runs, b"GNU.sparse.name": name})

    dest = write(
        tmp_path / "rootfs",
        layer(
            sparse(b"middle", b"3,2,7,1", b"10") + file(b"x", b"abc"),
            sparse(b"none", b"", b"5000") + file(b"x"),
            sparse(b"end", b"0,3", b"3") + file(b"x", b"abc"),
        ),
    )
    assert (dest / "middle").read_bytes() == b"\0\0\0ab\0\0c\0\0"
    assert (dest / "none").read_bytes() == bytes(5000)
    assert (dest / "end").read_bytes() == b"abc"


def test_symlinks_are_verbatim_and_hardlinks_one_file(tmp_path: Path) -> None:
    dest = write(
        tmp_path / "rootfs",
        layer(
            file(b"z", b"data"),
            hardlink(b"a", b"z"),
            symlink(b"s", b"/nowhere/../x"),
            hardlink(b"t", b"s"),
            file(b"e"),
            hardlink(b"f", b"e"),
        ),
    )
    assert (dest / "a").stat().st_ino == (dest / "z").stat().st_ino
    assert (dest / "e").stat().st_ino == (dest / "f").stat().st_ino
    assert (dest / "s").lstat().st_ino == (dest / "t").lstat().st_ino
    assert str((dest / "t").readlink()) == "/nowhere/../x"


def test_devices_and_fifos_and_their_hardlinks_are_left_out(tmp_path: Path) -> None:
    members = (header(b"null", b"3", device=(1, 3)), header(b"disk", b"4"), header(b"pipe", b"6"))
    dest = write(tmp_path / "rootfs", layer(*members, hardlink(b"link", b"null"), file(b"f")))
    assert [path.name for path in dest.iterdir()] == ["f"]


def test_nothing_is_written_through_a_symlink(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    out = os.fsencode(outside)
    dest = write(
        tmp_path / "rootfs",
        layer(symlink(b"s", out), file(b"s/f", b"x"), symlink(b"t", out + b"/f"), file(b"t", b"y")),
        layer(symlink(b"up", b"../../outside"), directory(b"up/d/"), hardlink(b"h", b"s/f")),
    )
    assert list(outside.iterdir()) == []
    assert (dest / "t").read_bytes() == b"y"
    assert (dest / os.fsdecode(out.lstrip(b"/")) / "f").read_bytes() == b"x"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", b" ", b"n" * 255, b"cafe\xcc\x81", b"caf\xc3\xa9", b"\\"])
def test_names_are_written_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    dest = write(tmp_path / "rootfs", layer(pax({b"path": name}) + file(b"x", b"data")))
    assert [os.fsencode(path.name) for path in dest.iterdir()] == [name]


def test_the_destination_must_be_new(tmp_path: Path) -> None:
    (tmp_path / "rootfs").symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        write(tmp_path / "rootfs", layer())


def test_contents_that_lost_get_no_name_and_those_that_won_move(tmp_path: Path) -> None:
    write(tmp_path / "rootfs", layer(file(b"a", b"lost"), file(b"b", b"won")), layer(file(b"a", b"won")))
    assert [path.read_bytes() for path in (tmp_path / "contents").iterdir()] == [b"lost"]


def test_contents_are_put_aside_where_only_we_write(tmp_path: Path) -> None:
    (tmp_path / "contents").symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        Contents(tmp_path / "contents")
    with Contents(tmp_path / "new"):
        assert mode(tmp_path / "new") == 0o700


def test_a_content_is_put_aside_in_a_new_file_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    with Contents(tmp_path / "contents") as contents:
        os.link(outside, tmp_path / "contents/1")
        with pytest.raises(FileExistsError, match=str(tmp_path / "contents/1")):
            merge(layer(file(b"f", b"x")), save=contents.save)
    assert outside.read_bytes() == b"untouched"


def test_a_file_with_more_names_than_the_file_system_allows_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def three_names(source: bytes, target: bytes, *, follow_symlinks: bool) -> None:
        if os.lstat(source).st_nlink == 3:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        real(source, target, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "link", three_names)
    links = [hardlink(b"f%d" % number, b"f0") for number in range(1, 7)]
    more = [hardlink(b"s%d" % number, b"s0") for number in range(1, 7)]
    data = layer(header(b"f0", mode=0o755, size=4), b"data".ljust(512, b"\0"), *links, symlink(b"s0", b"away"), *more)
    rootfs = write(tmp_path / "rootfs", data)
    files = [rootfs / f"f{number}" for number in range(7)]
    assert [(path.read_bytes(), mode(path), path.stat().st_nlink) for path in files] == [
        (b"data", 0o555, nlink) for nlink in (3, 3, 3, 3, 3, 3, 1)
    ]
    assert [(rootfs / f"s{number}").readlink() for number in range(7)] == [Path("away")] * 7


@pytest.mark.usefixtures("umask_077")
@pytest.mark.parametrize("call", ["pwrite", "fchmod", "unlink", "ftruncate"])
def test_a_full_disk_is_the_error_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    records = {b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"0,3", b"GNU.sparse.name": b"a"}
    data = layer(pax(records) + file(b"x", b"abc"))
    before = open_files()
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path / "rootfs", data)
    assert open_files() == before


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:3], at))
    assert (write(tmp_path / "rootfs", layer(file(b"a", b"0123456789"))) / "a").read_bytes() == b"0123456789"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.binary(max_size=2000)), max_size=6), st.integers(1, 3000))
def test_chunks_of_any_size_give_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, bytes]], chunk: int
) -> None:
    data = layer(*(file(name.encode(), body) for name, body in files))
    dest = tmp_path_factory.mktemp("write") / "rootfs"
    chunks = (data[at : at + chunk] for at in range(0, len(data), chunk))
    merger = Merger(Limits())
    with Contents(dest.parent / "contents") as contents:
        reader = TarReader(ChunkStream(chunks), what="layer L", limits=Limits(), save=contents.save)
        merger.apply(reader, layer="L")
        write_rootfs(merger.root, dest, contents=contents)
    assert {path.name: path.read_bytes() for path in dest.iterdir()} == dict(files)
