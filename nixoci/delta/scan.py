"""The content of store paths: every node with a digest, so that equal nodes are found."""

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.delta.format.model import MAX_DEPTH, SEGMENT_SIZE
from nixoci.delta.format.recipe import DIRECTORY, EXECUTABLE, FILE, SYMLINK
from nixoci.errors import DeltaError
from nixoci.streams import BlockReader

_BATCH = 100
"""Files that a thread hashes at a time: handing them over costs more than hashing a small one."""


@dataclass(slots=True)
class Scanned:
    """A file, directory or symlink. `kind` is the recipe's letter: `f`, `x` (executable), `d` or `l`.

    `segments` are the SHA-256 of each segment of a file (one of an empty file); `digest` identifies the whole subtree,
    and `total` is the bytes of all files in it.
    """

    kind: bytes
    size: int = 0
    target: bytes = b""
    children: dict[bytes, "Scanned"] = field(default_factory=dict)
    segments: tuple[bytes, ...] = ()
    digest: bytes = b""
    total: int = 0

    def walk(self, path: bytes = b"") -> Iterator[tuple[bytes, "Scanned"]]:
        """Yield this node and every node below it with its path, in NAR order; the path of the first is `path`."""
        yield path, self
        for name, child in self.children.items():
            yield from child.walk(path + b"/" + name if path else name)


def scan(root: Path, *, segment_size: int = SEGMENT_SIZE) -> Scanned:
    """Read a store path; two threads hash.

    Raises:
        DeltaError: It holds something that is no file, directory or symlink.
    """
    with ThreadPoolExecutor(2) as pool:
        pending: list[tuple[Scanned, bytes]] = []
        top = _read(os.fsencode(root), pending)
        batches = [pending[start : start + _BATCH] for start in range(0, len(pending), _BATCH)]
        for batch, hashed in zip(batches, pool.map(lambda batch: _hash_all(batch, segment_size), batches), strict=True):
            for (node, _), segments in zip(batch, hashed, strict=True):
                node.segments = segments
    del batches
    del pending
    _digest(top)
    return top


def _read(path: bytes, pending: list[tuple[Scanned, bytes]], depth: int = 0) -> Scanned:
    if depth > MAX_DEPTH:
        raise DeltaError(f"{os.fsdecode(path)}: more than {MAX_DEPTH} directories inside each other")
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode):
        return Scanned(SYMLINK, target=os.readlink(path))
    if stat.S_ISREG(facts.st_mode):
        node = Scanned(EXECUTABLE if facts.st_mode & stat.S_IXUSR else FILE, size=facts.st_size)
        pending.append((node, path))
        return node
    if stat.S_ISDIR(facts.st_mode):
        names = sorted(os.listdir(path))
        return Scanned(DIRECTORY, children={name: _read(path + b"/" + name, pending, depth + 1) for name in names})
    raise DeltaError(f"{os.fsdecode(path)}: no file, directory or symlink; a store path holds nothing else")


def _hash_all(files: list[tuple[Scanned, bytes]], segment_size: int) -> list[tuple[bytes, ...]]:
    blocks = BlockReader()
    return [_hash(path, node.size, blocks, segment_size) for node, path in files]


def _hash(path: bytes, size: int, blocks: BlockReader, segment_size: int) -> tuple[bytes, ...]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        segments = []
        for start in range(0, max(size, 1), segment_size):
            hashed = hashlib.sha256()
            for block in blocks.read(handle, start, min(size, start + segment_size)):
                hashed.update(block)
            segments.append(hashed.digest())
        return tuple(segments)
    finally:
        os.close(handle)


def _digest(node: Scanned) -> None:
    node.total = node.size
    hashed = hashlib.sha256(node.kind)
    hashed.update(node.target)
    for segment in node.segments:
        hashed.update(segment)
    for name, child in node.children.items():
        _digest(child)
        node.total += child.total
        hashed.update(b"%d:%s" % (len(name), name) + child.digest)
    node.digest = hashed.digest()
