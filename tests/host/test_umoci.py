"""The tree of a random stack of layers is the one that umoci unpacks, but for the differences named here.

Where we differ on purpose:

- CLOCK: umoci leaves today's time on a directory that no entry describes, and on one that it changes in passing. Here
  it has the epoch's, or its entry's: the same bytes must always give the same tree.
- BEFORE: a directory that no entry describes is 0755 root here, whatever was at its path before: a lower layer's
  directory that a whiteout took away (as it is when an engine stacks layers with overlayfs), or a file that had to make
  place. umoci gives it the attributes of what was there, or not, depending on the order of the entries.
- SYMLINK: a whiteout follows no symlink of its own layer here, as overlayfs has no way to let it. umoci follows those
  that come before it in the layer.
- LOOP: a whiteout through a loop of symlinks hides nothing here, as in an engine that stacks layers with overlayfs.
  umoci refuses it.

The stacks have no hardlink that replaces its own target (`c/a` linked to the file `c`), which umoci cannot make, and no
set-group-ID bits, which the kernel makes umoci's missing parents inherit from the directory they are in.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import LayerError
from nixoci.extraction import extract
from nixoci.image_path import ImagePath
from nixoci.tree.dump import read_dump
from nixoci.tree.model import Inode, Kind, walk
from tests.host.stacks import NEWEST, Stack, random_stack
from tests.support.layout import write_layout
from tests.support.memory import image_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.machine import Machine

STACKS = int(os.environ.get("NIXOCI_UMOCI_STACKS", "200"))
INSIDE = "/var/tmp/umoci"  # noqa: S108 - in the machine, which is ours alone

UNPACK = """
cd "$0"
for number in $(seq 0 "$1"); do
    umoci --log=fatal unpack --image "layout:$number" "bundle-$number" 2> "error-$number" || rm -rf "bundle-$number"
done
"""

LOOP = re.compile(r"unpack entry: (?:\S*/)?\.wh\.\S*: .*: too many levels of symbolic links$")

KINDS = {
    stat.S_IFREG: Kind.REGULAR,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFIFO: Kind.FIFO,
}


@pytest.fixture(scope="module")
def unpacked(machine: Machine) -> Iterator[Path]:
    """The folder in which umoci has unpacked every stack."""
    folder = machine.root / INSIDE.lstrip("/")
    folder.mkdir()
    for number in range(STACKS):
        write_layout(folder / "layout", random_stack(number).layers, tag=str(number), compression=None)
    machine.run(["sh", "-c", UNPACK, INSIDE, str(STACKS - 1)], timeout=3 * STACKS)
    yield folder
    machine.run(["rm", "-rf", INSIDE])


def test_the_stacks_are_worth_comparing() -> None:
    words = " ".join(str(random_stack(number)) for number in range(STACKS))
    for kind in ("file", "directory", "->", "hardlink", "whiteout", "opaque", "fifo", "device"):
        assert words.count(kind) > STACKS / 4


def test_every_stack_gives_the_tree_that_umoci_gives(unpacked: Path, tmp_path: Path) -> None:
    differences, refused = [], 0
    for number in range(STACKS):
        stack = random_stack(number)
        theirs = unpacked / f"bundle-{number}" / "rootfs"
        said = (unpacked / f"error-{number}").read_text(encoding="utf-8", errors="replace").strip()
        try:
            made = ours(stack, tmp_path / str(number))
            found = compare(stack, made, theirs) if theirs.exists() else _refusal(stack, said)
        except LayerError as error:
            refused += 1
            found = [f"we refuse it: {error}"] if theirs.exists() else []
        if found:
            differences.append("\n".join([f"stack {number}", str(stack), *found, said]))
    assert not differences, "\n\n".join(differences)
    assert refused < STACKS / 5


def ours(stack: Stack, dest: Path) -> ImagePath:
    image, source = image_of(*stack.layers)
    extract(image, source, dest, name="stack")
    return ImagePath.open(dest)


def _refusal(stack: Stack, said: str) -> list[str]:
    """Return the difference between our image path and no tree of umoci's, which said why."""
    if LOOP.search(said) or (stack.hides_twice and said.endswith(": link: no such file or directory")):  # LOOP, TWICE
        return []
    return ["umoci refuses it"]


