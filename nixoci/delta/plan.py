"""The plan of a delta: its header, the recipes of all new paths, and the contents that travel."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from nixoci.delta.closure import Closure, in_dependency_order
from nixoci.delta.compare import Comparison, Content
from nixoci.delta.format.model import MAX_CONTENTS, SEGMENT_SIZE, Base, Header
from nixoci.delta.format.recipe import RecipeWriter
from nixoci.delta.pairing import Candidate, OldNames, OldTrees, choose_predecessors
from nixoci.delta.rewrite import Rewriter
from nixoci.delta.scan import Scanned, scan
from nixoci.delta.summary import SendSummary
from nixoci.errors import DeltaError
from nixoci.nix_store.path import PathInfo
from nixoci.progress import Advance, ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything of a delta but the payloads.

    Attributes:
        header: The header.
        recipes: The recipe of each new path.
        contents: The contents, sorted so that like is near like, incompressible ones last.
        old_roots: The old paths on this machine, by the index that contents refer to.
        rewrite: Rewrites references to the new paths.
        segment_size: Bytes of a segment.
        summary: The figures so far.
    """

    header: Header
    recipes: Sequence[bytes]
    contents: Sequence[Content]
    old_roots: Sequence[Path]
    rewrite: Rewriter
    segment_size: int
    summary: SendSummary


def scanned_bytes(old: Closure, new: Closure) -> int:
    """Return the number of bytes that `plan_delta` reports to `advance` in all."""
    return sum(info.nar_size for info in (old.paths | new.paths).values())


def plan_delta(
    old: Closure, new: Closure, *, similar: bool, segment_size: int = SEGMENT_SIZE, advance: Advance = ignore
) -> Plan:
    """Plan the delta that makes the closure `new` from `old`.

    Args:
        old: The closure that the receiver has.
        new: The closure to make.
        similar: Whether to look for predecessors of files by similarity, if their path and name give none.
        segment_size: Bytes of a segment; a receiver must know it.
        advance: Called with the NAR size of each path that was read.

    Raises:
        DeltaError: A store path holds something else than files, directories and symlinks, or too much is new.
    """
    old_paths = sorted(old.paths)
    made = in_dependency_order([info for path, info in new.paths.items() if path not in old.paths])
    names = OldNames(old.paths)
    predecessors = choose_predecessors(made, old.paths, names, new.paths.keys())
    successions = [(path, info.path) for path, info in zip(predecessors, made, strict=True) if path is not None]
    rewrite = Rewriter(successions, segment_size=segment_size)
    rewritten = {path for _, path in successions}
    old_roots = [old.on_disk(path) for path in old_paths]
    old_trees = _scan_all(old_roots, [old.paths[path] for path in old_paths], segment_size, advance)
    new_roots = [new.on_disk(info.path) for info in made]
    new_trees = _scan_all(new_roots, made, segment_size, advance)
    index = OldTrees(old_trees)
    summary = SendSummary(paths=len(made), bases=0, nar_size=sum(info.nar_size for info in made), delta_size=0, by={})
    bases = _Bases(old_paths)
    by_hash: dict[bytes, Content] = {}
    comparisons = [
        Comparison(
            index,
            by_hash,
            root,
            paired=[bases.index(path) for path in names.versions(info.path).paired(predecessor)],
            rewrite=rewrite if rewritten.intersection(info.references) else None,
            keep=lambda size: summary.add("kept", size),
            segment_size=segment_size,
        )
        for info, predecessor, root in zip(made, predecessors, new_roots, strict=True)
    ]
    nodes = [comparison.node(tree) for comparison, (_, tree) in zip(comparisons, new_trees, strict=True)]
    if similar:
        _find_similar(by_hash.values(), index, old_trees, new_trees)
    contents = _sorted_contents(by_hash)
    numbers = {hashed: number for number, (hashed, _) in enumerate(contents)}
    for comparison in comparisons:
        comparison.complete(numbers)
    numbered = tuple(None if path is None else bases.number(bases.index(path)) for path in predecessors)
    for path in _referenced(made, new, old):
        bases.number(bases.index(path))
    writer = RecipeWriter(bases.number)
    recipes = [writer.pack(node) for node in nodes]  # this adds bases to the numbered ones
    summary.bases = len(bases.used)
    return Plan(
        header=Header(
            roots=new.roots,
            bases=tuple(Base(path=path, nar_hash=old.paths[path].nar_hash) for path in bases.used),
            paths=tuple(made),
            predecessors=numbered,
        ),
        recipes=recipes,
        contents=[content for _, content in contents],
        old_roots=old_roots,
        rewrite=rewrite,
        segment_size=segment_size,
        summary=summary,
    )


def _scan_all(
    roots: Sequence[Path], infos: Sequence[PathInfo], segment_size: int, advance: Advance
) -> list[tuple[Path, Scanned]]:
    trees = []
    for root, info in zip(roots, infos, strict=True):
        trees.append((root, scan(root, segment_size=segment_size)))
        advance(info.nar_size)
    return trees


class _Bases:
    """Numbers the old paths that a delta needs, in the order of their first use."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._indices = {path: index for index, path in enumerate(paths)}
        self._numbers: dict[int, int] = {}

    def index(self, path: str) -> int:
        """Return the index of an old path among all old paths."""
        return self._indices[path]

    def number(self, index: int) -> int:
        """Return the number of an old path in the header."""
        return self._numbers.setdefault(index, len(self._numbers))

    @property
    def used(self) -> list[str]:
        """The old paths that have a number, in order."""
        return [self._paths[index] for index in self._numbers]


def _referenced(made: list[PathInfo], new: Closure, old: Closure) -> list[str]:
    """Return the old paths that new paths refer to, or that are roots."""
    needed = {reference for info in made for reference in info.references} | set(new.roots)
    return sorted(needed & old.paths.keys())


def _find_similar(
    contents: Collection[Content],
    index: OldTrees,
    old_trees: Sequence[tuple[Path, Scanned]],
    new_trees: Sequence[tuple[Path, Scanned]],
) -> None:
    """Choose predecessors by similarity for the files that have none, or one of several that digests name."""
    lonely = [content for content in contents if not content.index and not _is_sure(content.predecessor)]
    if not lonely:
        return
    unused = {node.digest for _, tree in old_trees for _, node in tree.walk() if node.segments}
    unused -= {node.digest for _, tree in new_trees for _, node in tree.walk()}
    # two files rarely have the same predecessor
    unused -= {index.digest(found) for content in contents if _is_sure(found := content.predecessor)}
    for content in lonely:
        found = index.similar(content.read(), unused, content.predecessor)
        content.file.predecessor = found or content.predecessor


def _is_sure(predecessor: Candidate | None) -> TypeGuard[Candidate]:
    return predecessor is not None and not predecessor.guess


def _sorted_contents(by_hash: dict[bytes, Content]) -> list[tuple[bytes, Content]]:
    if len(by_hash) > MAX_CONTENTS:
        raise DeltaError(f"{len(by_hash)} contents are new, a delta has {MAX_CONTENTS} at most; make several")
    return sorted(by_hash.items(), key=lambda item: _order(item[1]))


def _order(content: Content) -> tuple[bool, bytes, bytes, bytes, str, int]:
    name = content.path.rsplit(b"/", 1)[-1]
    suffix = name.rpartition(b".")[2] if b"." in name else b""
    return content.incompressible, suffix, name, content.path, content.root.name, content.index
