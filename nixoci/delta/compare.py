"""Comparing a new store path with the old ones: the nodes of its recipe, and the contents that have to travel."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixoci.delta.codecs.choose import is_incompressible
from nixoci.delta.format.recipe import (
    DIRECTORY,
    EXECUTABLE,
    IMPLIED,
    SYMLINK,
    Copy,
    Directory,
    Drop,
    File,
    Node,
    OldSegment,
    Segment,
    Symlink,
)
from nixoci.delta.pairing import Candidate, OldTrees
from nixoci.delta.recompress.codec import is_recompressible
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.scan import Scanned
from nixoci.errors import DeltaError
from nixoci.openat import open_below, read_below
from nixoci.streams import BlockReader

_SAMPLE = 1 << 16
"""Bytes in the middle of a content that are tested for compressibility; smaller contents count as compressible."""
_HEAD = 1 << 20
"""Bytes at the start of an incompressible content that tell whether it can be inflated and deflated again."""
_TINY = 32
"""Largest file in bytes that is sent without a search for an old copy: naming the copy takes as many bytes."""


@dataclass(slots=True)
class NewFile:
    """A new file that is no copy. Its node has no segments until `Comparison.complete` is called.

    Attributes:
        node: Its node in the recipe.
        scanned: Its segments.
        counterpart: Its counterpart, which may not exist.
        predecessor: The most similar old file.
        carries: Whether it is the first to use one of the contents.
    """

    node: File
    scanned: Scanned
    counterpart: Candidate | None
    predecessor: Candidate | None
    carries: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A segment of a new file that has to travel.

    Attributes:
        file: The file.
        root: Its store path on this machine.
        path: Its path inside of that.
        index: The index of the segment.
        offset: The offset of the segment in the file.
        size: Bytes of the segment.
        incompressible: Whether it hardly compresses.
        rewrite: Whether its old segment may name paths that have to be rewritten.
    """

    file: NewFile
    root: Path
    path: bytes
    index: int
    offset: int
    size: int
    incompressible: bool
    rewrite: bool

    @property
    def predecessor(self) -> Candidate | None:
        """The predecessor of the file, if it has a segment of this index."""
        found = self.file.predecessor
        return found if found is not None and found.size > self.offset else None

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return its bytes, or a range of them; fewer only at its end.

        Raises:
            DeltaError: The file has become shorter.
        """
        size = max(0, min(self.size, self.size if stop is None else stop) - start)
        data = read_below(self.root, self.path, self.offset + start, size)
        if len(data) != size:
            raise DeltaError(f"{self.root}: {os.fsdecode(self.path)!r} changed while it was read; verify the store")
        return data


_SAME = Copy(IMPLIED, rewritten=False)
_REWRITTEN = Copy(IMPLIED, rewritten=True)


class Comparison:
    """Compares one new store path with the old ones.

    Args:
        index: The old trees.
        contents: The contents that travel, by the hash of their bytes; those that this path is the first to need are
            added.
        root: The path on this machine.
        paired: The indices of its older versions, its predecessor first.
        rewrite: Rewrites references, if the path has any that may have been.
        keep: Called with the size of each file or segment that does not travel.
        segment_size: Bytes of a segment.
    """

    def __init__(
        self,
        index: OldTrees,
        contents: dict[bytes, Content],
        root: Path,
        *,
        paired: Sequence[int],
        rewrite: Rewriter | None,
        keep: Callable[[int], None],
        segment_size: int,
    ) -> None:
        self._index = index
        self._contents = contents
        self._root = root
        self._paired = paired
        self._rewrite = rewrite
        self._keep = keep
        self._segment_size = segment_size
        self._blocks = BlockReader()
        self._new_files: list[NewFile] = []

    def node(self, tree: Scanned) -> Node:
        """Return the path's node. Its files have no segments before `complete`."""
        if not self._paired:
            return self._node(tree, b"", None, None)
        old = self._index.tree(self._paired[0])
        return self._node(tree, b"", Candidate(self._paired[0], b"", old.size), old)

    def complete(self, numbers: Mapping[bytes, int]) -> None:
        """Fill in the segments of the files.

        Args:
            numbers: The number of each content in the body, by the hash of its bytes.
        """
        for file in self._new_files:
            counterpart = file.counterpart
            if file.carries and file.predecessor is not None and file.predecessor is not counterpart:
                counterpart = file.predecessor
                file.node.old = counterpart.node
            file.node.segments = self._segments(file.scanned, counterpart, numbers)
            if file.node.segments and len(file.node.segments) == 1 and isinstance(file.node.segments[0], int):
                file.node.size = None

    def _segments(self, new: Scanned, counterpart: Candidate | None, numbers: Mapping[bytes, int]) -> list[Segment]:
        old = self._index.node_at(counterpart.base, counterpart.path) if counterpart is not None else None
        segments: list[Segment] = []
        for index, segment in enumerate(new.segments if new.size else ()):
            if segment in numbers:
                segments.append(numbers[segment])
                continue
            self._keep(min(new.size - index * self._segment_size, self._segment_size))
            if old is not None and old.segments[index : index + 1] == (segment,):
                segments.append(OldSegment(IMPLIED, index))
                continue
            other = self._index.same_segment(segment)
            if other is None:
                raise DeltaError(f"{self._root}: a segment is neither new nor old")
            segments.append(OldSegment(other[0].node, other[1]))
        return segments

    def _node(self, node: Scanned, path: bytes, counterpart: Candidate | None, old: Scanned | None) -> Node:
        """Return the node of a recipe; `old` is the counterpart's tree, None if it does not exist."""
        if old is not None and old.digest == node.digest:
            return self._kept(node, _SAME)
        if node.kind == SYMLINK:
            old_target = old.target if old is not None and self._rewrite is not None else b""
            same_target = self._rewrite is not None and old_target and self._rewrite(old_target) == node.target
            return _REWRITTEN if same_target else Symlink(node.target)
        if node.size > _TINY or node.children:
            same = self._index.same(node, path, self._paired)
            if same is not None:
                return self._kept(node, Copy(same.node, rewritten=False))
        if node.kind == DIRECTORY:
            return self._directory(node, path, counterpart, old)
        return self._file(node, path, counterpart, old)

    def _kept(self, node: Scanned, copy: Copy) -> Copy:
        for _, below in node.walk():
            if below.segments:
                self._keep(below.size)
        return copy

    def _directory(self, node: Scanned, path: bytes, counterpart: Candidate | None, old: Scanned | None) -> Node:
        named = None
        if (old is None or old.kind != DIRECTORY) and node.children:
            named = self._index.directory(node, path, self._paired)
            if named is not None:
                counterpart, old = named, self._index.node_at(named.base, named.path)
        old_entries = old.children if old is not None else {}
        entries: dict[bytes, Node] = {}
        for name, child in node.children.items():
            below = _entry(counterpart, name, old_entries.get(name)) if counterpart is not None else None
            entries[name] = self._node(child, path + b"/" + name if path else name, below, old_entries.get(name))
        dropped = [name for name in old_entries if name not in entries]
        default = _REWRITTEN if _REWRITTEN in entries.values() else _SAME
        differing = [
            name
            for name, entry in entries.items()
            if entry is not default and not self._same_if_rewritten(entry, counterpart, name)
        ]
        if default is _REWRITTEN and not differing and not dropped and named is None:
            return _REWRITTEN
        place = named.node if named is not None else None
        if old is None or old.kind != DIRECTORY or len(differing) + len(dropped) > len(entries):
            return Directory(list(entries.items()), None, place)
        listed: dict[bytes, Node | Drop] = {name: entries[name] for name in differing}
        listed |= dict.fromkeys(dropped, Drop())
        return Directory(
            [(name, listed[name]) for name in sorted(listed)], "copy" if default is _SAME else "rewrite", place
        )

    def _same_if_rewritten(self, entry: Node, counterpart: Candidate | None, name: bytes) -> bool:
        """Return whether copying the entry with and without rewriting gives the same bytes."""
        if entry is not _SAME or counterpart is None:
            return False
        below = _entry(counterpart, name, None)
        node = self._index.node_at(below.base, below.path)
        return node is not None and not self._names_rewritten(node, below)

    def _names_rewritten(self, node: Scanned, top: Candidate) -> bool:
        if self._rewrite is None:
            return False
        root = self._index.root(top.base)
        for path, below in node.walk(top.path):
            if self._rewrite.changes(below.target):
                return True
            for offset in range(0, below.size, self._segment_size):
                if self._rewrite.changes(read_below(root, path, offset, self._segment_size)):
                    return True
        return False

    def _file(self, node: Scanned, path: bytes, counterpart: Candidate | None, old: Scanned | None) -> Node:
        if counterpart is not None and old is not None and old.segments and old.size:
            predecessor: Candidate | None = counterpart
        else:
            predecessor = self._index.file_predecessor(path, node.size, self._paired)
        if predecessor is not None and self._is_rewritten(node, path, predecessor):
            return self._kept(
                node, _REWRITTEN if predecessor is counterpart else Copy(predecessor.node, rewritten=True)
            )
        file = NewFile(File(node.kind == EXECUTABLE, node.size, ()), node, counterpart, predecessor)
        self._new_files.append(file)
        for index, segment in enumerate(node.segments if node.size else ()):
            if segment in self._contents or (node.size > _TINY and self._index.same_segment(segment) is not None):
                continue
            file.carries = True
            offset = index * self._segment_size
            size = min(self._segment_size, node.size - offset)
            self._contents[segment] = Content(
                file=file,
                root=self._root,
                path=path,
                index=index,
                offset=offset,
                size=size,
                incompressible=size >= _SAMPLE and self._is_incompressible(path, offset, size, predecessor),
                rewrite=self._rewrite is not None,
            )
        return file.node

    def _is_incompressible(self, path: bytes, offset: int, size: int, predecessor: Candidate | None) -> bool:
        """Return whether a content hardly compresses, and is not expected to be inflated for its patch."""
        if not is_incompressible(read_below(self._root, path, offset + (size - _SAMPLE) // 2, _SAMPLE)):
            return False
        return predecessor is None or not is_recompressible(read_below(self._root, path, offset, min(size, _HEAD)))

    def _is_rewritten(self, node: Scanned, path: bytes, predecessor: Candidate) -> bool:
        """Return whether a file is its predecessor with references rewritten."""
        old = self._index.node_at(predecessor.base, predecessor.path)
        if self._rewrite is None or old is None or (old.kind, old.size) != (node.kind, node.size):
            return False

        def compare(handle: int) -> bool:
            return open_below(self._root, path, lambda new: self._same_rewritten(handle, new, node.size))

        return open_below(self._index.root(predecessor.base), predecessor.path, compare)

    def _same_rewritten(self, old: int, new: int, size: int) -> bool:
        """Return whether one open file, its references rewritten, equals the other."""
        offset = 0
        for block in self._blocks.read(old, 0, size, self._rewrite):
            if os.pread(new, len(block), offset) != bytes(block):
                return False
            offset += len(block)
        return offset == size


def _entry(counterpart: Candidate, name: bytes, old: Scanned | None) -> Candidate:
    return counterpart.entry(name, old.size if old is not None else 0)
