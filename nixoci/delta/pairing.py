"""Finding predecessors: of store paths by name, of files by content, path, name and similarity."""

import re
import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from heapq import nsmallest
from itertools import islice
from pathlib import Path

from nixoci.delta.by_size import BySize
from nixoci.delta.format.recipe import DIRECTORY, SYMLINK, OldNode
from nixoci.delta.scan import Scanned
from nixoci.nix_store.path import PathInfo, store_path_name
from nixoci.openat import read_below

_DIGEST = re.compile(rb"[0-9a-f]{32,}|[0-9a-df-np-sv-z]{32}|[A-Z2-7]{26}")
_DIGITS = re.compile(_DIGEST.pattern + rb"|[0-9]+")
"""Matches what versions of a path differ in: numbers, and the digests of contents, which image stores name files by."""
_VERSION = re.compile(r"-[0-9]")
_SKETCH = 48
_MIN_SHARED = 4
_MIN_SIMILAR_SIZE = 512
_MAX_SIMILAR_SIZE = 32 << 20
_MAX_SIMILAR_BYTES = 256 << 20
_MOST_PAIRED = 16
"""Old store paths at most in which the files of one new path are looked for by their paths."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node of an old store path that a new node may be made from.

    Attributes:
        base: The index of the old store path.
        path: The path inside of it.
        size: The node's size in bytes.
        guess: Whether it was one of several whose names differ in digests, which say nothing of what they have.
    """

    base: int
    path: bytes
    size: int
    guess: bool = field(default=False, compare=False)

    def entry(self, name: bytes, size: int) -> "Candidate":
        """Return the entry of a directory."""
        return Candidate(self.base, self.path + b"/" + name if self.path else name, size, self.guess)

    @property
    def node(self) -> OldNode:
        """This node, as recipes name it."""
        return OldNode(self.base, self.path)


def package_name(path: str) -> str:
    """Return a store path's name without its version: `/nix/store/<hash>-nginx-1.27` is `nginx`."""
    return _VERSION.split(store_path_name(path), maxsplit=1)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Versions:
    """Old store paths that are older versions of the same new ones, sorted.

    Attributes:
        paths: The paths.
    """

    paths: list[str] = field(default_factory=list)

    def paired(self, predecessor: str | None) -> list[str]:
        """Return those in which the files of a new path are looked for: its predecessor first, and a few others."""
        if predecessor is None:
            return []
        others = (path for path in self.paths if path != predecessor)
        return [predecessor, *islice(others, _MOST_PAIRED - 1)]


_NO_VERSIONS = Versions()


