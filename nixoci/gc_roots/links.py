"""The roots: a directory of symlinks, each registered with Nix as an indirect root."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nixoci.container.places import GC_ROOTS
from nixoci.errors import ProcessError
from nixoci.nix_store.commands import add_gc_root
from nixoci.nix_store.path import STORE_DIR

_REGISTERED = Path(GC_ROOTS) / "auto"
"""Links to the indirect roots that Nix knows; it forgets one whose link was missing during a collection."""


class Change(Enum):
    """The fate of a root in an update."""

    ADDED = "added"
    KEPT = "kept"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Link:
    """A root: its name in the directory, the store path that it keeps, and what an update did to it."""

    name: str
    path: Path
    change: Change


def read_links(directory: Path, *, prefix: str) -> dict[str, Path]:
    """Return the targets of the links whose names start with `prefix`, by name."""
    return {
        link.name: link.readlink() for link in directory.glob("*") if link.name.startswith(prefix) and link.is_symlink()
    }


def update_links(
    directory: Path,
    wanted: Mapping[str, Path],
    *,
    prefix: str,
    dry_run: bool = False,
    registered: Path = _REGISTERED,
) -> list[Link]:
    """Make the links whose names start with `prefix` equal to the wanted ones: add, replace and remove.

    New roots are made before old ones are removed, so that an interrupted run leaves too many and not too few. A path
    that Nix refuses keeps no other from its root.

    Args:
        directory: Holds the links; made if it does not exist.
        wanted: Store paths by the name of their link.
        prefix: Other links of the directory are left alone.
        dry_run: Only say what would change.
        registered: Nix's directory of indirect roots; one that cannot be read says nothing.

    Raises:
        ProcessError: Nix does not have a path any more, or fails.
    """
    present = read_links(directory, prefix=prefix)
    known = _registered(registered)
    links = []
    failure: ProcessError | None = None
    for name, path in sorted(wanted.items()):
        if present.get(name) == path and (known is None or os.path.normpath(directory / name) in known):
            links.append(Link(name, path, Change.KEPT))
            continue
        try:
            if not dry_run:
                _add(directory / name, path)
        except ProcessError as error:
            failure = failure or error
        else:
            links.append(Link(name, path, Change.ADDED))
    for name, path in sorted(present.items()):
        if name not in wanted:
            if not dry_run:
                (directory / name).unlink(missing_ok=True)
            links.append(Link(name, path, Change.REMOVED))
    if failure is not None:
        raise failure
    return links


def _add(link: Path, path: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    # Nix replaces a link into the store by itself, so that there is a root at any time, and refuses anything else
    if os.path.lexists(link) and not (link.is_symlink() and link.readlink().is_relative_to(STORE_DIR)):
        link.unlink()
    add_gc_root(link, str(path), store=None)


def _registered(directory: Path) -> set[str] | None:
    """Return the links that Nix knows as indirect roots; None if that cannot be read."""
    try:
        return {str(entry.readlink()) for entry in directory.iterdir() if entry.is_symlink()}
    except OSError:
        return None
