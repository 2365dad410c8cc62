"""Closures as the sending side sees them: from a Nix store, or from what a build is given."""

from collections.abc import Sequence
from pathlib import Path

from nixoci.delta import nix_store
from nixoci.delta.model import check_store_path
from nixoci.delta.send import Closure
from nixoci.document import load


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


def from_graph(file: Path) -> Closure:
    """Return the closure that Nix describes in JSON: `nix path-info --recursive --json`, `exportReferencesGraph`.

    Its roots are the paths that no other path in it refers to.
    """
    infos = nix_store.parse_path_infos(load(file.read_bytes(), what=str(file)), what=str(file))
    inner = {reference for info in infos.values() for reference in info.references if reference != info.path}
    roots = tuple(sorted(path for path in infos if path not in inner))
    for path in infos:
        check_store_path(path)
    return Closure(roots=roots, paths=infos)
