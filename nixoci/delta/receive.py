"""The receiving side: the whole stream is checked, then each path is rebuilt, verified and registered."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from nixoci.delta.assemble import Bases, Layout
from nixoci.delta.codecs import Codec, decode
from nixoci.delta.format.model import Base, Header
from nixoci.delta.format.recipe import OldPiece, Recipe
from nixoci.delta.format.stream import MAX_FRAME, DeltaReader
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.spool import need_space, spool
from nixoci.errors import DeltaError
from nixoci.nix_store import commands as nix_store
from nixoci.nix_store.nar import SEGMENT, NarHash, NarWriter
from nixoci.nix_store.path import STORE_DIR, PathInfo
from nixoci.nix_store.registration import RefusedError, registration
from nixoci.openat import Below, open_below
from nixoci.progress import Advance, byte_progress, ignore
from nixoci.streams import Sink, ThreadedSink, Watched

_SPARE = 64 << 20

MAX_RECIPES = 128 << 20
"""Bytes of the recipes of all paths together, some tens of them for a file."""


@dataclass(frozen=True, slots=True)
class _Content:
    """A content of the body: what `length` bytes of residue at `offset` make, by way of an old piece."""

    codec: int
    old: OldPiece | None
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a delta made: its roots, the paths that are new, those that were there, and bytes."""

    roots: tuple[str, ...]
    added: tuple[str, ...]
    present: tuple[str, ...]
    delta_size: int
    nar_size: int


def receive(
    read: Callable[[int], bytes],
    *,
    what: str,
    store: str | None = None,
    dry_run: bool = False,
) -> Received:
    """Rebuild the paths of a delta, check them, and register them with Nix.

    Paths that are already valid are skipped. Whatever is wrong with the stream or a base, no path is added. Memory
    is bound by a few `SEGMENT`s; the temporary folder holds the residue for a while.

    Args:
        read: Returns up to so many bytes of the stream, none at its end.
        what: Names the stream in errors.
        store: Where to; a Nix store URL on this machine.
        dry_run: Rebuild and check all of it, and let go of it.

    Raises:
        DeltaError: The stream is damaged or hostile, or a base is missing or not what it should be.
        ProcessError: Nix refuses.
    """
    real = nix_store.real_store_dir(store)
    rebuilder: Rebuilder | None = None
    with spool() as folder:
        try:
            with registration(store=store, write=not dry_run) as nix:  # first: it starts while the header is read
                stream = DeltaReader(read, what=what)
                header = stream.header()
                there = nix.valid([*(base.path for base in header.bases), *(info.path for info in header.paths)])
                check_bases(header.bases, there)
                check_present(header.paths, there)
                wanted = [info for info in header.paths if info.path not in there]
                rebuilder = Rebuilder(stream, header, real, folder)
                with byte_progress("rebuilding", sum(info.nar_size for info in wanted)) as advance:
                    for info in wanted:
                        if dry_run:
                            rebuilder.check(info, advance)
                        else:
                            nix.add(info, partial(rebuilder.write, info, advance=advance))
        except RefusedError as refused:
            if rebuilder is not None:
                rebuilder.check(refused.info)  # where what was written is wrong, this says why
            raise
    return Received(
        roots=header.roots,
        added=tuple(info.path for info in wanted),
        present=tuple(info.path for info in header.paths if info.path in there),
        delta_size=stream.size,
        nar_size=sum(info.nar_size for info in wanted),
    )


def check_bases(bases: tuple[Base, ...], there: dict[str, PathInfo]) -> None:
    """Refuse a store that lacks a base, or has another content under its name; `there` is what is valid.

    Raises:
        DeltaError: Names the base.
    """
    missing = sorted(base.path for base in bases if base.path not in there)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DeltaError(
            f"{missing[0]}{more}: the delta is made from it, but this store does not have it; "
            "copy it here first, or make the delta from what is here"
        )
    for base in bases:
        found = there[base.path].nar_hash
        if found != base.nar_hash:
            raise DeltaError(
                f"{base.path}: its narHash is {found}, the delta is made from one with {base.nar_hash}; "
                "make the delta from this one"
            )


def check_present(infos: tuple[PathInfo, ...], there: dict[str, PathInfo]) -> None:
    """Refuse a store that already has one of the paths with another content; `there` is what is valid.

    Raises:
        DeltaError: Names the path.
    """
    for info in infos:
        if info.path in there and there[info.path].nar_hash != info.nar_hash:
            raise DeltaError(
                f"{info.path}: this store has it with narHash {there[info.path].nar_hash}, the delta makes it with "
                f"{info.nar_hash}; delete it here (nix-store --delete), or make the delta from what is here"
            )


