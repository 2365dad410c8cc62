from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import tarfile
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nixoci.compression import compress
from nixoci.errors import ImageError, LimitError
from nixoci.oci.archive import Archive
from nixoci.tree.limits import Limits
from tests.support import layers
from tests.support.layout import tar_stream, write_tar

if TYPE_CHECKING:
    from pathlib import Path

names = st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3}){0,2}", fullmatch=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(members=st.dictionaries(names, st.binary(max_size=2000)), compressed=st.booleans())
def test_members_are_read_where_they_lie(tmp_path: Path, members: dict[str, bytes], compressed: bool) -> None:
    file = write_tar(tmp_path / "a.tar", members)
    if compressed:
        file.write_bytes(gzip.compress(file.read_bytes()))
    with Archive.open_file(file, name="A") as archive:
        for name, data in members.items():
            assert archive.size(name) == len(data)
            with archive.open(name) as one, archive.open(f"./{name}") as other:
                assert one.read(7) + other.read() + one.read() == data[:7] + data + data[7:]


def test_links_lead_to_members(tmp_path: Path) -> None:
    links = {"b/link": "../a/file", "c/again": "/b/../b/link"}
    with Archive.open_file(write_tar(tmp_path / "a.tar", {"a/file": b"data"}, links), name="A") as archive:
        assert archive.resolve("b/link") == "a/file"
        with archive.open("c/again") as file:
            assert file.read() == b"data"


def test_a_hardlink_is_from_the_root(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a/file": b"data"})
    with tarfile.open(file, "a") as tar:
        info = tarfile.TarInfo("b/hard")
        info.type, info.linkname = tarfile.LNKTYPE, "a/file"
        tar.addfile(info)
    with Archive.open_file(file, name="A") as archive:
        assert archive.size("b/hard") == 4


def test_of_two_the_last_counts(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"name": b"first", "./name": b"second"})
    with Archive.open_file(file, name="A") as archive, archive.open("name") as member:
        assert member.read() == b"second"


def test_links_in_a_circle(tmp_path: Path) -> None:
    with Archive.open_file(write_tar(tmp_path / "a.tar", {}, {"a": "b", "b": "a"}), name="A") as archive:
        with pytest.raises(ImageError) as caught:
            archive.open("a")
        assert str(caught.value) == "A: a: more than 10 links to follow"


def test_a_name_outside_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    links = {"out": "../secret", "absolute": str(tmp_path / "secret")}
    with Archive.open_file(write_tar(tmp_path / "a.tar", {}, links), name="A") as archive:
        for name in (*links, "missing", "."):
            with pytest.raises(FileNotFoundError):
                archive.open(name)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"not a tar file" * 100, "A: tar offset 512: the header checksum does not match; the archive is damaged or"),
        (gzip.compress(b"text", mtime=0)[:-4], "A: cannot be decompressed: "),
        (b"\x1f\x8bnonsense", "A: cannot be decompressed: "),
        (bz2.compress(b"text")[:-4], "A: cannot be decompressed: "),
        (lzma.compress(b"text")[:-4], "A: cannot be decompressed: "),
        (compress(b"text")[:-1], "A: cannot be decompressed: "),
    ],
)
def test_what_is_no_archive(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ImageError) as caught, Archive.open_file(tmp_path / "a.tar", name="A"):
        pass
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_archive_is_an_image_error(tmp_path: Path, data: st.DataObject) -> None:
    file = write_tar(tmp_path / "a.tar", {"a": b"1" * 600, "b": b"2"}, {"c": "a"})
    damaged = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 2047))] = data.draw(st.integers(0, 255))
    file.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with suppress(ImageError), Archive.open_file(file, name="A") as archive, suppress(FileNotFoundError):
        archive.open("a").close()


def sized(name: bytes, size: int, flag: bytes) -> bytes:
    """A header that claims a body, and a little of that body."""
    return layers.header(name, flag, size=size) + bytes(512)


@pytest.mark.parametrize("flag", [b"x", b"g", b"L", b"K"])
def test_a_header_over_the_limit_is_refused_by_what_it_claims(tmp_path: Path, flag: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(sized(b"@", 1 << 30, flag))
    with pytest.raises(LimitError) as caught, Archive.open_file(tmp_path / "a.tar", name="A"):
        pass
    assert str(caught.value) == (
        "A: tar offset 512: an extended header of more than 1048576 bytes, the limit; raise it with --max-header-size"
        " if you trust the image"
    )


def test_limits_can_be_changed(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a": b"1", "b": b"2"})
    with (
        pytest.raises(LimitError, match=r"^A: more than 1 entries in the archive, the limit; raise it with --max-e"),
        Archive.open_file(file, name="A", limits=Limits(entries=1)),
    ):
        pass


def test_nothing_is_decompressed_beyond_the_limit(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a": bytes(100_000)})
    file.write_bytes(gzip.compress(file.read_bytes()))
    with Archive.open_file(file, name="A", limits=Limits(total_size=200_000)) as archive:
        assert archive.size("a") == 100_000
    with (
        pytest.raises(
            LimitError, match=r"^A: more than 50000 bytes when decompressed, the limit; raise it with --max-s"
        ),
        Archive.open_file(file, name="A", limits=Limits(total_size=50_000)),
    ):
        pass


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a": b"1", "b": b"2"})
    data = bytearray(file.read_bytes())
    data[1024] ^= 1
    file.write_bytes(data)
    with (
        pytest.raises(ImageError, match=r"^A: tar offset 1536: the header"),
        Archive.open_file(file, name="A"),
    ):
        pass


def test_a_member_that_is_cut_short(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a": b"1" * 600})
    file.write_bytes(file.read_bytes()[:1000])
    with (
        pytest.raises(ImageError, match=r"^A: entry 'a': the tar stream ends"),
        Archive.open_file(file, name="A"),
    ):
        pass


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats_of_tar(tmp_path: Path, form: int) -> None:
    name = "/".join(["d" * 60] * (2 if form == tarfile.USTAR_FORMAT else 5)) + "/layer.tar"
    with tarfile.open(tmp_path / "a.tar", "w", format=form, pax_headers={"comment": "x"}) as tar:
        info = tarfile.TarInfo(name)
        info.size, info.mtime = 4, 1_700_000_000
        tar.addfile(info, io.BytesIO(b"data"))
        for kind, target in ((tarfile.LNKTYPE, name), (tarfile.SYMTYPE, name), (tarfile.DIRTYPE, "")):
            info = tarfile.TarInfo(f"entry{kind.decode()}")
            info.type, info.linkname = kind, target if form != tarfile.USTAR_FORMAT or not target else target[:99]
            tar.addfile(info)
    with Archive.open_file(tmp_path / "a.tar", name="A") as archive:
        with archive.open(name) as file:
            assert file.read() == b"data"
        if form != tarfile.USTAR_FORMAT:
            assert archive.resolve("entry1") == archive.resolve("entry2") == name
        with pytest.raises(FileNotFoundError):
            archive.open("entry5")


def test_a_full_temporary_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a.tar").write_bytes(gzip.compress(tar_stream({"a": b"1"})))
    monkeypatch.setattr("nixoci.oci.archive._inflate", full)
    with pytest.raises(OSError, match="No space left") as caught, Archive.open_file(tmp_path / "a.tar", name="A"):
        pass
    assert caught.value.filename == tempfile.gettempdir()