def compare(stack: Stack, ours: ImagePath, theirs: Path) -> list[str]:
    """Return the differences between our image path and umoci's root file system."""
    with ours.metadata.open("rb") as lines:
        expected = dict(walk(read_dump(lines)))
    base, their_base = os.fsencode(ours.rootfs), os.fsencode(theirs)
    actual = dict(_walk(their_base))
    found = [f"{path!r}: only we have it" for path in expected.keys() - actual.keys()]
    if stack.hides_through_own_symlinks:  # SYMLINK
        found = []
    found += [f"{path!r}: only umoci has it" for path in actual.keys() - expected.keys()]
    links: dict[int, bytes] = {}
    their_links: dict[int, bytes] = {}
    for path in sorted(expected.keys() & actual.keys()):
        inode, other = expected[path], actual[path]
        our_path, their_path = base + b"/" + path, their_base + b"/" + path
        what = []
        if inode.kind is not KINDS[stat.S_IFMT(other.st_mode)]:
            what.append(f"{inode.kind.name}, with umoci {KINDS[stat.S_IFMT(other.st_mode)].name}")
        elif inode.is_directory:
            what += _directory_differences(path, inode, other, their_path, stack)
        else:
            what += _differences(inode, other, our_path, their_path)
            first, their_first = links.setdefault(id(inode), path), their_links.setdefault(other.st_ino, path)
            if first != their_first:
                what.append(f"a hardlink of {first!r}, with umoci of {their_first!r}")
        found += [f"{path!r}: {text}" for text in what]
    return found


def _walk(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    pending = [b""]
    while pending:
        path = pending.pop()
        full = root + b"/" + path
        status = os.lstat(full)
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            pending += [path + b"/" + name if path else name for name in os.listdir(full)]


def _differences(inode: Inode, other: os.stat_result, ours: bytes, theirs: bytes) -> Iterator[str]:
    yield from _attribute_differences(inode, other, theirs)
    if inode.mtime != other.st_mtime_ns:
        yield f"mtime {inode.mtime}, with umoci {other.st_mtime_ns}"
    if inode.kind is Kind.REGULAR:
        if Path(os.fsdecode(ours)).read_bytes() != Path(os.fsdecode(theirs)).read_bytes():
            yield "other bytes"
    elif inode.kind is Kind.SYMLINK:
        if not inode.target == os.readlink(ours) == os.readlink(theirs):
            yield f"target {inode.target!r}, with umoci {os.readlink(theirs)!r}"
    elif os.path.lexists(ours):
        yield "it is in our rootfs, where a NAR cannot hold it"
    elif os.makedev(*inode.device) != other.st_rdev:
        yield f"device {inode.device}, with umoci {other.st_rdev}"


def _attribute_differences(inode: Inode, other: os.stat_result, theirs: bytes) -> Iterator[str]:
    mode = stat.S_IMODE(other.st_mode)
    if inode.mode != mode:
        yield f"mode {inode.mode:o}, with umoci {mode:o}"
    if (inode.uid, inode.gid) != (other.st_uid, other.st_gid):
        yield f"owner {inode.uid}:{inode.gid}, with umoci {other.st_uid}:{other.st_gid}"
    names = os.listxattr(theirs, follow_symlinks=False)
    xattrs = {os.fsencode(name): os.getxattr(theirs, name, follow_symlinks=False) for name in names}
    if inode.xattrs != xattrs:
        yield f"xattrs {inode.xattrs}, with umoci {xattrs}"


def _directory_differences(
    path: bytes, inode: Inode, other: os.stat_result, theirs: bytes, stack: Stack
) -> Iterator[str]:
    differences = list(_attribute_differences(inode, other, theirs))
    if inode.mtime != other.st_mtime_ns and other.st_mtime < NEWEST:  # else CLOCK
        differences.append(f"mtime {inode.mtime}, with umoci {other.st_mtime_ns}")
    implied = inode.mtime == 0  # all entries of a stack have another time
    if differences and implied and _was_there_before(path, other, theirs, stack):  # BEFORE
        return
    yield from differences


def _was_there_before(path: bytes, other: os.stat_result, theirs: bytes, stack: Stack) -> bool:
    return any(not list(_attribute_differences(earlier, other, theirs)) for earlier in stack.were_at(path))
