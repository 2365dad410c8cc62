"""Closures as the sending side sees them: from a Nix store, or from what a build is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nixoci.delta import nix_store
from nixoci.delta.model import check_store_path
from nixoci.delta.send import Closure
from nixoci.document import load
from nixoci.errors import DeltaError


def from_store(paths: Sequence[str], *, store: str | None = None) -> Closure:
    """Return the closure of paths, which may be symlinks into the store (`result`) for the machine's own store.

    Raises:
        DeltaError: One of them is not a store path.
        ProcessError: Nix does not know one of them.
    """
    real = nix_store.real_store_dir(store)
    roots = []
    for path in paths:
        root = path if path.startswith("/nix/store/") else str(Path(path).resolve())
        check_store_path(root)
        roots.append(root)
    infos = nix_store.path_infos(roots, store=store, recursive=True) if roots else {}
    return Closure(roots=tuple(roots), paths=infos, real=real)


def from_graphs(file: Path) -> tuple[Closure, Closure]:
    """Return the closures `from` and `to` that Nix describes to a build in `.attrs.json` (exportReferencesGraph).

    The roots of each are the paths that no other path in it refers to.

    Raises:
        DeltaError: The file does not have the two.
    """
    attributes = load(file.read_bytes(), what=str(file))
    if not isinstance(attributes, dict) or not {"from", "to"} <= attributes.keys():
        raise DeltaError(f"{file}: does not hold the graphs `from` and `to`; name them so in exportReferencesGraph")
    return _from_graph(attributes["from"], f"{file}: from"), _from_graph(attributes["to"], f"{file}: to")


def _from_graph(graph: Any, what: str) -> Closure:
    infos = nix_store.parse_path_infos(graph, what=what)
    inner = {reference for info in infos.values() for reference in info.references if reference != info.path}
    for path in infos:
        check_store_path(path)
    return Closure(roots=tuple(sorted(infos.keys() - inner)), paths=infos)
