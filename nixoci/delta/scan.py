"""What store paths hold: every node with a digest of its content, so that equal things are found."""

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from nixoci.errors import DeltaError
from nixoci.nix_store.blocks import BlockReader
from nixoci.nix_store.nar import SEGMENT
from nixoci.openat import open_below

T = TypeVar("T")

_BATCH = 100
"""Files that a thread hashes before it is given others: asking costs more than hashing a small one."""

MAX_DEPTH = 256
"""Directories inside each other."""


@dataclass(slots=True)
class Node:
    """A file, directory or symlink. `kind` is the recipe's letter: `f`, `x` (executable), `d` or `l`.

    `pieces` are the SHA-256 of each `SEGMENT` of a file, `digest` identifies the whole subtree.
    """

    kind: bytes
    size: int = 0
    target: bytes = b""
    children: dict[bytes, "Node"] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()
    digest: bytes = b""

    def walk(self, path: bytes = b"") -> Iterator[tuple[bytes, "Node"]]:
        """Yield every node below and including this one with its path, in NAR order; the top is `b""`."""
        yield path, self
        for name, child in self.children.items():
            yield from child.walk(path + b"/" + name if path else name)


def scan(root: Path) -> Node:
    """Read a store path; two threads hash.

    Raises:
        DeltaError: Something in it is no file, directory or symlink.
    """
    with ThreadPoolExecutor(2) as pool:
        pending: list[tuple[Node, bytes]] = []
        top = _read(os.fsencode(root), pending)
        batches = [pending[start : start + _BATCH] for start in range(0, len(pending), _BATCH)]
        for batch, hashed in zip(batches, pool.map(_hash_all, batches), strict=True):
            for (node, _), pieces in zip(batch, hashed, strict=True):
                node.pieces = pieces
    del batches
    del pending
    _digest(top)
    return top


def _read(path: bytes, pending: list[tuple[Node, bytes]], depth: int = 0) -> Node:
    if depth > MAX_DEPTH:
        raise DeltaError(f"{os.fsdecode(path)}: more than {MAX_DEPTH} directories inside each other")
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode):
        return Node(b"l", target=os.readlink(path))
    if stat.S_ISREG(facts.st_mode):
        node = Node(b"x" if facts.st_mode & stat.S_IXUSR else b"f", size=facts.st_size)
        pending.append((node, path))
        return node
    if stat.S_ISDIR(facts.st_mode):
        return Node(
            b"d", children={name: _read(path + b"/" + name, pending, depth + 1) for name in sorted(os.listdir(path))}
        )
    raise DeltaError(f"{os.fsdecode(path)}: no file, directory or symlink; a store path holds nothing else")


def _hash_all(files: list[tuple[Node, bytes]]) -> list[tuple[bytes, ...]]:
    blocks = BlockReader()
    return [_hash(path, node.size, blocks) for node, path in files]


def _hash(path: bytes, size: int, blocks: BlockReader) -> tuple[bytes, ...]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        for start in range(0, max(size, 1), SEGMENT):
            hashed = hashlib.sha256()
            for block in blocks.read(handle, start, min(size, start + SEGMENT)):
                hashed.update(block)
            pieces.append(hashed.digest())
        return tuple(pieces)
    finally:
        os.close(handle)


def _digest(node: Node) -> None:
    hashed = hashlib.sha256(node.kind)
    hashed.update(node.target)
    for piece in node.pieces:
        hashed.update(piece)
    for name, child in node.children.items():
        _digest(child)
        hashed.update(b"%d:%s" % (len(name), name) + child.digest)
    node.digest = hashed.digest()


def read_piece(root: Path, path: bytes, number: int, *, sample: int = SEGMENT) -> bytes:
    """Return one `SEGMENT` of a file below a store path, shorter at the file's end; or `sample` bytes of its middle."""

    def read(handle: int) -> bytes:
        parts: list[bytes] = []
        offset = number * SEGMENT
        if sample < SEGMENT:
            offset += max(0, min(SEGMENT, os.fstat(handle).st_size - offset) - sample) // 2
        end = offset + sample
        while offset < end and (part := os.pread(handle, end - offset, offset)):
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    return open_below(root, path, read)
