"""Nix archives, written as a stream (Nix manual, Nix Archive (NAR) format)."""

import os
import stat

from nixoci.errors import StoreError
from nixoci.nix_store.wire import NUMBER, pack_string
from nixoci.openat import with_child
from nixoci.streams import BlockReader, Data, Edit, Sink, ThreadedSink


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

_SMALL = 1 << 12
"""Largest size of a content that is joined with what comes before it: a write costs more than the copy."""


class NarWriter:
    """Writes one archive and counts its bytes; refuses to write more than `limit`.

    What it writes between the contents of files waits for the next content, but no more than some kilobytes.

    Raises:
        StoreError: From every method, if the archive would exceed `limit`; the message starts with `what`.
    """

    def __init__(self, out: Sink, *, limit: int, what: str) -> None:
        self._out = out
        self._threaded = out if isinstance(out, ThreadedSink) else None
        self._limit = limit
        self._what = what
        self.size = 0
        self._depth = 0
        self._waiting = b""
        self._blocks = BlockReader()
        self._add(NAR_MAGIC)

    def write(self, data: Data) -> None:
        """Append raw bytes, such as the content of a regular file between `begin_regular` and `end_regular`."""
        self.skip(len(data))
        if len(data) <= _SMALL:
            self._out.write(b"".join((self._waiting, data)))
            self._waiting = b""
        else:
            self._flush()
            self._out.write(data)

    def skip(self, count: int) -> None:
        """Count raw bytes that are not written, to know the size of an archive."""
        self.size += count
        if self.size > self._limit:
            raise StoreError(f"{self._what}: its NAR is larger than the {self._limit} bytes declared for it")

    def begin_regular(self, size: int, *, executable: bool) -> None:
        """Begin a regular file of `size` bytes."""
        self._add((_EXECUTABLE if executable else _REGULAR) + NUMBER.pack(size))

    def end_regular(self, size: int) -> None:
        """End it."""
        self._end(bytes(-size % 8) + _CLOSE)

    def symlink(self, target: bytes) -> None:
        """Write a symlink."""
        self._end(_SYMLINK + pack_string(target) + _CLOSE)

    def begin_directory(self) -> None:
        """Begin a directory."""
        self._depth += 1
        self._add(_DIRECTORY)

    def begin_entry(self, name: bytes) -> None:
        """Begin an entry of a directory; the names must come in byte order."""
        self._add(_ENTRY + pack_string(name) + _NODE)

    def end_entry(self) -> None:
        """End an entry."""
        self._add(_CLOSE)

    def end_directory(self) -> None:
        """End a directory."""
        self._depth -= 1
        self._end(_CLOSE)

    def dump(self, handle: int, edit: Edit | None = None) -> None:
        """Write the tree below an open file descriptor; a symlink's may be O_PATH.

        With `edit`, the targets of symlinks and the contents of files are edited.
        """
        facts = os.fstat(handle)
        if stat.S_ISLNK(facts.st_mode):
            target = os.readlink(b"", dir_fd=handle)
            self.symlink(edit(target) if edit else target)
        elif stat.S_ISREG(facts.st_mode):
            self.begin_regular(facts.st_size, executable=bool(facts.st_mode & stat.S_IXUSR))
            self._copy(handle, facts.st_size, edit)
            self.end_regular(facts.st_size)
        elif stat.S_ISDIR(facts.st_mode):
            self.begin_directory()
            for name in sorted(map(os.fsencode, os.listdir(handle))):
                self.begin_entry(name)
                with_child(handle, name, lambda child: self.dump(child, edit))
                self.end_entry()
            self.end_directory()
        else:
            raise StoreError(f"{self._what}: a store path holds something that is no file, directory or symlink")

    def _copy(self, handle: int, size: int, edit: Edit | None) -> None:
        end = self.size + size
        if self._threaded is not None and edit is None:
            self._flush()
            while self.size < end and (count := self._threaded.read_file(handle, size - (end - self.size), size)):
                self.skip(count)
        else:
            for block in self._blocks.read(handle, 0, size, edit):
                self.write(block)
        if self.size != end:
            raise StoreError(
                f"{self._what}: a file in the store lacks {end - self.size} of its {size} bytes; verify the store"
            )

    def _add(self, data: bytes) -> None:
        """Append what is no content."""
        self.skip(len(data))
        self._waiting += data
        if len(self._waiting) > _SMALL:  # a directory of empty files and symlinks has no content at all
            self._flush()

    def _end(self, data: bytes) -> None:
        """Append the end of a node."""
        self._add(data)
        if not self._depth:
            self._flush()

    def _flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._out.write(self._waiting)
            self._waiting = b""
