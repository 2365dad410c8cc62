"""Assembling the NAR of one path from its recipe: old nodes are read from the bases, contents from the delta."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

from nixoci.delta.format.recipe import Copy, Directory, Drop, File, Node, OldNode, OldSegment, Symlink
from nixoci.delta.rewrite import Rewriter
from nixoci.errors import DeltaError
from nixoci.nix_store.nar import NarWriter
from nixoci.openat import TreeOpener, list_entries, read_range


class Bases:
    """The bases of a delta, by their numbers; `used` are those that were read.

    Args:
        roots: The bases on this machine.
        rewrite: Rewrites references to predecessors.
        opener: Opens files below the bases.
    """

    def __init__(self, roots: Sequence[Path], rewrite: Rewriter, opener: TreeOpener) -> None:
        self._roots = roots
        self._rewrite = rewrite
        self._opener = opener
        self.used: set[int] = set()

    def segment(self, segment: OldSegment) -> bytes:
        """Return an old segment."""
        size = self._rewrite.segment_size
        read = partial(read_range, offset=segment.index * size, size=size)
        data = self._opener.open(self._root(segment.node), segment.node.path, read)
        return self._rewrite(data) if segment.rewritten else data

    def entries(self, node: OldNode) -> list[tuple[bytes, bool]]:
        """Return the entries of an old directory, as of `list_entries`."""
        return self._opener.open(self._root(node), node.path, list_entries)

    def copy(self, node: OldNode, nar: NarWriter, *, rewritten: bool) -> None:
        """Write an old node into a NAR."""
        edit = self._rewrite if rewritten else None
        self._opener.open(self._root(node), node.path, lambda handle: nar.dump(handle, edit))

    def copy_entries(
        self, node: OldNode, entries: Sequence[tuple[bytes, bool]], nar: NarWriter, *, rewritten: bool
    ) -> None:
        """Write entries of an old directory into a NAR."""
        edit = self._rewrite if rewritten else None
        self._opener.open(self._root(node), node.path, lambda handle: nar.dump_entries(handle, entries, edit))

    def _root(self, node: OldNode) -> Path:
        self.used.add(node.base)
        return self._roots[node.base]


@dataclass(frozen=True, slots=True)
class _Open:
    """A directory that is being written.

    Attributes:
        entries: The entries of the recipe that are left.
        old: The old directory whose other entries are copied.
        rewritten: Whether those are rewritten.
        left: The entries of the old directory that are left, the last one first.
    """

    entries: Iterator[tuple[bytes, Node | Drop]]
    old: OldNode | None = None
    rewritten: bool = False
    left: list[tuple[bytes, bool]] | None = None


class Assembler:
    """Writes the NAR of one path.

    Args:
        nar: Takes it.
        bases: The bases.
        content: Returns the content with a number.
    """

    def __init__(self, nar: NarWriter, bases: Bases, content: Callable[[int], bytes]) -> None:
        self._nar = nar
        self._bases = bases
        self._content = content
        self._open: list[_Open] = []

    def write(self, node: Node) -> None:
        """Write a recipe's node, without recursion: recipes may be as deep as the format allows.

        Raises:
            DeltaError: It is not a recipe, or the size of a file is wrong.
            StoreError: A base lacks a node that the recipe names, or the NAR becomes too large.
        """
        self._node(node)
        while self._open:
            directory = self._open[-1]
            entry = next(directory.entries, None)
            if entry is None:
                self._copy_before(directory, None)
                self._nar.end_directory()
                self._open.pop()
                if self._open:
                    self._nar.end_entry()
                continue
            name, child = entry
            self._copy_before(directory, name)
            if isinstance(child, Drop):
                continue
            self._nar.begin_entry(name)
            self._node(child)
            if not isinstance(child, Directory):
                self._nar.end_entry()

    def _node(self, node: Node) -> None:
        match node:
            case Copy():
                self._bases.copy(node.old, self._nar, rewritten=node.rewritten)
            case Symlink():
                self._nar.symlink(node.target)
            case File():
                self._file(node)
            case Directory():
                self._begin_directory(node)
            case _:
                assert_never(node)

    def _begin_directory(self, node: Directory) -> None:
        self._nar.begin_directory()
        entries = iter(node.entries)
        if node.changed is None or node.old is None:
            self._open.append(_Open(entries))
        else:
            left = self._bases.entries(node.old)[::-1]
            self._open.append(_Open(entries, node.old, node.changed == "rewrite", left))

    def _copy_before(self, directory: _Open, name: bytes | None) -> None:
        """Copy the old entries that come before `name`, all that are left by default, and skip that name."""
        left = directory.left
        if not left or directory.old is None:
            return
        before = []
        while left and (name is None or left[-1][0] < name):
            before.append(left.pop())
        if left and left[-1][0] == name:
            left.pop()
        if before:
            self._bases.copy_entries(directory.old, before, self._nar, rewritten=directory.rewritten)

    def _file(self, file: File) -> None:
        if file.size is None:
            (segment,) = file.segments
            data = self._segment(segment)
            self._nar.begin_regular(len(data), executable=file.executable)
            self._nar.write(data)
            self._nar.end_regular(len(data))
            return
        self._nar.begin_regular(file.size, executable=file.executable)
        start = self._nar.size
        for segment in file.segments:
            self._nar.write(self._segment(segment))  # one at a time: each takes up to 64 MiB
        if self._nar.size - start != file.size:
            raise DeltaError(f"a file's segments have {self._nar.size - start} bytes, expected {file.size}")
        self._nar.end_regular(file.size)

    def _segment(self, segment: int | OldSegment) -> bytes:
        return self._content(segment) if isinstance(segment, int) else self._bases.segment(segment)
