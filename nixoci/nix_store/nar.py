"""Nix archives, written as a stream (Nix manual, Nix Archive (NAR) format)."""

import base64
import hashlib
import os
import stat
from typing import TypeVar

from nixoci.delta.rewrite import Rewriter
from nixoci.errors import DeltaError
from nixoci.nix_store.blocks import BlockReader
from nixoci.nix_store.wire import NUMBER, text
from nixoci.openat import with_child
from nixoci.streams import Data, Nowhere, Sink

T = TypeVar("T")

SEGMENT = 64 << 20
"""Bytes of a file that are handled as one piece; bounds the memory of both ends."""

_BLOCK = 1 << 20


def _tokens(*texts: bytes) -> bytes:
    return b"".join(map(text, texts))


_MAGIC = text(b"nix-archive-1")
_REGULAR = _tokens(b"(", b"type", b"regular", b"contents")
_EXECUTABLE = _tokens(b"(", b"type", b"regular", b"executable", b"", b"contents")
_SYMLINK = _tokens(b"(", b"type", b"symlink", b"target")
_DIRECTORY = _tokens(b"(", b"type", b"directory")
_ENTRY = _tokens(b"entry", b"(", b"name")
_NODE = text(b"node")
_CLOSE = text(b")")


class NarHash:
    """A sink that hashes what goes through it.

    Args:
        out: Takes the data after that.
    """

    def __init__(self, out: Sink | None = None) -> None:
        self._out = out or Nowhere()
        self._hash = hashlib.sha256()

    def write(self, data: Data, /) -> None:
        """Hash the data and pass them on."""
        self._hash.update(data)
        self._out.write(data)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what was written so far."""
        return self._hash.digest()

    @property
    def sri(self) -> str:
        """The hash of what was written so far, as `sha256-<base64>`."""
        return f"sha256-{base64.b64encode(self._hash.digest()).decode()}"


class NarWriter:
    """Writes one archive and knows its size; refuses to write more than `limit` bytes.

    Raises:
        DeltaError: From every method, where the archive would exceed `limit`; the message starts with `what`.
    """

    def __init__(self, out: Sink, *, limit: int, what: str) -> None:
        self._out = out
        self._limit = limit
        self._what = what
        self.size = 0
        self._blocks = BlockReader()
        self.write(_MAGIC)

    def write(self, data: Data) -> None:
        """Append raw bytes: the content of a regular file between `begin_regular` and `end_regular`."""
        self.size += len(data)
        if self.size > self._limit:
            raise DeltaError(f"{self._what}: its NAR is larger than the {self._limit} bytes declared for it")
        self._out.write(data)

    def begin_regular(self, size: int, *, executable: bool) -> None:
        """Open a regular file of `size` bytes."""
        self.write((_EXECUTABLE if executable else _REGULAR) + NUMBER.pack(size))

    def end_regular(self, size: int) -> None:
        """Close it."""
        self.write(bytes(-size % 8) + _CLOSE)

    def symlink(self, target: bytes) -> None:
        """Write a symlink."""
        self.write(_SYMLINK + text(target) + _CLOSE)

    def begin_directory(self) -> None:
        """Open a directory."""
        self.write(_DIRECTORY)

    def begin_entry(self, name: bytes) -> None:
        """Open an entry of a directory; the names must come in byte order."""
        self.write(_ENTRY + text(name) + _NODE)

    def end_entry(self) -> None:
        """Close an entry."""
        self.write(_CLOSE)

    def end_directory(self) -> None:
        """Close a directory."""
        self.write(_CLOSE)

    def dump(self, handle: int, rewrite: Rewriter | None = None) -> None:
        """Write the tree below an open file descriptor (O_PATH will do for a symlink only).

        With `rewrite`, what it makes of symlinks' targets, and of each `SEGMENT` of a file; no length may change.
        """
        facts = os.fstat(handle)
        if stat.S_ISLNK(facts.st_mode):
            target = os.readlink(b"", dir_fd=handle)
            self.symlink(rewrite(target) if rewrite else target)
        elif stat.S_ISREG(facts.st_mode):
            self.begin_regular(facts.st_size, executable=bool(facts.st_mode & stat.S_IXUSR))
            self._copy(handle, facts.st_size, rewrite)
            self.end_regular(facts.st_size)
        elif stat.S_ISDIR(facts.st_mode):
            self.begin_directory()
            for name in sorted(map(os.fsencode, os.listdir(handle))):
                self.begin_entry(name)
                with_child(handle, name, lambda child: self.dump(child, rewrite))
                self.end_entry()
            self.end_directory()
        else:
            raise DeltaError(f"{self._what}: a base holds something that is no file, directory or symlink")

    def _copy(self, handle: int, size: int, rewrite: Rewriter | None) -> None:
        end = self.size + size
        for start in range(0, size, SEGMENT):
            for block in self._blocks.read(handle, start, min(size, start + SEGMENT), rewrite):
                self.write(block)
        if self.size != end:
            raise DeltaError(f"{self._what}: a base file lacks {end - self.size} of its {size} bytes; verify the store")
