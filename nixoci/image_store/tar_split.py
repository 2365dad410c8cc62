"""tar-split: how podman rebuilds, byte for byte, the canonical tar of a tree from the files on disk.

A `.tar-split.gz` is gzip over JSON lines: a segment (type 2) holds raw tar bytes in base64, headers and padding; a
file (type 1) names a file whose content goes in at that place, its size and the CRC-64 of it (ISO polynomial, big
endian, base64; none for an empty file). Names that are not UTF-8 are in `name_raw`, in base64
(vbatts/tar-split, `tar/storage`).

One pass over the files gives the tar's digest and the tar-split: files are read into buffers that are already laid
out as the tar, while another thread hashes the buffer before.
"""

import hashlib
import json
import os
import zlib
from binascii import b2a_base64
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from fastcrc import crc64

from nixoci.errors import StoreError
from nixoci.oci.digest import Digest
from nixoci.progress import Advance, ignore
from nixoci.tree.model import Inode
from nixoci.tree.tar_writer import END_OF_ARCHIVE, TarEntry, padding, tar_entries

_BUFFER = 1 << 20
"""Bytes of the tar that are hashed at a time."""

_BUFFERS = 3
"""One that is filled, one that is hashed, one that waits."""

_LINES = 1 << 18
"""Bytes of JSON that are compressed at a time."""

_LEVEL = 6
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class LayerContent:
    """The canonical tar of a tree: its digest and its size in bytes."""

    diff_id: Digest
    size: int


def write_tar_split(root: Inode, rootfs: Path, file: BinaryIO, *, advance: Advance = ignore) -> LayerContent:
    """Write the tar-split of a tree, compressed, to `file`.

    Args:
        root: The tree, with all metadata.
        rootfs: The directory that has the content; symlinks in it are never followed.
        file: Gets the gzip bytes.
        advance: Called with the number of tar bytes that were done.

    Raises:
        StoreError: A file is missing in the rootfs, or is not as long as the tree says.
        OSError: `file` cannot be written.
    """
    with _Rootfs(rootfs) as opener, _TarHash(advance) as tar, ThreadPoolExecutor(1) as compressor:
        lines = _Lines(file, compressor)
        gap = b""
        for entry in tar_entries(root):
            raw = gap + entry.header
            tar.write(raw)
            lines.segment(raw)
            lines.entry(entry.name, entry.size, opener.copy(entry, tar) if entry.size else None)
            gap = padding(entry.size)
        tar.write(gap + END_OF_ARCHIVE)
        lines.segment(gap + END_OF_ARCHIVE)
        lines.close()
        return tar.finish()


class _Lines:
    """Writes JSON lines through gzip, on a thread of the pool.

    zlib, and neither zlib-ng nor ISA-L: its output does not depend on the processor that it runs on, and a
    store must be the same wherever it is built.
    """

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file = file
        self._pool = pool
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._pending: Future[None] | None = None
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
        self._wait()
        self._file.write(self._gzip.flush())

    def _add(self, line: bytes) -> None:
        self._position += 1
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _LINES:
            self._flush()

    def _flush(self) -> None:
        self._wait()
        text = b"".join(self._lines)
        self._lines, self._size = [], 0
        self._pending = self._pool.submit(self._compress, text)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def _compress(self, text: bytes) -> None:
        self._file.write(self._gzip.compress(text))


def _name(name: bytes) -> bytes:
    try:
        return b'"name":' + json.dumps(name.decode("utf-8")).encode("ascii")
    except UnicodeDecodeError:
        return b'"name_raw":"%b"' % b2a_base64(name, newline=False)


class _TarHash:
    """Takes the bytes of the tar and hashes them on a thread of its own, a buffer at a time."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._hash = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._free = [memoryview(bytearray(_BUFFER)) for _ in range(_BUFFERS)]
        self._busy: deque[tuple[memoryview, Future[None]]] = deque()
        self._buffer = self._free.pop()
        self._used = 0
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def space(self) -> memoryview:
        """The part of the buffer that is still empty, never nothing; fill it from its start, then call `filled`."""
        return self._buffer[self._used :]

    def filled(self, count: int) -> None:
        """Take the first `count` bytes of `space` as the next of the tar."""
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
            self.filled(count)
            position += count

    def finish(self) -> LayerContent:
        """Wait until all is hashed."""
        self._send()
        while self._busy:
            self._recycle()
        return LayerContent(Digest("sha256", self._hash.hexdigest()), self._size)

    def _send(self) -> None:
        self._size += self._used
        self._busy.append((self._buffer, self._pool.submit(self._hash.update, self._buffer[: self._used])))
        self._advance(self._used)
        if not self._free:
            self._recycle()
        self._buffer = self._free.pop()
        self._used = 0

    def _recycle(self) -> None:
        buffer, hashed = self._busy.popleft()
        hashed.result()
        self._free.append(buffer)


class _Rootfs:
    """Opens files below a directory without following a symlink anywhere in their path.

    Entries come parents first, so the open directories are a stack: the ancestors of the file before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack: list[tuple[bytes, int]] = []

    def __enter__(self) -> Self:
        self._stack.append((b"", os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
        return self

    def __exit__(self, *error: object) -> None:
        for _, handle in self._stack:
            os.close(handle)

    def copy(self, entry: TarEntry, tar: _TarHash) -> int:
        """Add an entry's content to the tar and return its CRC-64.

        Raises:
            StoreError: The file is missing or not as long as the entry says.
        """
        directory, _, name = entry.path.rpartition(b"/")
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory(directory))
        except OSError as error:
            raise self._damaged(entry, f"cannot be read: {error.strerror}") from error
        try:
            found = os.fstat(handle).st_size
            if found != entry.size:
                raise self._damaged(entry, f"has {found} bytes, {entry.size} expected")
            return self._copy(handle, entry, tar)
        finally:
            os.close(handle)

    def _copy(self, handle: int, entry: TarEntry, tar: _TarHash) -> int:
        crc = None
        left = entry.size
        while left:
            space = tar.space[:left]
            count = os.readv(handle, [space])
            if not count:
                raise self._damaged(entry, f"ends {left} bytes early")
            crc = crc64.go_iso(space[:count], crc)
            tar.filled(count)
            left -= count
        return crc or 0

    def _directory(self, path: bytes) -> int:
        while not _is_below(path, self._stack[-1][0]):
            os.close(self._stack.pop()[1])
        above, handle = self._stack[-1]
        for name in path[len(above) :].removeprefix(b"/").split(b"/") if path != above else []:
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
            above = above + b"/" + name if above else name
            self._stack.append((above, handle))
        return handle

    def _damaged(self, entry: TarEntry, found: str) -> StoreError:
        path = os.fsdecode(os.fsencode(self._path) + b"/" + entry.path)
        return StoreError(f"{path}: {found}; the image path is damaged, extract the image again")


def _is_below(path: bytes, directory: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")
