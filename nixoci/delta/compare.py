"""What differs between a new store path and what is old: the plan of its recipe, and the contents that travel."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixoci.delta.codecs import is_packed
from nixoci.delta.format.numbers import pack_text, pack_varint
from nixoci.delta.format.recipe import EXPLICIT, FIRST_CONTENT, OLD
from nixoci.delta.pairing import OldTrees, Place
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.scan import Node, read_piece
from nixoci.errors import DeltaError
from nixoci.nix_store.blocks import BlockReader
from nixoci.nix_store.nar import SEGMENT
from nixoci.openat import open_below

_SAMPLE = 1 << 16
"""Bytes in the middle of a content that tell whether it is packed; what is smaller is taken not to be."""
_TINY = 32
"""Bytes of a file that is sent rather than found elsewhere: to say where takes as many."""


@dataclass(slots=True)
class File:
    """A new file that is made of several pieces or of new content; `partner` is the old file that it is most like.

    `carries` tells whether it is the first to use one of the contents that travel; `at` is its counterpart.
    """

    node: Node
    at: Place | None
    partner: Place | None
    carries: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of a new file that has to travel; `rewrite` tells whether old pieces may name what is rewritten."""

    file: File
    root: Path
    path: bytes
    number: int
    size: int
    packed: bool
    rewrite: bool

    @property
    def partner(self) -> Place | None:
        """The old file that this file is most like, if it has such a piece."""
        found = self.file.partner
        return found if found is not None and found.size > self.number * SEGMENT else None


@dataclass(frozen=True, slots=True)
class Copy:
    """What lies at an old place, as it is or rewritten; at its counterpart where `place` is None."""

    place: Place | None
    rewritten: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A new symlink."""

    target: bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory, by its letter: what it holds, or what differs from the one at `place`; None is what is dropped."""

    letter: bytes
    place: Place | None
    entries: Sequence[tuple[bytes, "Planned | None"]]


Planned = Copy | Link | File | Directory

_SAME = Copy(None, rewritten=False)
_REWRITTEN = Copy(None, rewritten=True)


class Comparison:
    """Compares one new store path with the old ones.

    Args:
        index: The old trees.
        wanted: The contents that travel, by their hash; those that this path is the first to need are added.
        root: Where the path lies on this machine.
        paired: The numbers of its earlier versions, its predecessor first.
        rewrite: Rewrites references, where the path has any that may have been.
        keep: Told the size of each file that needs nothing to travel.
    """

    def __init__(
        self,
        index: OldTrees,
        wanted: dict[bytes, Content],
        root: Path,
        *,
        paired: list[int],
        rewrite: Rewriter | None,
        keep: Callable[[int], None],
    ) -> None:
        self._index = index
        self._wanted = wanted
        self._root = root
        self._paired = paired
        self._rewrite = rewrite
        self._keep = keep
        self._blocks = BlockReader()

    def plan(self, tree: Node) -> Planned:
        """Return the plan of the path's recipe."""
        if not self._paired:
            return self._node(tree, b"", None, None)
        before = self._index.tree(self._paired[0])
        return self._node(tree, b"", Place(self._paired[0], b"", before.size), before)

    def _node(self, node: Node, path: bytes, at: Place | None, old: Node | None) -> Planned:
        """Plan a node; `at` is the place of its counterpart, if it has one, and `old` what is there, if anything is."""
        if old is not None and old.digest == node.digest:
            return self._kept(node, _SAME)
        if node.kind == b"l":
            old_target = old.target if old is not None and self._rewrite is not None else b""
            same_target = self._rewrite is not None and old_target and self._rewrite(old_target) == node.target
            return _REWRITTEN if same_target else Link(node.target)
        if node.size > _TINY or node.children:
            same = self._index.same(node, path, self._paired)
            if same is not None:
                return self._kept(node, Copy(same, rewritten=False))
        return self._directory(node, path, at, old) if node.kind == b"d" else self._file(node, path, at, old)

    def _kept(self, node: Node, plan: Copy) -> Copy:
        for _, below in node.walk():
            if below.pieces:
                self._keep(below.size)
        return plan

    def _directory(self, node: Node, path: bytes, at: Place | None, old: Node | None) -> Planned:
        place = None
        if (old is None or old.kind != b"d") and node.children:
            place = self._index.directory(path, self._paired)
            if place is not None:
                at, old = place, self._index.at(place.base, place.path)
        before = old.children if old is not None else {}
        plans: dict[bytes, Planned] = {}
        for name, child in node.children.items():
            below = _entry(at, name, before.get(name)) if at is not None else None
            plans[name] = self._node(child, path + b"/" + name if path else name, below, before.get(name))
        dropped = [name for name in before if name not in plans]
        default = _REWRITTEN if _REWRITTEN in plans.values() else _SAME
        differing = [name for name, plan in plans.items() if plan is not default and not self._unspelt(plan, at, name)]
        if default is _REWRITTEN and not differing and not dropped and place is None:
            return _REWRITTEN
        if old is None or old.kind != b"d" or len(differing) + len(dropped) > len(plans):
            return Directory(b"d", place, list(plans.items()))
        listed: dict[bytes, Planned | None] = {name: plans[name] for name in differing} | dict.fromkeys(dropped)
        letter = b"D" if default is _SAME else b"R"
        return Directory(letter, place, [(name, listed[name]) for name in sorted(listed)])

    def _unspelt(self, plan: Planned, at: Place | None, name: bytes) -> bool:
        """Tell whether an entry that stays as it is would also do so where entries are rewritten."""
        if plan is not _SAME or at is None:
            return False
        below = _entry(at, name, None)
        node = self._index.at(below.base, below.path)
        return node is not None and not self._names_rewritten(node, below)

    def _names_rewritten(self, node: Node, place: Place) -> bool:
        if self._rewrite is None:
            return False
        for path, below in node.walk(place.path):
            if self._rewrite.changes(below.target):
                return True
            for number in range(len(below.pieces)):
                if self._rewrite.changes(read_piece(self._index.root(place.base), path, number)):
                    return True
        return False

    def _file(self, node: Node, path: bytes, at: Place | None, old: Node | None) -> Planned:
        if at is not None and old is not None and old.pieces and old.size:
            partner: Place | None = at
        else:
            partner = self._index.partner(path, node.size, self._paired)
        if partner is not None and self._is_rewritten(node, path, partner):
            return self._kept(node, _REWRITTEN if partner is at else Copy(partner, rewritten=True))
        file = File(node, at, partner)
        for number, piece in enumerate(node.pieces if node.size else ()):
            size = min(SEGMENT, node.size - number * SEGMENT)
            if piece in self._wanted or (node.size > _TINY and self._index.same_piece(piece) is not None):
                continue
            file.carries = True
            packed = size >= _SAMPLE and is_packed(read_piece(self._root, path, number, sample=_SAMPLE))
            self._wanted[piece] = Content(file, self._root, path, number, size, packed, self._rewrite is not None)
        return file

    def _is_rewritten(self, node: Node, path: bytes, place: Place) -> bool:
        """Tell whether a file is the old one with its references rewritten."""
        old = self._index.at(place.base, place.path)
        if self._rewrite is None or old is None or (old.kind, old.size) != (node.kind, node.size):
            return False

        def compare(handle: int) -> bool:
            return open_below(self._root, path, lambda new: self._makes(handle, new, node.size))

        return open_below(self._index.root(place.base), place.path, compare)

    def _makes(self, old: int, new: int, size: int) -> bool:
        """Tell whether one open file, its references rewritten, is the other."""
        at = 0
        for start in range(0, size, SEGMENT):
            for block in self._blocks.read(old, start, min(size, start + SEGMENT), self._rewrite):
                if os.pread(new, len(block), at) != bytes(block):
                    return False
                at += len(block)
        return at == size


