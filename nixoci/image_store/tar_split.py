"""tar-split: the record from which podman rebuilds, byte for byte, the canonical tar of a tree from the files on disk.

A `.tar-split.gz` is gzip over JSON lines. A segment (type 2) holds raw tar bytes in base64: headers and padding. A
file (type 1) names a file whose content follows there, with its size and its CRC-64 (ISO polynomial, big endian,
base64; none for an empty file). A name that is not UTF-8 is in `name_raw`, in base64 (vbatts/tar-split,
`tar/storage`).

One pass over the files gives the tar's digest and the tar-split: files are read into buffers that are laid out as the
tar, while another thread hashes the buffer before.
"""

import hashlib
import json
import os
import re
import zlib
from binascii import b2a_base64
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Self

from fastcrc import crc64

from nixoci.background import BackgroundCalls
from nixoci.errors import StoreError
from nixoci.oci.digest import Digest
from nixoci.openat import TreeOpener, with_child
from nixoci.progress import Advance, ignore
from nixoci.tree.model import Inode, walk_names
from nixoci.tree.tar_format import END_OF_ARCHIVE, padding
from nixoci.tree.tar_writer import TarEntry, tar_entries

_BUFFER = 1 << 20
"""Bytes of the tar that are hashed at a time."""

_BUFFERS = 3
"""The number of buffers: one is filled, one is hashed, one waits."""

_LINES = 1 << 18
"""Bytes of JSON that are compressed at a time."""

FAST, SMALLEST = 6, 9
"""Levels of compression; the other takes four times as long, and saves a sixteenth of the bytes."""

_PLAIN = re.compile(rb"[ !#-\[\]-~]*")
"""Matches a name that is the same in JSON."""

_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class LayerContent:
    """The canonical tar of a tree: its digest and its size in bytes."""

    diff_id: Digest
    size: int


def write_tar_split(
    root: Inode, rootfs: Path, file: BinaryIO, *, level: int = FAST, advance: Advance = ignore
) -> LayerContent:
    """Write the tar-split of a tree, compressed, to `file`.

    Args:
        root: The tree, with all metadata.
        rootfs: The directory that has the content; symlinks in it are never followed.
        file: The file to write the gzip bytes to.
        level: The level of their compression.
        advance: Called with the number of bytes of files that were read, `contents_size` in all.

    Raises:
        StoreError: A file is missing in the rootfs, or is not as long as the tree says.
        OSError: `file` cannot be written.
    """
    with ExitStack() as stack:
        tar = _TarHash(stack.enter_context(BackgroundCalls(_BUFFERS - 2)), advance)
        lines = _Lines(file, level, stack.enter_context(BackgroundCalls(1)))
        files = stack.enter_context(_Files(rootfs, stack.enter_context(TreeOpener()), tar))
        gap = b""
        for entry in tar_entries(root):
            raw = gap + entry.header
            tar.write(raw)
            lines.segment(raw)
            lines.entry(entry.name, entry.size, files.add(entry) if entry.size else None)
            gap = padding(entry.size)
        tar.write(gap + END_OF_ARCHIVE)
        lines.segment(gap + END_OF_ARCHIVE)
        lines.close()
        return tar.finish()


def contents_size(root: Inode) -> int:
    """Return the bytes of all files of a tree, each counted once."""
    return sum(name.inode.size for name in walk_names(root) if name.path == name.first)


class _Lines:
    """Writes JSON lines through gzip, in the background.

    It uses zlib, not zlib-ng or ISA-L, whose output depends on the processor: a store must be the same wherever it is
    built.
    """

    def __init__(self, file: BinaryIO, level: int, compressing: BackgroundCalls) -> None:
        self._file = file
        self._compressing = compressing
        self._gzip = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
        self._lines: list[bytes] = []
        self._size = 0
        self._position = 0

    def segment(self, raw: bytes) -> None:
        self._add(b'{"type":2,"payload":"%b","position":%d}\n' % (b2a_base64(raw, newline=False), self._position))

    def entry(self, name: bytes, size: int, crc: int | None) -> None:
        if crc is None:
            attributes = b'"payload":null'
        else:
            checksum = b2a_base64(crc.to_bytes(8, "big"), newline=False)
            attributes = b'"size":%d,"payload":"%b"' % (size, checksum)
        self._add(b'{"type":1,%b,%b,"position":%d}\n' % (_name(name), attributes, self._position))

    def close(self) -> None:
        self._flush()
        self._compressing.finish()
        self._file.write(self._gzip.flush())

    def _add(self, line: bytes) -> None:
        self._position += 1
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _LINES:
            self._flush()

    def _flush(self) -> None:
        text = b"".join(self._lines)
        self._lines, self._size = [], 0
        self._compressing.call(self._compress, text)

    def _compress(self, text: bytes) -> None:
        self._file.write(self._gzip.compress(text))


