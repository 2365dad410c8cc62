"""Nix archives, written as a stream (Nix manual, Nix Archive (NAR) format)."""

import os
import stat
from collections.abc import Iterable

from nixoci.errors import StoreError
from nixoci.nix_store.wire import NUMBER, pack_string
from nixoci.openat import list_entries, open_child
from nixoci.streams import BlockReader, BlockSink, Data, Edit, Sink


def _tokens(*tokens: bytes) -> bytes:
    return b"".join(map(pack_string, tokens))


NAR_MAGIC = pack_string(b"nix-archive-1")
"""The start of an archive; its node follows."""

_REGULAR = _tokens(b"(", b"type", b"regular", b"contents")
_EXECUTABLE = _tokens(b"(", b"type", b"regular", b"executable", b"", b"contents")
_SYMLINK = _tokens(b"(", b"type", b"symlink", b"target")
_DIRECTORY = _tokens(b"(", b"type", b"directory")
_ENTRY = _tokens(b"entry", b"(", b"name")
_NODE = pack_string(b"node")
_CLOSE = pack_string(b")")

_ENDS = tuple(bytes(-size % 8) + _CLOSE for size in range(8))
"""The end of a regular file, by the lowest three bits of its size."""


class NarWriter:
    """Writes one archive and counts its bytes; refuses to write more than `limit`.

    What it writes is passed on by blocks, all of it at the end of the archive's node.

    Args:
        out: Takes the archive. One that gathers data in blocks itself is flushed by the caller.
        limit: Bytes that the archive may have.
        what: The archive's name in errors.

    Raises:
        StoreError: From every method, if the archive would exceed `limit`; the message starts with `what`.
    """

    def __init__(self, out: Sink, *, limit: int, what: str) -> None:
        self._flushes = not isinstance(out, BlockSink)
        self._out = out if isinstance(out, BlockSink) else BlockSink(out)
        self._limit = limit
        self._what = what
        self.size = 0
        self._depth = 0
        self._blocks: BlockReader | None = None
        self.write(NAR_MAGIC)

    def write(self, data: Data) -> None:
        """Append raw bytes, such as the content of a regular file between `begin_regular` and `end_regular`."""
        self.skip(len(data))
        self._out.write(data)

    def skip(self, count: int) -> None:
        """Count raw bytes that are not written, to know the size of an archive."""
        self.size += count
        if self.size > self._limit:
            raise StoreError(f"{self._what}: its NAR is larger than the {self._limit} bytes declared for it")

    def begin_regular(self, size: int, *, executable: bool) -> None:
        """Begin a regular file of `size` bytes."""
        self.write((_EXECUTABLE if executable else _REGULAR) + NUMBER.pack(size))

    def end_regular(self, size: int) -> None:
        """End it."""
        self._end(_ENDS[size & 7])

    def symlink(self, target: bytes) -> None:
        """Write a symlink."""
        self._end(_SYMLINK + pack_string(target) + _CLOSE)

    def begin_directory(self) -> None:
        """Begin a directory."""
        self._depth += 1
        self.write(_DIRECTORY)

    def begin_entry(self, name: bytes) -> None:
        """Begin an entry of a directory; the names must come in byte order."""
        self.write(_begin_entry(name))

    def end_entry(self) -> None:
        """End an entry."""
        self.write(_CLOSE)

    def end_directory(self) -> None:
        """End a directory."""
        self._depth -= 1
        self._end(_CLOSE)

    def dump(self, handle: int, edit: Edit | None = None) -> None:
        """Write the tree below an open file descriptor; a symlink's may be O_PATH.

        With `edit`, the targets of symlinks and the contents of files are edited.
        """
        self._dump(b"", handle, edit)
        self._end(b"")

    def dump_entries(self, directory: int, entries: Iterable[tuple[bytes, bool]], edit: Edit | None = None) -> None:
        """Write entries of an open directory, each with what begins and ends it; `entries` are as of `list_entries`."""
        for name, is_symlink in entries:
            begin = _begin_entry(name)
            if is_symlink:
                self.write(begin + _symlink(os.readlink(name, dir_fd=directory), edit) + _CLOSE)
                continue
            handle = open_child(directory, name)
            try:
                self._dump(begin, handle, edit, _CLOSE)
            finally:
                os.close(handle)

    def _dump(self, before: bytes, handle: int, edit: Edit | None, after: bytes = b"") -> None:
        """Write the tree below an open file descriptor, between what begins and what ends an entry."""
        facts = os.fstat(handle)
        mode, size = facts.st_mode, facts.st_size
        if stat.S_ISREG(mode):
            self.write(before + (_EXECUTABLE if mode & stat.S_IXUSR else _REGULAR) + NUMBER.pack(size))
            self._copy(handle, size, edit)
            self.write(_ENDS[size & 7] + after)
        elif stat.S_ISDIR(mode):
            self.write(before + _DIRECTORY)
            self.dump_entries(handle, list_entries(handle), edit)
            self.write(_CLOSE + after)
        elif stat.S_ISLNK(mode):
            self.write(before + _symlink(os.readlink(b"", dir_fd=handle), edit) + after)
        else:
            raise StoreError(f"{self._what}: a store path holds something that is no file, directory or symlink")

    def _copy(self, handle: int, size: int, edit: Edit | None) -> None:
        """Write the content of an open file of `size` bytes."""
        self.skip(size)
        if edit is None or (size <= edit.segment_size and self._out.fits(size)):
            taken = self._out.write_file(handle, size, edit)
        else:
            taken = 0
            self._blocks = self._blocks or BlockReader()
            for block in self._blocks.read(handle, 0, size, edit):
                self._out.write(block)
                taken += len(block)
        if taken < size:
            raise StoreError(
                f"{self._what}: a file in the store lacks {size - taken} of its {size} bytes; verify the store"
            )

    def _end(self, data: bytes) -> None:
        """Append the end of a node."""
        self.write(data)
        if self._flushes and not self._depth:
            self._out.flush()


def _begin_entry(name: bytes) -> bytes:
    return _ENTRY + pack_string(name) + _NODE


def _symlink(target: bytes, edit: Edit | None) -> bytes:
    return _SYMLINK + pack_string(edit(target) if edit else target) + _CLOSE
