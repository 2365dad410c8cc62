"""A layer's tar stream, described by the files of an older image: what containers/tar-diff does, by other means.

A file of the layer is copied from the old file with its content, or described by its differences from the old file that
is most likely an older version. Headers, and files that are like no old one, are in the tar-diff as they are.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from nixoci.delta.codecs.hdiff import patch_covers, patch_source
from nixoci.delta.codecs.hdiff13 import Cover
from nixoci.delta.codecs.source import Held
from nixoci.delta.effort import Effort
from nixoci.delta.format.model import SEGMENT_SIZE
from nixoci.delta.pairing import OldTrees
from nixoci.delta.scan import scan
from nixoci.image_delta.oci_delta import OldFiles
from nixoci.image_delta.tar_diff import MAX_PATH, TarDiffWriter
from nixoci.progress import Advance, ignore

_COPY = 1 << 20
_LARGEST = 1 << 30
"""Bytes of a file, old or new, up to which it is described by differences; both are in memory."""
_LEVELS = {Effort.FAST: 3, Effort.DEFAULT: 19}


class _Member(NamedTuple):
    """A regular file of a tar stream: its path, and the offset and size of its content."""

    path: bytes
    start: int
    size: int


class OldImage:
    """The files of an older image, to find what the files of a layer are like."""

    def __init__(self, rootfs: Path) -> None:
        self.rootfs = rootfs
        tree = scan(rootfs)
        self._trees = OldTrees([(rootfs, tree)])
        self._by_content: dict[tuple[bytes, ...], bytes] = {}
        for path, node in tree.walk():
            if node.segments and node.size and _can_be_named(path):
                self._by_content.setdefault(node.segments, path)

    def same(self, content: bytes) -> bytes | None:
        """Return the path of a file with this content."""
        segments = (content[start : start + SEGMENT_SIZE] for start in range(0, len(content), SEGMENT_SIZE))
        return self._by_content.get(tuple(hashlib.sha256(segment).digest() for segment in segments))

    def predecessor(self, path: bytes, size: int) -> tuple[bytes, int] | None:
        """Return the path and the size of the file that is most likely an older version of one."""
        found = self._trees.file_predecessor(path, size, [0])
        return None if found is None or not _can_be_named(found.path) else (found.path, found.size)


def _can_be_named(path: bytes) -> bool:
    """Return whether all readers of tar-diff take a path: that of composefs refuses what is not UTF-8."""
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return len(path) <= MAX_PATH


def describe_layer(
    tar: Path, old: OldImage, out: Callable[[bytes], object], *, effort: Effort, advance: Advance = ignore
) -> None:
    """Write the tar-diff that makes a tar stream from the files of an older image.

    Args:
        tar: The tar stream.
        old: The older image.
        out: Called with the bytes of the tar-diff.
        effort: Time spent for fewer bytes; `fast` finds no differences inside of files.
        advance: Called with the bytes of the tar stream that were described.
    """
    writer = TarDiffWriter(out, level=_LEVELS[effort])
    size, at = tar.stat().st_size, 0
    with tar.open("rb") as names, tar.open("rb") as data, OldFiles(old.rootfs) as files:
        for member in _members(names):
            if member.start < at or member.start + member.size > size or member.size > _LARGEST:
                continue
            _plain(data, member.start - at, writer, advance)
            content = data.read(member.size)
            _describe(member.path, content, old, files, writer, similar=effort is not Effort.FAST)
            at = member.start + member.size
            advance(member.size)
        _plain(data, size - at, writer, advance)
    writer.finish()


def _members(file: BinaryIO) -> Iterator[_Member]:
    """Yield the regular files of a tar stream that hold their content as it is, up to what tarfile cannot read."""
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                if member.isreg() and not member.issparse() and member.size:
                    path = member.name.encode("utf-8", "surrogateescape")
                    yield _Member(path.removeprefix(b"./").strip(b"/"), member.offset_data, member.size)
    except (tarfile.TarError, ValueError, OverflowError):
        return


def _plain(data: BinaryIO, size: int, writer: TarDiffWriter, advance: Advance) -> None:
    while size and (block := data.read(min(size, _COPY))):
        writer.data(block)
        advance(len(block))
        size -= len(block)


def _describe(
    path: bytes, content: bytes, old: OldImage, files: OldFiles, writer: TarDiffWriter, *, similar: bool
) -> None:
    same = old.same(content)
    if same is not None:
        writer.copy(same, 0, len(content))
        return
    before = old.predecessor(path, len(content)) if similar else None
    if before is None or before[1] > _LARGEST:
        writer.data(content)
        return
    name, size = before
    _differences(name, files.read(name, 0, size), content, writer)


def _differences(path: bytes, old: bytes, new: bytes, writer: TarDiffWriter) -> None:
    import numpy as np  # noqa: PLC0415 - it takes longer to load than all of the rest

    covers = patch_covers(patch_source(Held(old), Held(new)))
    at = 0
    for cover in [*covers, Cover(0, len(new), 0)]:
        writer.data(new[at : cover.new])
        before = np.frombuffer(old, np.uint8, cover.length, cover.old)
        after = np.frombuffer(new, np.uint8, cover.length, cover.new)
        if np.array_equal(before, after):
            writer.copy(path, cover.old, cover.length)
        else:
            writer.add(path, cover.old, (after - before).tobytes())
        at = cover.new + cover.length
