"""The roots: a directory of symlinks, each registered with Nix as an indirect root."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nixoci.nix_store.commands import add_gc_root


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


def update_links(directory: Path, wanted: Mapping[str, Path], *, prefix: str, dry_run: bool = False) -> list[Link]:
    """Make the links whose names start with `prefix` equal to the wanted ones: add, replace and remove.

    New roots are made before old ones are removed, so that an interrupted run leaves too many and not too few.

    Args:
        directory: Holds the links; made if it does not exist.
        wanted: Store paths by the name of their link.
        prefix: Other links of the directory are left alone.
        dry_run: Only say what would change.

    Raises:
        ProcessError: Nix does not have a path any more, or fails.
    """
    present = {link.name: link.readlink() for link in directory.glob(f"{prefix}*") if link.is_symlink()}
    links = []
    for name, path in sorted(wanted.items()):
        if present.get(name) == path:
            links.append(Link(name, path, Change.KEPT))
            continue
        if not dry_run:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).unlink(missing_ok=True)  # Nix replaces only links into the store
            add_gc_root(directory / name, str(path), store=None)
        links.append(Link(name, path, Change.ADDED))
    for name, path in sorted(present.items()):
        if name not in wanted:
            if not dry_run:
                (directory / name).unlink(missing_ok=True)
            links.append(Link(name, path, Change.REMOVED))
    return links
