"""One path on its way from a recipe to a NAR: what is old is read from the bases, and merged with what is new."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixoci.delta.format.recipe import Event, OldNode, OldPiece, Recipe
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.scan import read_piece
from nixoci.errors import DeltaError
from nixoci.nix_store.nar import NarWriter
from nixoci.openat import Below


class Bases:
    """The bases of a delta, by their numbers; `used` are those that were read.

    Args:
        roots: Where each lies on this machine.
        rewrite: Rewrites references to those that have a successor.
        below: Opens what lies below them.
    """

    def __init__(self, roots: Sequence[Path], rewrite: Rewriter, below: Below) -> None:
        self._roots = roots
        self._rewrite = rewrite
        self._below = below
        self.used: set[int] = set()

    def piece(self, piece: OldPiece) -> bytes:
        """Return an old piece."""
        data = read_piece(self._root(piece.node), piece.node.path, piece.number)
        return self._rewrite(data) if piece.rewritten else data

    def names(self, node: OldNode) -> list[bytes]:
        """Return the names in an old directory, in byte order."""
        return sorted(map(os.fsencode, self._below.act(self._root(node), node.path, os.listdir)))

    def copy(self, node: OldNode, nar: NarWriter, *, rewritten: bool) -> None:
        """Write what lies below a node into a NAR."""
        rewrite = self._rewrite if rewritten else None
        self._below.act(self._root(node), node.path, lambda handle: nar.dump(handle, rewrite))

    def _root(self, node: OldNode) -> Path:
        self.used.add(node.base)
        return self._roots[node.base]


@dataclass(frozen=True, slots=True)
class _Changed:
    """An old directory of which entries are copied; `names` are those that are left, the last one first."""

    node: OldNode
    rewritten: bool
    names: list[bytes]


class Layout:
    """Writes the NAR of one path.

    Args:
        nar: Where to.
        bases: What is old.
        content: Returns the content with a number.
    """

    def __init__(self, nar: NarWriter, bases: Bases, content: Callable[[int], bytes]) -> None:
        self._nar = nar
        self._bases = bases
        self._content = content
        self._inside: list[_Changed | None] = []

    def write(self, recipe: Recipe) -> None:
        """Write all of it.

        Raises:
            DeltaError: A base does not have what the recipe takes from it, or contents do not fit.
        """
        for event in recipe.events():
            self._step(event)

    def _step(self, event: Event) -> None:
        match event:
            case ("copy", node, rewritten):
                self._bases.copy(node, self._nar, rewritten=rewritten)
            case ("content", number, executable):
                data = self._content(number)
                self._nar.begin_regular(len(data), executable=executable)
                self._nar.write(data)
                self._nar.end_regular(len(data))
            case ("pieces", size, executable, pieces):
                self._nar.begin_regular(size, executable=executable)
                self._pieces(pieces, size)
                self._nar.end_regular(size)
            case ("symlink", target):
                self._nar.symlink(target)
            case _:
                self._step_in_directory(event)

    def _step_in_directory(self, event: Event) -> None:
        match event:
            case ("directory",):
                self._nar.begin_directory()
                self._inside.append(None)
            case ("changed", node, rewritten):
                self._nar.begin_directory()
                self._inside.append(_Changed(node, rewritten, self._bases.names(node)[::-1]))
            case ("entry", name):
                self._copy_before(name)
                self._nar.begin_entry(name)
            case ("drop", name):
                self._copy_before(name)
            case ("end entry",):
                self._nar.end_entry()
            case ("end directory",):
                self._copy_before(None)
                self._inside.pop()
                self._nar.end_directory()

    def _copy_before(self, name: bytes | None) -> None:
        """Copy the entries of a changed directory that come before `name`, and go past that name."""
        changed = self._inside[-1]
        while changed is not None and changed.names and (name is None or changed.names[-1] <= name):
            found = changed.names.pop()
            if found != name:
                self._nar.begin_entry(found)
                self._bases.copy(changed.node.entry(found), self._nar, rewritten=changed.rewritten)
                self._nar.end_entry()

    def _pieces(self, pieces: list[int | OldPiece], size: int) -> None:
        start = self._nar.size
        for piece in pieces:
            self._nar.write(self._bases.piece(piece) if isinstance(piece, OldPiece) else self._content(piece))
        if self._nar.size - start != size:
            raise DeltaError(f"a file's contents have {self._nar.size - start} bytes, expected {size}")