class OldNames:
    """An index of old store paths by their names."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._named: list[tuple[Callable[[str], str | bytes], dict[str | bytes, Versions]]] = []
        ordered = sorted(paths)
        for key in (store_path_name, _masked_name, package_name):
            named: dict[str | bytes, Versions] = defaultdict(Versions)
            for path in ordered:
                named[key(path)].paths.append(path)
            self._named.append((key, named))

    def versions(self, new: str) -> Versions:
        """Return the old store paths that are older versions of `new`; paths with the same ones get the same object.

        Those with the same name, else with the same name but for digits, else of the same package.
        """
        return next((found for key, named in self._named if (found := named.get(key(new)))), _NO_VERSIONS)


def choose_predecessors(
    new: Iterable[PathInfo], old: dict[str, PathInfo], names: OldNames, kept: Container[str]
) -> list[str | None]:
    """Return the predecessor of each new path, or None.

    Prefer one that no other path has and that is not in `kept`; then the nearest NAR size.
    """
    taken: set[str] = set()

    @cache
    def choice(versions: Versions) -> _Choice:
        return _Choice(versions, old, kept, taken)

    chosen: list[str | None] = []
    for info in new:
        best = choice(names.versions(info.path)).best(info.nar_size)
        chosen.append(best)
        if best is not None:
            taken.add(best)
    return chosen


class _Choice:
    """The choice among the older versions of some new paths; those in `taken` are chosen only if all are."""

    def __init__(
        self, versions: Versions, old: dict[str, PathInfo], kept: Container[str], taken: Container[str]
    ) -> None:
        sized: tuple[list[tuple[int, str]], list[tuple[int, str]]] = [], []
        for path in versions.paths:
            sized[path in kept].append((old[path].nar_size, path))
        self._free, self._all = (tuple(map(BySize, sized)) for _ in range(2))
        self._taken = taken

    def best(self, size: int) -> str | None:
        """Return the best one for a path of this NAR size; None if there is none."""
        for free in self._free:
            while (found := free.nearest(size)) is not None:
                if found[1] not in self._taken:
                    return found[1]
                free.remove(found)
        return next((found[1] for every in self._all if (found := every.nearest(size)) is not None), None)


class OldTrees:
    """An index of all old store paths, given as `(path on this machine, tree)`, to find predecessors in."""

    def __init__(self, trees: list[tuple[Path, Scanned]]) -> None:
        self._trees = trees
        self._by_digest: dict[bytes, Candidate] = {}
        self._by_segment: dict[bytes, tuple[Candidate, int]] = {}
        self._masked: dict[bytes, list[Candidate]] = defaultdict(list)
        self._files: list[dict[bytes, Scanned]] = []
        self._directories: list[dict[tuple[bytes, int], BySize[tuple[int, bytes]]]] = []
        for base, (_, tree) in enumerate(trees):
            files = {}
            directories: dict[tuple[bytes, int], list[tuple[int, tuple[int, bytes]]]] = defaultdict(list)
            for path, node in tree.walk():
                found = Candidate(base, path, node.size)
                if node.kind != SYMLINK:
                    self._by_digest.setdefault(node.digest, found)
                for index, segment in enumerate(node.segments):
                    self._by_segment.setdefault(segment, (found, index))
                if node.kind == DIRECTORY and _DIGITS.search(path):
                    for key in _directory_keys(path, node):
                        directories[key].append((node.total, (base, path)))
                if node.segments:
                    files[path] = node
                    if node.size:
                        self._masked[_mask(path)].append(found)
            self._files.append(files)
            self._directories.append({key: BySize(each) for key, each in directories.items()})
        self._sized: dict[tuple[bytes, int | None], BySize[tuple[int, bytes]]] = {}
        self._sketched: dict[int, list[Candidate]] | None = None

    def root(self, base: int) -> Path:
        """Return an old store path on this machine."""
        return self._trees[base][0]

    def tree(self, base: int) -> Scanned:
        """Return the tree of an old store path."""
        return self._trees[base][1]

    def same(self, node: Scanned, path: bytes, paired: Sequence[int]) -> Candidate | None:
        """Return an old node of equal content, preferably at the same path of a paired store path."""
        for base in paired:
            found = self.node_at(base, path)
            if found is not None and found.digest == node.digest:
                return Candidate(base, path, found.size)
        return self._by_digest.get(node.digest)

    def directory(self, node: Scanned, path: bytes, paired: Sequence[int]) -> Candidate | None:
        """Return the old directory whose path differs from this one only in digits.

        Of several, one with the same names, else any, and then that of the nearest size.
        """
        for key in _directory_keys(path, node):
            for base in paired:
                alike = self._directories[base].get(key)
                if alike is not None and (found := alike.nearest(node.total)) is not None:
                    return Candidate(*found[1], 0, _is_guess(path, len(alike)))
        return None

    def same_segment(self, digest: bytes) -> tuple[Candidate, int] | None:
        """Return an old file with this segment, and the segment's index there."""
        return self._by_segment.get(digest)

    def file_predecessor(self, path: bytes, size: int, paired: Sequence[int]) -> Candidate | None:
        """Return the old file that is most likely an older version: by path, else by name but for digits and size."""
        for base in paired:
            found = self._files[base].get(path)
            if found is not None and found.size:
                return Candidate(base, path, found.size)
        name = _mask(path)
        near = [file for base in paired if (file := self._nearest(name, size, base)) is not None]
        if not near:
            return self._nearest(name, size)
        best = min(near, key=lambda file: (abs(file.size - size), file.base, file.path))
        return replace(best, guess=True) if _is_guess(_name(path), len(near)) else best

    def _nearest(self, name: bytes, size: int, base: int | None = None) -> Candidate | None:
        """Return the file of a masked name that is nearest in size, in one old store path or in all."""
        files = self._masked.get(name)
        if files is None:
            return None
        sized = self._sized.get((name, base))
        if sized is None:
            first, last = (
                (0, len(files))
                if base is None
                else (bisect_left(files, number, key=lambda file: file.base) for number in (base, base + 1))
            )
            sized = BySize((file.size, (file.base, file.path)) for file in files[first:last])
            self._sized[name, base] = sized
        found = sized.nearest(size)
        if found is None:
            return None
        return Candidate(*found[1], found[0], _is_guess(_name(found[1][1]), len(sized)))

    def digest(self, file: Candidate) -> bytes:
        """Return the digest of an old file."""
        return self._files[file.base][file.path].digest

    def similar(self, content: bytes, unused: set[bytes], guess: Candidate | None = None) -> Candidate | None:
        """Return the old file with a digest in `unused` that shares most lines or strings with `content`.

        None, too, if the file `guess` shares as many.
        """
        if not _MIN_SIMILAR_SIZE <= len(content) <= _MAX_SIMILAR_SIZE:
            return None
        if self._sketched is None:
            self._sketched = self._sketch_old(unused)
        shared: dict[Candidate, int] = defaultdict(int)
        values = sketch(content)
        for value in values:
            for file in self._sketched.get(value, ()):
                shared[file] += 1
        best = min(shared, key=lambda file: (-shared[file], file.base, file.path), default=None)
        if best is None or shared[best] < _MIN_SHARED:
            return None
        if guess is not None and guess.size <= _MAX_SIMILAR_SIZE:
            known = set(sketch(read_below(self.root(guess.base), guess.path, 0, guess.size)))
            if len(known.intersection(values)) >= shared[best]:
                return None
        return best

    def _sketch_old(self, unused: set[bytes]) -> dict[int, list[Candidate]]:
        found: dict[int, list[Candidate]] = defaultdict(list)
        left = _MAX_SIMILAR_BYTES
        for base, files in enumerate(self._files):
            for path, node in files.items():
                if node.digest in unused and _MIN_SIMILAR_SIZE <= node.size <= min(left, _MAX_SIMILAR_SIZE):
                    left -= node.size
                    root = self._trees[base][0]
                    for value in sketch((root / Path(_text(path)) if path else root).read_bytes()):
                        found[value].append(Candidate(base, path, node.size))
        return found

    def node_at(self, base: int, path: bytes) -> Scanned | None:
        """Return the old node at a path, if there is one."""
        node: Scanned | None = self._trees[base][1]
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if node is not None else None
        return node


def sketch(content: bytes) -> list[int]:
    """Return the smallest checksums of the lines of a content, or of its strings between zero bytes.

    Similar contents share many of them.
    """
    separator = b"\n" if content.count(b"\n") * 256 > len(content) else b"\0"
    return nsmallest(_SKETCH, {zlib.crc32(part) for part in content.split(separator) if len(part) >= 8})


def _directory_keys(path: bytes, node: Scanned) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
    """Return what a directory has in common with one of other digits and the same names in it, and of other digits."""
    masked = _mask_all(path)
    return (masked, hash(frozenset(map(_mask_all, node.children)))), (masked, 0)


def _is_guess(name: bytes, count: int) -> bool:
    """Return whether it is a guess to take one of so many that are named alike."""
    return count > 1 and _DIGEST.search(name) is not None


def _name(path: bytes) -> bytes:
    return path.rsplit(b"/", 1)[-1]


def _mask(path: bytes) -> bytes:
    return _mask_all(_name(path))


def _mask_all(path: bytes) -> bytes:
    return _DIGITS.sub(b"0", path)


def _masked_name(path: str) -> bytes:
    return _mask(store_path_name(path).encode())


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
