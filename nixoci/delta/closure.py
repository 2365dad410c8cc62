"""Closures as the sending side sees them: from a Nix store, or from what a build is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nixoci.delta.send import Closure
from nixoci.errors import DeltaError
from nixoci.nix_store import commands as nix_store
from nixoci.nix_store.path import PathInfo, check_store_path
from nixoci.nix_store.serve import serve, sri


def from_store(*groups: Sequence[str], store: str | None = None) -> list[Closure]:
    """Return the closure of each group of paths, which may be symlinks into the store (`result`) for the machine's own.

    Raises:
        DeltaError: One of them is not a store path, or is not valid.
        ProcessError: Nix fails.
    """
    real = nix_store.real_store_dir(store)
    roots = [tuple(map(_store_path, group)) for group in groups]
    with serve(store=store) as nix:
        return [Closure(roots=group, paths=nix.closure(group), real=real) for group in roots]


def from_graphs(file: Path) -> tuple[Closure, Closure]:
    """Return the closures `from` and `to` that Nix describes to a build in `.attrs.json` (exportReferencesGraph).

    The roots of each are the paths that no other path in it refers to.

    Raises:
        DeltaError: The file does not have the two.
    """
    from nixoci.document import load  # noqa: PLC0415 - takes longer to load than a small delta takes to make

    attributes = load(file.read_bytes(), what=str(file))
    if not isinstance(attributes, dict) or not {"from", "to"} <= attributes.keys():
        raise DeltaError(f"{file}: does not hold the graphs `from` and `to`; name them so in exportReferencesGraph")
    return _from_graph(attributes["from"], f"{file}: from"), _from_graph(attributes["to"], f"{file}: to")


def _from_graph(graph: Any, what: str) -> Closure:
    try:
        infos = {info["path"]: _path_info(info) for info in graph}
    except (KeyError, TypeError, ValueError) as error:
        raise DeltaError(f"{what}: not the path information that Nix writes ({error!r})") from error
    inner = {reference for info in infos.values() for reference in info.references if reference != info.path}
    for path in infos:
        check_store_path(path)
    return Closure(roots=tuple(sorted(infos.keys() - inner)), paths=infos)


def _path_info(info: Any) -> PathInfo:
    return PathInfo(
        path=info["path"],
        nar_hash=sri(info["narHash"]),
        nar_size=int(info["narSize"]),
        references=tuple(sorted(info["references"])),
        deriver=info.get("deriver"),
        signatures=tuple(sorted(info.get("signatures") or ())),
        content_address=info.get("ca"),
    )


def _store_path(path: str) -> str:
    found = path if path.startswith("/nix/store/") else str(Path(path).resolve())
    check_store_path(found)
    return found
