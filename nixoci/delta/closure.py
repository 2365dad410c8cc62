"""Closures: the store paths that a delta starts from and makes, from a Nix store or from the inputs of a build."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from nixoci.document import load
from nixoci.errors import DeltaError, StoreError
from nixoci.nix_store.commands import real_store_dir
from nixoci.nix_store.hashes import printed_to_sri
from nixoci.nix_store.path import STORE_DIR, PathInfo, check_store_path, store_path_basename
from nixoci.nix_store.serve import serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """Store paths with all of their references. `real` is the directory that holds them on this machine."""

    roots: tuple[str, ...]
    paths: dict[str, PathInfo]
    real: Path = Path(STORE_DIR)

    def on_disk(self, path: str) -> Path:
        """Return a store path on this machine."""
        return self.real / store_path_basename(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The result of a delta: its roots, the paths that are new, those that were there, and sizes in bytes."""

    roots: tuple[str, ...]
    added: tuple[str, ...]
    present: tuple[str, ...]
    delta_size: int
    nar_size: int


def in_dependency_order(infos: Iterable[PathInfo]) -> list[PathInfo]:
    """Sort paths so that each comes after those it refers to, otherwise by path.

    Raises:
        DeltaError: Their references form a cycle.
    """
    by_path = {info.path: info for info in infos}
    sorter = TopologicalSorter(
        {
            path: [reference for reference in info.references if reference in by_path and reference != path]
            for path, info in by_path.items()
        }
    )
    try:
        sorter.prepare()
    except CycleError as error:
        raise DeltaError(f"{error.args[1][0]}: its references form a cycle, which Nix does not allow") from error
    ordered: list[PathInfo] = []
    while ready := sorted(sorter.get_ready()):
        ordered += (by_path[path] for path in ready)
        sorter.done(*ready)
    return ordered


def closures_from_store(*groups: Sequence[str], store: str | None = None) -> list[Closure]:
    """Return the closure of each group of paths; a path may be a symlink into the store, such as `result`.

    Raises:
        StoreError: One of them is not a store path, or is not valid.
        ProcessError: Nix fails.
    """
    real = real_store_dir(store)
    roots = [tuple(map(_store_path, group)) for group in groups]
    with serve(store=store) as nix:
        return [Closure(roots=group, paths=nix.closure(group), real=real) for group in roots]


@contextmanager
def kept_paths(*closures: Closure, store: str | None = None) -> Iterator[None]:
    """Keep the paths of closures from the garbage collector while the block runs.

    Raises:
        StoreError: One of them is not valid any more.
        ProcessError: Nix fails.
    """
    paths = {path for closure in closures for path in closure.paths}
    with serve(store=store, write=True) as nix:
        gone = paths - nix.valid_paths(sorted(paths))
        if gone:
            raise StoreError(f"{min(gone)}: was deleted from the store meanwhile; make it again, and run this again")
        yield


def closures_from_graphs(file: Path) -> tuple[Closure, Closure]:
    """Return the closures `from` and `to` of the `.attrs.json` of a build with exportReferencesGraph.

    The roots of each are the paths that no other path in it refers to.

    Raises:
        DeltaError: The file does not describe both.
    """
    attributes = load(file.read_bytes(), what=str(file))
    if not isinstance(attributes, dict) or not {"from", "to"} <= attributes.keys():
        raise DeltaError(f"{file}: does not hold the graphs `from` and `to`; name them so in exportReferencesGraph")
    return _from_graph(attributes["from"], f"{file}: from"), _from_graph(attributes["to"], f"{file}: to")


def _from_graph(graph: Any, what: str) -> Closure:
    try:
        infos = {info["path"]: _path_info(info) for info in graph}
    except (KeyError, TypeError, ValueError, StoreError) as error:
        raise DeltaError(f"{what}: not the path information that Nix writes ({error!r})") from error
    inner = {reference for info in infos.values() for reference in info.references if reference != info.path}
    for path in infos:
        check_store_path(path)
    return Closure(roots=tuple(sorted(infos.keys() - inner)), paths=infos)


def _path_info(info: Any) -> PathInfo:
    return PathInfo(
        path=info["path"],
        nar_hash=printed_to_sri(info["narHash"]),
        nar_size=int(info["narSize"]),
        references=tuple(sorted(info["references"])),
        deriver=info.get("deriver"),
        signatures=tuple(sorted(info.get("signatures") or ())),
        content_address=info.get("ca"),
    )


def _store_path(path: str) -> str:
    # an empty text, as of a variable that is not set, is no name of the working directory
    found = path if path.startswith(f"{STORE_DIR}/") or not path else str(Path(path).resolve())
    try:
        check_store_path(found)
    except StoreError as error:
        if found == path:
            raise
        raise StoreError(f"{path}: {error}") from error
    return found
