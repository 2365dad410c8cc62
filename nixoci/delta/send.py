"""The sending side: a plan of what is kept, patched and sent, then the stream; the target is asked nothing."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from nixoci.delta.codecs import Codec, Effort, body_packing, encode, packed_packing
from nixoci.delta.compare import Comparison, Content, RecipeWriter
from nixoci.delta.format.model import Base, Header
from nixoci.delta.format.numbers import pack_varint
from nixoci.delta.format.recipe import MAX_CONTENTS
from nixoci.delta.format.stream import DeltaWriter
from nixoci.delta.pairing import OldTrees, choose_predecessors, pair_paths
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.scan import Node, read_piece, scan
from nixoci.errors import DeltaError
from nixoci.nix_store.nar import SEGMENT
from nixoci.nix_store.path import STORE_DIR, PathInfo
from nixoci.progress import Advance, ignore
from nixoci.streams import Nowhere, Sink

_WORKERS = 2
_IN_FLIGHT = 32
_IN_FLIGHT_BYTES = 48 << 20
"""Bytes of contents, old and new, that wait or are coded at a time; one content may be larger."""
_LITTLE = 1 << 20
"""Bytes of contents that are coded in every way."""

_Coded = tuple[Content, Codec, bool, bytes]
"""A content, its codec, whether its old piece is rewritten, and its residue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """Store paths with all that they refer to. `real` is where the store's folder lies on this machine."""

    roots: tuple[str, ...]
    paths: dict[str, PathInfo]
    real: Path = Path(STORE_DIR)

    def on_disk(self, path: str) -> Path:
        """Return where a store path lies on this machine."""
        return self.real / path[len(STORE_DIR) + 1 :]


@dataclass(slots=True)
class Tally:
    """How many pieces of content went one way: their number, their bytes, and the bytes of residue they left."""

    count: int = 0
    size: int = 0
    residue: int = 0


@dataclass(slots=True, kw_only=True)
class Summary:
    """What a delta does: sizes are bytes. `by` has `kept` and each codec's name."""

    paths: int = 0
    bases: int = 0
    nar_size: int = 0
    delta_size: int = 0
    by: dict[str, Tally] = field(default_factory=dict)

    def add(self, way: str, size: int, residue: int = 0) -> None:
        """Count one piece."""
        tally = self.by.setdefault(way, Tally())
        tally.count += 1
        tally.size += size
        tally.residue += residue


def send(
    old: Closure, new: Closure, out: Sink, *, effort: Effort = Effort.DEFAULT, advance: Advance = ignore
) -> Summary:
    """Write the delta that makes the closure `new` where `old` is.

    The same closures and effort give the same bytes. Memory is bound by a few `SEGMENT`s and the number of files.

    Args:
        old: What the receiver has.
        new: What it shall have.
        out: Takes the stream.
        effort: Time spent for fewer bytes.
        advance: Told the bytes of content that were coded.

    Raises:
        DeltaError: A file changes while it is read, or is nothing that a store path can hold.
    """
    plan = _Plan(old, new, similar=effort is not Effort.FAST)
    coded = _coded(plan, effort)
    if effort is not Effort.FAST and sum(content.size for content in plan.contents) <= _LITTLE:
        coded = iter(_smallest(plan, effort))
    size = _write(plan, _told(coded, plan.summary, advance), out, effort)
    plan.summary.delta_size = size
    return plan.summary


class _Plan:
    """The recipes of all new paths, and the contents that travel, sorted so that like is near like."""

    def __init__(self, old: Closure, new: Closure, *, similar: bool) -> None:
        self.summary = Summary()
        old_paths = sorted(old.paths)
        numbers = {path: number for number, path in enumerate(old_paths)}
        made = in_dependency_order([info for path, info in new.paths.items() if path not in old.paths])
        predecessors = choose_predecessors(made, old.paths, new.paths.keys())
        self.rewrite = Rewriter(
            (before, info.path) for before, info in zip(predecessors, made, strict=True) if before is not None
        )
        after = {info.path for before, info in zip(predecessors, made, strict=True) if before is not None}
        self.old_roots = [old.on_disk(path) for path in old_paths]
        old_trees = [(root, scan(root)) for root in self.old_roots]
        new_trees = [(new.on_disk(info.path), scan(new.on_disk(info.path))) for info in made]
        self._index = OldTrees(old_trees)
        self._used: dict[int, int] = {}
        wanted: dict[bytes, Content] = {}
        plans = []
        for info, before, (root, tree) in zip(made, predecessors, new_trees, strict=True):
            pairs = [numbers[path] for path in pair_paths(info.path, old.paths)]
            if before is not None:
                pairs = [numbers[before], *(number for number in pairs if number != numbers[before])]
            rewrite = self.rewrite if after.intersection(info.references) else None
            comparison = Comparison(self._index, wanted, root, paired=pairs, rewrite=rewrite, keep=self._keep)
            plans.append(comparison.plan(tree))
        if similar:
            self._find_similar(wanted, old_trees, new_trees)
        self.contents = sorted(wanted.values(), key=_order)
        if len(self.contents) > MAX_CONTENTS:
            raise DeltaError(f"{len(self.contents)} contents are new, a delta has {MAX_CONTENTS} at most; make several")
        places = {id(content): number for number, content in enumerate(self.contents)}
        for before in predecessors:
            if before is not None:
                self._use(numbers[before])
        needed = {reference for info in made for reference in info.references} | set(new.roots)
        for path in sorted(needed & old.paths.keys()):
            self._use(numbers[path])
        writer = RecipeWriter(
            self._index, {piece: places[id(content)] for piece, content in wanted.items()}, self._use, self._keep
        )
        self.recipes = [writer.recipe(plan) for plan in plans]
        used = [old_paths[number] for number in self._used]
        self.header = Header(
            roots=new.roots,
            bases=tuple(Base(path=path, nar_hash=old.paths[path].nar_hash) for path in used),
            paths=tuple(made),
            predecessors=tuple(None if before is None else self._use(numbers[before]) for before in predecessors),
        )
        self.summary.paths, self.summary.bases = len(made), len(used)
        self.summary.nar_size = sum(info.nar_size for info in made)

    def _use(self, number: int) -> int:
        return self._used.setdefault(number, len(self._used))

    def _keep(self, size: int) -> None:
        self.summary.add("kept", size)

    def _find_similar(
        self,
        wanted: dict[bytes, Content],
        old_trees: list[tuple[Path, Node]],
        new_trees: list[tuple[Path, Node]],
    ) -> None:
        lonely = [content for content in wanted.values() if content.partner is None and not content.number]
        if not lonely:
            return
        unused = {node.digest for _, tree in old_trees for _, node in tree.walk() if node.pieces}
        unused -= {node.digest for _, tree in new_trees for _, node in tree.walk()}
        # what is already the earlier version of one file is hardly that of another
        unused -= {self._index.digest(content.partner) for content in wanted.values() if content.partner}
        for content in lonely:
            content.file.partner = self._index.similar(read_piece(content.root, content.path, 0), unused)


