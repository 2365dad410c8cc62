"""Tar-diffs of layers against the files of an older image, applied again."""

from __future__ import annotations

import io
import os
import random
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.delta.effort import Effort
from nixoci.errors import DeltaError, StoreError
from nixoci.image_delta import describe
from nixoci.image_delta.describe import OldImage, describe_layer
from nixoci.image_delta.oci_delta import OldFiles
from nixoci.image_delta.tar_diff import apply_tar_diff

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = random.Random(1).randbytes(60_000)  # noqa: S311 - the same bytes each time
MOVED = bytes((byte + (at % 32 == 0)) % 256 for at, byte in enumerate(PROGRAM[20_000:40_000]))
CHANGED = PROGRAM[:20_000] + b"more" + MOVED + PROGRAM[45_000:]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("old") / "rootfs"
    for path, content in {
        "usr/bin/app": PROGRAM,
        "usr/lib/libx.so.1": PROGRAM[::-1],
        "etc/conf": b"a = 1\n" * 99,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "usr/bin/link").symlink_to("app")
    (root / "directory").mkdir()
    return root


def tar_of(files: dict[str, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def described(rootfs: Path, tar: Path, effort: Effort = Effort.DEFAULT) -> bytes:
    out = bytearray()
    counted: list[int] = []
    describe_layer(tar, OldImage(rootfs), out.extend, effort=effort, advance=counted.append)
    assert sum(counted) == tar.stat().st_size
    return bytes(out)


def applied(rootfs: Path, diff: bytes) -> bytes:
    with OldFiles(rootfs) as old:
        return b"".join(apply_tar_diff([diff], old.read, largest=1 << 30, what="the diff"))


def test_no_old_file_is_named_that_some_reader_refuses(tmp_path: Path) -> None:
    """The reader of composefs takes paths in UTF-8 only."""
    root = tmp_path / "rootfs"
    root.mkdir()
    (root / os.fsdecode(b"\xff.1.so")).write_bytes(PROGRAM)
    tar = tmp_path / "layer.tar"
    tar.write_bytes(tar_of({"moved": PROGRAM, "\udcff.2.so": CHANGED}))
    diff = described(root, tar)
    assert len(diff) > len(PROGRAM)
    assert applied(root, diff) == tar.read_bytes()
    (root / os.fsdecode(b"\xff.1.so")).rename(root / "x.1.so")
    assert len(described(root, tar)) < len(PROGRAM)


FILES = {
    "usr/bin/app": CHANGED,
    "usr/lib/moved": PROGRAM,
    "usr/lib/libx.so.2": PROGRAM[::-1] + b"!",
    "etc/conf": b"a = 1\n" * 50 + b"b = 2\n",
    "empty": b"",
    "new": b"new",
    f"{'long/' * 40}name": b"x" * 600,
}


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("effort", Effort)
def test_a_layer_comes_back(tmp_path: Path, rootfs: Path, kind: int, prefix: str, effort: Effort) -> None:
    tar = tmp_path / "layer.tar"
    tar.write_bytes(tar_of({prefix + name: content for name, content in FILES.items()}, kind))
    diff = described(rootfs, tar, effort)
    assert applied(rootfs, diff) == tar.read_bytes()
    if effort is Effort.DEFAULT:
        assert len(diff) < 4000


@given(
    content=st.binary(max_size=2000),
    names=st.lists(st.sampled_from(["usr/bin/app", "etc/conf", "usr/bin/link/x", "..", "a"]), max_size=4, unique=True),
    cut=st.integers(0, 3000),
)
def test_any_stream_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rootfs: Path, content: bytes, names: list[str], cut: int
) -> None:
    tar = tmp_path_factory.mktemp("layer") / "layer.tar"
    tar.write_bytes((tar_of(dict.fromkeys(names, content)) + content)[cut:])
    with pytest.MonkeyPatch.context() as patch:
        # the tables of the usual level take longer to clear than all the rest
        patch.setitem(describe._LEVELS, Effort.DEFAULT, describe._LEVELS[Effort.FAST])
        assert applied(rootfs, described(rootfs, tar)) == tar.read_bytes()


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        (b"usr/bin/link", DeltaError, "no regular file"),
        (b"directory", DeltaError, "no regular file"),
        (b"usr/bin/link/x", StoreError, "cannot be read"),
        (b"../old/rootfs/etc/conf", StoreError, "is not a path inside of it"),
        (b"missing", StoreError, "No such file"),
    ],
)
def test_only_regular_files_below_the_root_are_read(
    rootfs: Path, path: bytes, error: type[Exception], says: str
) -> None:
    with OldFiles(rootfs) as old:
        assert old.read(b"etc/conf", 2, 3) == b"= 1"
        with pytest.raises(error, match=says):
            old.read(path, 0, 1)
        assert old.read(b"etc/conf", 0, 1) == b"a"
