"""Which old thing a new thing is most like: store paths by name, files by content, path, name and similarity."""

import re
import zlib
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

from nixoci.delta.scan import Node
from nixoci.nix_store.path import PathInfo, store_path_name

_DIGITS = re.compile(rb"[0-9]+")
_VERSION = re.compile(r"-[0-9]")
_SKETCH = 48
_MIN_SHARED = 4
_MIN_SIMILAR_SIZE = 512
_MAX_SIMILAR_SIZE = 32 << 20
_MAX_SIMILAR_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A node of an old store path: the index of the path, the path inside of it, and the node's size."""

    base: int
    path: bytes
    size: int


def package_name(path: str) -> str:
    """Return a store path's name without its version: `/nix/store/<hash>-nginx-1.27` is `nginx`."""
    return _VERSION.split(store_path_name(path), maxsplit=1)[0]


def pair_paths(new: str, old: Iterable[str]) -> list[str]:
    """Return the old store paths that are earlier versions of `new`.

    Those of its name, else of its name with digits masked, else of its package's.
    """
    candidates = sorted(old)
    for key in (store_path_name, _masked_name, package_name):
        found = [path for path in candidates if key(path) == key(new)]
        if found:
            return found
    return []


def choose_predecessors(new: Iterable[PathInfo], old: dict[str, PathInfo], kept: Container[str]) -> list[str | None]:
    """Return, for each new path, the old one that it comes after, or None.

    Each has its own, and none has one that is `kept`, where that can be; of several the one whose size is nearest.
    """
    taken: set[str] = set()
    chosen: list[str | None] = []
    for info in new:
        best = min(
            pair_paths(info.path, old),
            key=lambda path: (path in taken, path in kept, abs(old[path].nar_size - info.nar_size), path),
            default=None,
        )
        chosen.append(best)
        if best is not None:
            taken.add(best)
    return chosen


class OldTrees:
    """The index over all old store paths, given as `(path on this machine, tree)`, from which partners are chosen."""

    def __init__(self, trees: list[tuple[Path, Node]]) -> None:
        self._trees = trees
        self._by_digest: dict[bytes, Place] = {}
        self._by_piece: dict[bytes, tuple[Place, int]] = {}
        self._masked: dict[bytes, list[Place]] = defaultdict(list)
        self._files: list[dict[bytes, Node]] = []
        self._directories: list[dict[bytes, list[Place]]] = []
        for base, (_, tree) in enumerate(trees):
            files = {}
            directories: dict[bytes, list[Place]] = defaultdict(list)
            for path, node in tree.walk():
                place = Place(base, path, node.size)
                if node.kind != b"l":
                    self._by_digest.setdefault(node.digest, place)
                for number, piece in enumerate(node.pieces):
                    self._by_piece.setdefault(piece, (place, number))
                if node.kind == b"d" and _DIGITS.search(path):
                    directories[_mask_all(path)].append(place)
                if node.pieces:
                    files[path] = node
                    self._masked[_mask(path)].append(place)
            self._files.append(files)
            self._directories.append(directories)
        self._sketched: dict[int, list[Place]] | None = None

    def root(self, base: int) -> Path:
        """Return where an old store path lies on this machine."""
        return self._trees[base][0]

    def tree(self, base: int) -> Node:
        """Return the tree of an old store path."""
        return self._trees[base][1]

    def same(self, node: Node, path: bytes, paired: list[int]) -> Place | None:
        """Return an old place of equal content, by preference at the same path of a paired store path."""
        for base in paired:
            found = self.at(base, path)
            if found is not None and found.digest == node.digest:
                return Place(base, path, found.size)
        return self._by_digest.get(node.digest)

    def directory(self, path: bytes, paired: list[int]) -> Place | None:
        """Return the old directory whose path differs from this one in digits only."""
        return next((place for base in paired for place in self._directories[base].get(_mask_all(path), ())), None)

    def same_piece(self, piece: bytes) -> tuple[Place, int] | None:
        """Return where an old file has this piece, and its number there."""
        return self._by_piece.get(piece)

    def partner(self, path: bytes, size: int, paired: list[int]) -> Place | None:
        """Return the old file that is most likely an earlier version: by path, else by masked name and size."""
        for base in paired:
            found = self._files[base].get(path)
            if found is not None and found.size:
                return Place(base, path, found.size)
        places = [place for place in self._masked.get(_mask(path), ()) if place.size]
        if not places:
            return None
        return min(places, key=lambda place: (place.base not in paired, abs(place.size - size), place.base, place.path))

    def digest(self, place: Place) -> bytes:
        """Return the digest of the old file at a place."""
        return self._files[place.base][place.path].digest

    def similar(self, content: bytes, unused: set[bytes]) -> Place | None:
        """Return the old file that shares most pieces of content; only those whose digest is in `unused` count."""
        if not _MIN_SIMILAR_SIZE <= len(content) <= _MAX_SIMILAR_SIZE:
            return None
        if self._sketched is None:
            self._sketched = self._sketch_old(unused)
        shared: dict[Place, int] = defaultdict(int)
        for value in sketch(content):
            for place in self._sketched.get(value, ()):
                shared[place] += 1
        best = min(shared, key=lambda place: (-shared[place], place.base, place.path), default=None)
        return best if best is not None and shared[best] >= _MIN_SHARED else None

    def _sketch_old(self, unused: set[bytes]) -> dict[int, list[Place]]:
        found: dict[int, list[Place]] = defaultdict(list)
        left = _MAX_SIMILAR_BYTES
        for base, files in enumerate(self._files):
            for path, node in files.items():
                if node.digest in unused and _MIN_SIMILAR_SIZE <= node.size <= min(left, _MAX_SIMILAR_SIZE):
                    left -= node.size
                    root = self._trees[base][0]
                    for value in sketch((root / Path(_text(path)) if path else root).read_bytes()):
                        found[value].append(Place(base, path, node.size))
        return found

    def at(self, base: int, path: bytes) -> Node | None:
        """Return the old node at a path."""
        node: Node | None = self._trees[base][1]
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if node is not None else None
        return node


def sketch(content: bytes) -> list[int]:
    """Return the smallest checksums of a content's lines (or runs between zero bytes), which similar contents share."""
    separator = b"\n" if content.count(b"\n") * 256 > len(content) else b"\0"
    return nsmallest(_SKETCH, {zlib.crc32(part) for part in content.split(separator) if len(part) >= 8})


def _mask(path: bytes) -> bytes:
    return _mask_all(path.rsplit(b"/", 1)[-1])


def _mask_all(path: bytes) -> bytes:
    return _DIGITS.sub(b"0", path)


def _masked_name(path: str) -> bytes:
    return _mask(store_path_name(path).encode())


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
