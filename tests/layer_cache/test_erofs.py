from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ProcessError
from nixoci.layer_cache.erofs import Mkfs, find_mkfs, write_erofs
from nixoci.oci.digest import Digest
from nixoci.tree.model import NANOSECONDS, Children, Inode, Kind
from tests.layer_cache.samples import mkfs
from tests.support.layers import content, description, directory, file, hardlink, layer, lookup, merge, symlink

if TYPE_CHECKING:
    from pathlib import Path

RECORD = """#!/bin/sh
for file; do :; done
cat > "$file"
printf '%s\\n' "$@" > "${file%/*}/arguments"
env > "${file%/*}/environment"
"""
DIFF_ID = Digest.of(b"layer")
NEWEST = (1, 9, 4)


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("mkfs.erofs 1.7.1", "1.7.1"),
        ("mkfs.erofs (erofs-utils) 1.8", "1.8"),
        ("mkfs.erofs (erofs-utils) 1.8.2-g12ab", "1.8.2"),
        ("mkfs.erofs", "unknown"),
    ],
)
def test_an_old_release_is_refused(tmp_path: Path, printed: str, version: str) -> None:
    program = mkfs(tmp_path, f"#!/bin/sh\necho '{printed}'\n")
    message = f"{program}: its version is {version}; install erofs-utils 1.8.3 or newer"
    with pytest.raises(ProcessError, match=f"^{re.escape(message)}$"):
        find_mkfs(program)


@pytest.mark.parametrize(
    ("printed", "release"),
    [
        ("mkfs.erofs (erofs-utils) 1.8.10", (1, 8, 10)),
        ("mkfs.erofs (erofs-utils) 1.9", (1, 9, 0)),
        ("x 2.0", (2, 0, 0)),
    ],
)
def test_a_newer_release_is_taken(tmp_path: Path, printed: str, release: tuple[int, ...]) -> None:
    program = mkfs(tmp_path, f"#!/bin/sh\necho '{printed}'\n")
    assert find_mkfs(program) == Mkfs(program, release)


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"mkfs\.erofs: program not found; install erofs-utils and make sure"):
        find_mkfs(str(tmp_path / "mkfs.erofs"))


def test_it_gets_the_tree_as_one_tar(tmp_path: Path) -> None:
    members = [directory(b"d", uid=33), file(b"d/a", b"x" * 3_000_000, mode=0o4755), hardlink(b"b", b"d/a"), file(b"e")]
    root = merge(*[layer(*members, symlink(b"l", b"d"))])
    for inode in (lookup(root, b"d/a"), lookup(root, b"e")):
        if inode.content is not None:
            (tmp_path / str(inode.content)).write_bytes(content(inode))
    write_erofs(root, tmp_path / "out", diff_id=DIFF_ID, contents=tmp_path, mkfs=Mkfs(mkfs(tmp_path), NEWEST))
    written = merge((tmp_path / "out").read_bytes())
    assert description(written) == description(root)
    assert content(lookup(written, b"b")) == b"x" * 3_000_000


def test_a_content_that_was_not_put_aside_is_zeros(tmp_path: Path) -> None:
    root = Inode(Kind.DIRECTORY, children=Children({b"a": Inode(Kind.REGULAR, size=1_500_000)}))
    write_erofs(root, tmp_path / "out", diff_id=DIFF_ID, contents=tmp_path, mkfs=Mkfs(mkfs(tmp_path), NEWEST))
    assert content(lookup(merge((tmp_path / "out").read_bytes()), b"a")) == bytes(1_500_000)


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(500_000_000, b"7.500000000"), (12_345_670, b"7.012345670"), (1, b"7.000000001")]
)
def test_a_fraction_of_a_second_has_all_digits_for_releases_that_take_them_for_nanoseconds(
    tmp_path: Path, nanoseconds: int, text: bytes
) -> None:
    member = Inode(Kind.FIFO, mtime=7 * NANOSECONDS + nanoseconds)
    root = Inode(Kind.DIRECTORY, children=Children({b"a": member, b"b": member}))
    write_erofs(root, tmp_path / "out", diff_id=DIFF_ID, contents=tmp_path, mkfs=Mkfs(mkfs(tmp_path), (1, 8, 3)))
    written = (tmp_path / "out").read_bytes()
    assert re.findall(rb"mtime=([^\n]*)\n", written) == [text, text]
    assert lookup(merge(written), b"a").mtime == member.mtime


@pytest.mark.parametrize(
    ("inode", "what"),
    [
        (Inode(Kind.FIFO, mtime=-1), "a time before 1970 that is not whole seconds"),
        (Inode(Kind.FIFO, xattrs={b"trusted.a=b": b"value"}), "an extended attribute with = in its name"),
    ],
)
def test_what_an_older_release_misreads_is_refused(tmp_path: Path, inode: Inode, what: str) -> None:
    root = Inode(Kind.DIRECTORY, children=Children({b"a": inode}))
    out = tmp_path / "out"
    message = f"layer {DIFF_ID}: 'a' has {what}, which erofs-utils 1.9.1 misreads; install erofs-utils 1.9.2 or newer"
    with pytest.raises(ProcessError, match=f"^{re.escape(message)}$"):
        write_erofs(root, out, diff_id=DIFF_ID, contents=tmp_path, mkfs=Mkfs(mkfs(tmp_path), (1, 9, 1)))
    assert not out.exists()
    write_erofs(root, out, diff_id=DIFF_ID, contents=tmp_path, mkfs=Mkfs(mkfs(tmp_path), (1, 9, 2)))
    assert description(merge(out.read_bytes())) == description(root)


def test_its_options_are_those_of_containerd_and_no_clock_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    write_erofs(
        merge(layer()), tmp_path / "out", diff_id=DIFF_ID, contents=tmp_path, mkfs=Mkfs(mkfs(tmp_path, RECORD), NEWEST)
    )
    arguments = (tmp_path / "arguments").read_text("ascii").splitlines()
    # containerd, core/images/converter/erofs/erofs.go and internal/erofsutils/mount.go
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"erofs:blobs/{DIFF_ID}")
    assert {"--tar=f", "--quiet", "-Enoinline_data", "-b4096"} <= set(arguments)
    assert arguments[-3:] == ["-U", str(identity), str(tmp_path / "out")]
    assert "-T0" in arguments
    assert "SOURCE_DATE_EPOCH" not in (tmp_path / "environment").read_text("utf-8")
    assert "PATH=" in (tmp_path / "environment").read_text("utf-8")


def test_a_failure_names_the_layer(tmp_path: Path) -> None:
    program = mkfs(tmp_path, "#!/bin/sh\necho 'no space' >&2\nexit 1\n")
    with pytest.raises(ProcessError, match=rf"^layer {DIFF_ID}: .*mkfs\.erofs --tar=f .*: exit code 1: no space$"):
        write_erofs(merge(layer()), tmp_path / "out", diff_id=DIFF_ID, contents=tmp_path, mkfs=Mkfs(program, NEWEST))
