"""The sending side: a plan of what is kept, patched and sent, then the stream; the target is asked nothing."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from nixoci.delta.codecs import Codec, Effort, body_compressor, encode, is_packed, packed_compressor
from nixoci.delta.format import VERSION, DeltaWriter, Sink, pack_varint
from nixoci.delta.model import STORE_DIR, Base, Header, PathInfo
from nixoci.delta.pairing import OldTrees, Place, pair_paths
from nixoci.delta.scan import SEGMENT, Node, open_below, scan
from nixoci.errors import DeltaError
from nixoci.progress import Advance, ignore

_WORKERS = 2
_IN_FLIGHT = 32
_IN_FLIGHT_BYTES = 48 << 20
"""Bytes of contents, old and new, that wait or are coded at a time; one content may be larger."""
_SAMPLE = 1 << 16
"""Bytes in the middle of a content that tell whether it is packed; what is smaller is taken not to be."""


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


@dataclass(frozen=True, slots=True)
class _Content:
    """A piece of a new file that has to travel, and the old file that it is most like."""

    place: Path
    path: bytes
    number: int
    size: int
    partner: Place | None
    packed: bool


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
    writer = DeltaWriter(out, body_compressor(effort))
    writer.header(plan.header)
    recipes = b"".join(plan.recipes)
    writer.write(pack_varint(len(recipes)) + recipes + pack_varint(len(plan.contents)))
    packed = False
    for content, codec, residue in _coded(plan, effort):
        if content.packed and not packed:  # they come last
            packed = True
            writer.change(packed_compressor())
        if content.partner is None or codec is Codec.PLAIN:
            reference = b""
        else:
            reference = plan.reference(content.partner) + pack_varint(content.number)
        writer.write(pack_varint(codec) + reference + pack_varint(content.size) + pack_varint(len(residue)))
        writer.write(residue)
        plan.summary.add(codec.name.lower(), content.size, len(residue))
        advance(content.size)
    writer.finish()
    plan.summary.delta_size = writer.size
    return plan.summary


class _Plan:
    """The recipes of all new paths, and the contents that travel, sorted so that like is near like."""

    def __init__(self, old: Closure, new: Closure, *, similar: bool) -> None:
        self.summary = Summary()
        self.old_paths = sorted(old.paths)
        self.old_roots = [old.on_disk(path) for path in self.old_paths]
        made = [info for path, info in new.paths.items() if path not in old.paths]
        made = in_dependency_order(made)
        old_trees = [(root, scan(root)) for root in self.old_roots]
        new_trees = [(new.on_disk(info.path), scan(new.on_disk(info.path))) for info in made]
        self._index = OldTrees(old_trees)
        self._used: dict[int, int] = {}
        self._wanted: dict[bytes, _Content] = {}
        numbers = {path: number for number, path in enumerate(self.old_paths)}
        pairs = [[numbers[path] for path in pair_paths(info.path, old.paths)] for info in made]
        for (root, tree), paired in zip(new_trees, pairs, strict=True):
            self._collect(root, tree, paired)
        if similar:
            self._find_similar(old_trees, new_trees)
        self.contents = sorted(self._wanted.values(), key=_order)
        place = {id(content): number for number, content in enumerate(self.contents)}
        self._number = {piece: place[id(content)] for piece, content in self._wanted.items()}
        needed = {reference for info in made for reference in info.references} | set(new.roots)
        for path in sorted(needed & old.paths.keys()):
            self._use(numbers[path])
        self.recipes = [self._recipe(tree, b"", paired) for (_, tree), paired in zip(new_trees, pairs, strict=True)]
        for content in self.contents:
            if content.partner is not None:
                self._use(content.partner.base)
        used = [self.old_paths[number] for number in self._used]
        self.header = Header(
            version=VERSION,
            roots=new.roots,
            bases=tuple(Base(path=path, nar_hash=old.paths[path].nar_hash) for path in used),
            paths=tuple(made),
        )
        self.summary.paths, self.summary.bases = len(made), len(used)
        self.summary.nar_size = sum(info.nar_size for info in made)

    def reference(self, place: Place) -> bytes:
        """Return the form of an old place in the body."""
        return pack_varint(self._use(place.base)) + pack_varint(len(place.path)) + place.path

    def _use(self, number: int) -> int:
        return self._used.setdefault(number, len(self._used))

    def _collect(self, root: Path, tree: Node, paired: list[int]) -> None:
        for path, node in tree.walk():
            if not node.pieces or not node.size or self._index.same(node, path, paired):
                continue
            partner = self._index.partner(path, node.size, paired)
            for number, piece in enumerate(node.pieces):
                if piece not in self._wanted and self._index.same_piece(piece) is None:
                    size = min(SEGMENT, node.size - number * SEGMENT)
                    near = partner if partner is not None and partner.size > number * SEGMENT else None
                    packed = size >= _SAMPLE and is_packed(read_piece(root, path, number, sample=_SAMPLE))
                    self._wanted[piece] = _Content(root, path, number, size, near, packed)

    def _find_similar(self, old_trees: list[tuple[Path, Node]], new_trees: list[tuple[Path, Node]]) -> None:
        lonely = [piece for piece, content in self._wanted.items() if content.partner is None and not content.number]
        if not lonely:
            return
        unused = {node.digest for _, tree in old_trees for _, node in tree.walk() if node.pieces}
        unused -= {node.digest for _, tree in new_trees for _, node in tree.walk()}
        # what is already the earlier version of one file is hardly that of another
        unused -= {self._index.digest(content.partner) for content in self._wanted.values() if content.partner}
        for piece in lonely:
            content = self._wanted[piece]
            partner = self._index.similar(read_piece(content.place, content.path, 0), unused)
            if partner is not None:
                self._wanted[piece] = replace(content, partner=partner)

    def _recipe(self, node: Node, path: bytes, paired: list[int]) -> bytes:
        """Return a node's recipe (docs/delta-format.md, Recipes)."""
        if node.kind == b"l":
            return b"l" + pack_varint(len(node.target)) + node.target
        same = self._index.same(node, path, paired)
        if same is not None and (node.size or node.children):
            self._count_kept(node)
            if same.path == path:
                return b"s" + pack_varint(self._use(same.base))
            return b"c" + self.reference(same)
        if node.kind == b"d":
            parts = [b"d", pack_varint(len(node.children))]
            for name, child in node.children.items():
                below = path + b"/" + name if path else name
                parts += [pack_varint(len(name)), name, self._recipe(child, below, paired)]
            return b"".join(parts)
        parts = [node.kind, pack_varint(node.size)]
        if node.size:
            parts.append(pack_varint(len(node.pieces)))
        for piece in node.pieces if node.size else ():
            number = self._number.get(piece)
            if number is not None:
                parts.append(pack_varint(number + 1))
            else:
                found = self._index.same_piece(piece)
                if found is None:
                    raise DeltaError("a piece of content is neither new nor old")
                parts.append(b"\0" + self.reference(found[0]) + pack_varint(found[1]))
                self.summary.add("kept", min(node.size, SEGMENT))
        return b"".join(parts)

    def _count_kept(self, node: Node) -> None:
        for _, below in node.walk():
            if below.pieces:
                self.summary.add("kept", below.size)


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