class Rebuilder:
    """Reads the body of a delta to its end, then writes the NAR of any of its paths.

    Raises:
        DeltaError: The body is not what the format says; nothing but files in `folder` was written.
    """

    def __init__(self, stream: DeltaReader, header: Header, real: Path, folder: Path) -> None:
        self._what = stream.what
        self._bases = header.bases
        self._roots = [real / base.path[len(STORE_DIR) + 1 :] for base in header.bases]
        self._rewrite = Rewriter(header.successions())
        recipes = stream.read(_at_most(stream.varint(), MAX_RECIPES, self._what))
        found: dict[int, OldPiece | None] = {}
        self._recipes = self._split(recipes, header, found)
        self._residue = folder / "residue"
        with self._residue.open("wb") as out:
            self._contents = self._read_contents(stream, out, found)
        stream.finish()

    def check(self, info: PathInfo, advance: Advance = ignore) -> None:
        """Make the NAR of a path, check its size and hash, and let go of it."""
        hashed = NarHash()
        size, used = self._rebuild(info, hashed, advance)
        if size != info.nar_size or hashed.sri != info.nar_hash:
            self._blame_bases(info, used)
            raise DeltaError(
                f"{info.path}: rebuilt with narHash {hashed.sri} and {size} bytes, expected {info.nar_hash} and "
                f"{info.nar_size}; make the delta again"
            )

    def write(self, info: PathInfo, out: Sink, advance: Advance = ignore) -> None:
        """Write the NAR of a path and check its size; whoever takes it checks its hash."""
        size, used = self._rebuild(info, out, advance)
        if size != info.nar_size:
            self._blame_bases(info, used)
            raise DeltaError(f"{info.path}: rebuilt with {size} bytes, expected {info.nar_size}; make the delta again")

    def _rebuild(self, info: PathInfo, out: Sink, advance: Advance) -> tuple[int, set[int]]:
        with (
            self._residue.open("rb") as residue,
            Below() as below,
            ThreadedSink(Watched(out.write, advance)) as sink,
        ):
            nar = NarWriter(sink, limit=info.nar_size, what=info.path)
            bases = Bases(self._roots, self._rewrite, below)
            try:
                Layout(nar, bases, lambda number: self._content(number, residue, bases)).write(self._recipes[info.path])
            except DeltaError as error:
                self._blame_bases(info, bases.used)
                text = str(error)
                raise DeltaError(text if text.startswith(info.path) else f"{info.path}: {text}") from error
            sink.finish()
        return nar.size, bases.used

    def _split(self, recipes: bytes, header: Header, found: dict[int, OldPiece | None]) -> dict[str, Recipe]:
        split, at = {}, 0
        for info, predecessor in zip(header.paths, header.predecessors, strict=True):
            recipe = Recipe(recipes, at, predecessor=predecessor, bases=len(self._bases), what=info.path)
            split[info.path], at = recipe, recipe.skim(found)
        if at != len(recipes):
            raise DeltaError(f"{self._what}: something follows its last recipe; make the delta again")
        return split

    def _read_contents(
        self, stream: DeltaReader, out: IO[bytes], found: dict[int, OldPiece | None]
    ) -> dict[int, _Content]:
        count = stream.varint()
        if count != len(found) or (found and max(found) >= count):
            raise DeltaError(
                f"{self._what}: damaged delta: it has {count} contents, but its recipes use {len(found)}, up to number "
                f"{max(found, default=0)}; fetch it again"
            )
        contents: dict[int, _Content] = {}
        offset = 0
        for number in range(count):
            codec = stream.varint()
            length = _at_most(stream.varint(), SEGMENT, self._what)
            old = found.pop(number)
            if codec >> 1 == Codec.PLAIN:
                old = None
            elif old is None:
                raise DeltaError(f"{self._what}: content {number} is made from an old one, and none is named for it")
            if codec & 1:
                old = self._rewritten(number, old)
            if not contents or offset % _SPARE + length > _SPARE:
                need_space(self._residue.parent, _SPARE, self._what)
            contents[number] = _Content(codec >> 1, old, offset, length)
            offset += length
            while length:
                part = stream.some(min(length, MAX_FRAME))
                out.write(part)
                length -= len(part)
        return contents

    def _rewritten(self, number: int, old: OldPiece | None) -> OldPiece:
        if old is None:
            raise DeltaError(f"{self._what}: content {number} is made from nothing, rewritten; make the delta again")
        return replace(old, rewritten=True)

    def _content(self, number: int, residue: IO[bytes], bases: Bases) -> bytes:
        content = self._contents[number]
        old = bases.piece(content.old) if content.old is not None else b""
        residue.seek(content.offset)
        return decode(content.codec, residue.read(content.length), old, SEGMENT)

    def _blame_bases(self, info: PathInfo, used: set[int]) -> None:
        """Where a path came out wrong, find out whether a base that it was made from is damaged."""
        for number in sorted(used):
            base: Base = self._bases[number]
            found = NarHash()
            open_below(self._roots[number], b"", NarWriter(found, limit=1 << 62, what=base.path).dump)
            if found.sri != base.nar_hash:
                raise DeltaError(
                    f"{base.path}: damaged in this store: its narHash is {found.sri}, expected {base.nar_hash}; "
                    f"repair it (nix-store --repair-path), then receive {info.path} again"
                )


def _at_most(value: int, limit: int, what: str) -> int:
    if value > limit:
        raise DeltaError(
            f"{what}: damaged delta: it declares {value} bytes where at most {limit} may be; fetch it again"
        )
    return value