def _name(name: bytes) -> bytes:
    if _PLAIN.fullmatch(name):
        return b'"name":"%b"' % name
    try:
        return b'"name":' + json.dumps(name.decode("utf-8")).encode("ascii")
    except UnicodeDecodeError:
        return b'"name_raw":"%b"' % b2a_base64(name, newline=False)


class _TarHash:
    """Takes the bytes of the tar and hashes them in the background, a buffer at a time."""

    def __init__(self, hashing: BackgroundCalls, advance: Advance) -> None:
        self._hashing = hashing
        self._advance = advance
        self._hash = hashlib.sha256()
        self._buffers = [memoryview(bytearray(_BUFFER)) for _ in range(_BUFFERS)]
        self._buffer = self._buffers[0]
        self._used = 0
        self._size = 0
        self._read = 0

    @property
    def space(self) -> memoryview:
        """The empty part of the buffer, at least one byte; fill it from its start, then call `filled`."""
        return self._buffer[self._used :]

    def filled(self, count: int) -> None:
        """Take the first `count` bytes of `space`, which were read from a file, as the next of the tar."""
        self._read += count
        self._take(count)

    def _take(self, count: int) -> None:
        self._used += count
        if self._used == _BUFFER:
            self._send()

    def write(self, data: bytes) -> None:
        """Take `data` as the next bytes of the tar."""
        position = 0
        while position < len(data):
            space = self.space
            count = min(len(space), len(data) - position)
            space[:count] = data[position : position + count]
            self._take(count)
            position += count

    def finish(self) -> LayerContent:
        """Wait until everything is hashed."""
        self._send()
        self._hashing.finish()
        return LayerContent(Digest("sha256", self._hash.hexdigest()), self._size)

    def _send(self) -> None:
        self._hashing.call(self._hash.update, self._buffer[: self._used])
        self._size += self._used
        self._advance(self._read)
        self._read = 0
        # one buffer may wait now, and one be hashed; the third is free
        self._buffers.append(self._buffers.pop(0))
        self._buffer = self._buffers[0]
        self._used = 0


class _Files:
    """Reads the files of a rootfs into a tar. The files of a directory are consecutive, so the directory stays open."""

    def __init__(self, rootfs: Path, opener: TreeOpener, tar: _TarHash) -> None:
        self._rootfs = rootfs
        self._opener = opener
        self._tar = tar
        self._directory: tuple[bytes, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, entry: TarEntry) -> int:
        """Add an entry's content to the tar and return its CRC-64.

        Raises:
            StoreError: The file is missing, is not a regular file, or is not as long as the entry says.
        """
        directory, _, name = entry.path.rpartition(b"/")
        try:
            return with_child(self._open(directory), name, lambda handle: self._read(handle, entry))
        except OSError as error:
            raise self._damaged(entry, f"cannot be read: {error.strerror}") from error

    def _open(self, directory: bytes) -> int:
        if self._directory is None or self._directory[0] != directory:
            handle = self._opener.open(self._rootfs, directory, os.dup)
            self._close()
            self._directory = directory, handle
        return self._directory[1]

    def _close(self) -> None:
        if self._directory is not None:
            os.close(self._directory[1])

    def _read(self, handle: int, entry: TarEntry) -> int:
        status = os.fstat(handle)
        if not S_ISREG(status.st_mode):
            raise self._damaged(entry, "is not a regular file")
        if status.st_size != entry.size:
            raise self._damaged(entry, f"has {status.st_size} bytes, {entry.size} expected")
        crc = None
        left = entry.size
        while left:
            space = self._tar.space[:left]
            count = os.readv(handle, [space])
            if not count:
                raise self._damaged(entry, f"ends {left} bytes early")
            crc = crc64.go_iso(space[:count], crc)
            self._tar.filled(count)
            left -= count
        return crc or 0

    def _damaged(self, entry: TarEntry, found: str) -> StoreError:
        path = os.fsdecode(os.fsencode(self._rootfs) + b"/" + entry.path)
        return StoreError(f"{path}: {found}; the image path is damaged, extract the image again")
