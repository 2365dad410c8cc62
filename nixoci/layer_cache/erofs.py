"""EROFS files of layers, by mkfs.erofs from a canonical tar: the same layer gives the same bytes, for any user."""

import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nixoci.errors import ProcessError
from nixoci.oci.digest import Digest
from nixoci.process import feed, run
from nixoci.progress import Advance, ignore
from nixoci.tree.model import NANOSECONDS, Inode, walk
from nixoci.tree.tar_format import END_OF_ARCHIVE, padding, show
from nixoci.tree.tar_writer import TarEntry, tar_entries

MKFS_EROFS = "mkfs.erofs"

_PACKAGE = "erofs-utils"
_OLDEST = (1, 8, 3)
"""The first release that has --mkfs-time and --sort=none, and whose inode numbers do not change from run to run."""

_READS_ALL = (1, 9, 2)
"""The first release that reads all PAX records: those before take the digits of a fraction of a second for nanoseconds,
for a time before 1970 added to its seconds, and, before 1.9, decode `LIBARCHIVE.xattr.*` in another way."""

_VERSION = re.compile(rb"\b(\d+)\.(\d+)(?:\.(\d+))?")
_CHUNK = 1 << 20

_OPTIONS = (
    "--tar=f",
    "--quiet",
    # as containerd's own converter: block-aligned data, in blocks that kernels of any page size mount
    "-Enoinline_data",
    "-b4096",
    # no time of the build, and no copy of the data in a temporary file
    "-T0",
    "--mkfs-time",
    "--sort=none",
)


@dataclass(frozen=True, slots=True)
class Mkfs:
    """A mkfs.erofs that can make reproducible files from a tar stream: the program and its release."""

    program: str
    release: tuple[int, ...]


def find_mkfs(program: str) -> Mkfs:
    """Return a mkfs.erofs with its release.

    Raises:
        ProcessError: It is missing, or too old to make reproducible files from a tar stream.
    """
    printed = run([program, "--version"], package=_PACKAGE)
    found = _VERSION.search(printed)
    release = tuple(int(part or 0) for part in found.groups()) if found else ()
    if release < _OLDEST:
        version = found[0].decode("ascii") if found else "unknown"
        raise ProcessError(f"{program}: its version is {version}; install {_PACKAGE} {_dotted(_OLDEST)} or newer")
    return Mkfs(program, release)


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))


def write_erofs(
    root: Inode, file: Path, *, diff_id: Digest, contents: Path, mkfs: Mkfs, advance: Advance = ignore
) -> None:
    """Write a layer's tree to the new file `file`.

    Args:
        root: The tree.
        file: The file to make.
        diff_id: The layer's diff id, from which the UUID of the file system follows as in containerd.
        contents: The directory of the contents of its files.
        mkfs: The program that writes it.
        advance: Called with the number of bytes of files that were written.

    Raises:
        ProcessError: mkfs.erofs failed, or its release would write other attributes than the tree's.
        OSError: A content cannot be read.
    """
    _check_readable(root, mkfs, diff_id)
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"erofs:blobs/{diff_id}")
    # SOURCE_DATE_EPOCH would change the times of files
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    argv: list[str | Path] = [mkfs.program, *_OPTIONS, "-U", str(identity), file]
    try:
        with feed(argv, package=_PACKAGE, env=environment) as tar:
            for entry, (_, inode) in zip(tar_entries(root, nine_digits=True), walk(root), strict=True):
                tar.write(entry.header)
                _write_content(entry, inode, contents, tar, advance)
            tar.write(END_OF_ARCHIVE)
    except ProcessError as error:
        raise ProcessError(f"layer {diff_id}: {error}", stderr=error.stderr) from error


def _check_readable(root: Inode, mkfs: Mkfs, diff_id: Digest) -> None:
    if mkfs.release >= _READS_ALL:
        return
    for path, inode in walk(root):
        if inode.mtime < 0 and inode.mtime % NANOSECONDS:
            what = "a time before 1970 that is not whole seconds"
        elif any(b"=" in name for name in inode.xattrs):
            what = "an extended attribute with = in its name"
        else:
            continue
        raise ProcessError(
            f"layer {diff_id}: {show(path or b'/')} has {what}, which {_PACKAGE} {_dotted(mkfs.release)} misreads;"
            f" install {_PACKAGE} {_dotted(_READS_ALL)} or newer"
        )


def _write_content(entry: TarEntry, inode: Inode, contents: Path, tar: IO[bytes], advance: Advance) -> None:
    for data in _contents(inode, contents) if entry.size else ():
        tar.write(data)
        advance(len(data))
    tar.write(padding(entry.size))


def _contents(inode: Inode, folder: Path) -> Iterator[bytes]:
    """Yield the bytes of a regular file; one that has nothing put aside is all zeros."""
    if inode.content is None:
        for at in range(0, inode.size, _CHUNK):
            yield bytes(min(_CHUNK, inode.size - at))
        return
    with (folder / str(inode.content)).open("rb") as file:
        while data := file.read(_CHUNK):
            yield data