def read_piece(root: Path, path: bytes, number: int, *, sample: int = SEGMENT) -> bytes:
    """Return one `SEGMENT` of a file below a store path, shorter at the file's end; or `sample` bytes of its middle."""
    parts: list[bytes] = []

    def read(handle: int) -> None:
        offset = number * SEGMENT
        if sample < SEGMENT:
            offset += max(0, min(SEGMENT, os.fstat(handle).st_size - offset) - sample) // 2
        end = offset + sample
        while offset < end and (part := os.pread(handle, end - offset, offset)):
            parts.append(part)
            offset += len(part)

    open_below(root, path, read)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _coded(plan: _Plan, effort: Effort) -> Iterator[tuple[_Content, Codec, bytes]]:
    """Code the contents on both cores and yield them in order, with few of them in memory."""

    def code(content: _Content) -> tuple[Codec, bytes]:
        new = read_piece(content.place, content.path, content.number)
        if len(new) != content.size:
            raise DeltaError(f"{content.place}: {content.path!r} changed while it was read; verify the store")
        old = None
        if content.partner is not None:
            old = read_piece(plan.old_roots[content.partner.base], content.partner.path, content.number)
        return encode(new, old, effort, packed=content.packed)

    with ThreadPoolExecutor(_WORKERS) as pool:
        running: deque[tuple[_Content, int, Future[tuple[Codec, bytes]]]] = deque()
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


def _order(content: _Content) -> tuple[bool, bytes, bytes, bytes, str, int]:
    name = content.path.rsplit(b"/", 1)[-1]
    suffix = name.rpartition(b".")[2] if b"." in name else b""
    return content.packed, suffix, name, content.path, content.place.name, content.number