def in_dependency_order(infos: list[PathInfo]) -> list[PathInfo]:
    """Sort paths so that each comes after those it refers to, otherwise by path.

    Raises:
        DeltaError: They refer to each other in a circle.
    """
    waiting = {info.path: info for info in sorted(infos, key=lambda info: info.path)}
    done: list[PathInfo] = []
    while waiting:
        ready = [
            info
            for info in waiting.values()
            if not any(reference in waiting and reference != info.path for reference in info.references)
        ]
        if not ready:
            raise DeltaError(f"{next(iter(waiting))}: its references form a circle; Nix does not allow that")
        done += ready
        for info in ready:
            del waiting[info.path]
    return done


def _coded(plan: _Plan, effort: Effort) -> Iterator[_Coded]:
    """Code the contents on both cores and yield them in order, with few of them in memory."""

    def code(content: Content) -> tuple[Codec, bool, bytes]:
        new = read_piece(content.root, content.path, content.number)
        if len(new) != content.size:
            raise DeltaError(f"{content.root}: {content.path!r} changed while it was read; verify the store")
        old, rewritten = None, False
        if content.partner is not None:
            old = read_piece(plan.old_roots[content.partner.base], content.partner.path, content.number)
            if content.rewrite:
                found = plan.rewrite(old)
                old, rewritten = found, found != old
        codec, residue = encode(new, old, effort, packed=content.packed)
        return codec, rewritten and codec is not Codec.PLAIN, residue

    with ThreadPoolExecutor(_WORKERS) as pool:
        running: deque[tuple[Content, int, Future[tuple[Codec, bool, bytes]]]] = deque()
        bytes_running = 0
        for content in plan.contents:
            size = content.size + min(content.partner.size if content.partner is not None else 0, SEGMENT)
            while running and (len(running) >= _IN_FLIGHT or bytes_running + size > _IN_FLIGHT_BYTES):
                first, done, future = running.popleft()
                bytes_running -= done
                yield first, *future.result()
            running.append((content, size, pool.submit(code, content)))
            bytes_running += size
        while running:
            first, _, future = running.popleft()
            yield first, *future.result()


def _told(coded: Iterable[_Coded], summary: Summary, advance: Advance) -> Iterator[_Coded]:
    for one in coded:
        content, codec, _, residue = one
        yield one
        summary.add(codec.name.lower(), content.size, len(residue))
        advance(content.size)


def _write(plan: _Plan, coded: Iterable[_Coded], out: Sink, effort: Effort) -> int:
    """Write the stream, and return how many bytes it has."""
    writer = DeltaWriter(out, body_packing(effort))
    writer.header(plan.header)
    recipes = b"".join(plan.recipes)
    writer.write(pack_varint(len(recipes)) + recipes + pack_varint(len(plan.contents)))
    packed = False
    for content, codec, rewritten, residue in coded:
        if content.packed and not packed:  # they come last
            packed = True
            writer.change(packed_packing())
        writer.write(pack_varint(codec << 1 | rewritten) + pack_varint(len(residue)))
        writer.write(residue)
    writer.finish()
    return writer.size


def _smallest(plan: _Plan, effort: Effort) -> list[_Coded]:
    """Return the contents coded in the way that makes the smallest stream, which cannot be told before."""
    usual, fast = list(_coded(plan, effort)), list(_coded(plan, Effort.FAST))
    shortest = [min(pair, key=lambda one: len(one[3])) for pair in zip(usual, fast, strict=True)]
    return min(usual, fast, shortest, key=lambda coded: _write(plan, coded, Nowhere(), effort))


def _order(content: Content) -> tuple[bool, bytes, bytes, bytes, str, int]:
    name = content.path.rsplit(b"/", 1)[-1]
    suffix = name.rpartition(b".")[2] if b"." in name else b""
    return content.packed, suffix, name, content.path, content.root.name, content.number