class RecipeWriter:
    """Writes recipes from their plans.

    Args:
        index: The old trees.
        numbers: The number of each content that travels, by its hash.
        base: Returns the number, in the header, of the old path with a number here.
        keep: Told the size of each piece that needs nothing to travel.
    """

    def __init__(
        self, index: OldTrees, numbers: dict[bytes, int], base: Callable[[int], int], keep: Callable[[int], None]
    ) -> None:
        self._index = index
        self._numbers = numbers
        self._base = base
        self._keep = keep

    def recipe(self, plan: Planned) -> bytes:
        """Return a recipe (docs/delta-format.md, Recipes)."""
        match plan:
            case Copy():
                return self._at(plan.place) + (b"~" if plan.rewritten else b"=")
            case Link():
                return b"l" + pack_text(plan.target)
            case File():
                return self._file(plan)
            case Directory():
                parts = [self._at(plan.place), plan.letter, pack_varint(len(plan.entries))]
                for name, entry in plan.entries:
                    parts += [pack_text(name), b"-" if entry is None else self.recipe(entry)]
                return b"".join(parts)

    def _at(self, place: Place | None) -> bytes:
        return b"" if place is None else b"@" + self._place(place)

    def _place(self, place: Place) -> bytes:
        return pack_varint(self._base(place.base)) + pack_text(place.path)

    def _file(self, file: File) -> bytes:
        node, at = file.node, file.at
        if file.carries and file.partner is not None and file.partner is not at:
            at = file.partner
        start = self._at(at if at is not file.at else None)
        old = self._index.at(at.base, at.path) if at is not None else None
        had = old.pieces if old is not None else ()
        pieces = []
        for number, piece in enumerate(node.pieces if node.size else ()):
            found = self._numbers.get(piece)
            if found is not None:
                pieces.append(pack_varint(found + FIRST_CONTENT))
                continue
            self._keep(min(node.size, SEGMENT))
            if number < len(had) and had[number] == piece:
                pieces.append(pack_varint(OLD))
                continue
            other = self._index.same_piece(piece)
            if other is None:
                raise DeltaError("a piece of content is neither new nor old")
            pieces.append(pack_varint(EXPLICIT) + self._place(other[0]) + pack_varint(other[1]))
        if len(pieces) == 1 and node.pieces[0] in self._numbers:
            return start + node.kind + pack_varint(self._numbers[node.pieces[0]])
        return start + node.kind.upper() + pack_varint(node.size) + b"".join(pieces)


def _entry(place: Place, name: bytes, node: Node | None) -> Place:
    path = place.path + b"/" + name if place.path else name
    return Place(place.base, path, node.size if node is not None else 0)
