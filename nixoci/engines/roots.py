"""Roots of engines: the entries whose layers an engine has linked stay in the Nix store, and are mounted at each boot.

An engine's own folder of a layer is a symlink to the mounted image. Nix does not see mounts, and an engine's containers
outlive generations. So each entry, the image store that has the files of a layer, has a root as long as the engine has
the link: an empty file in the engine's directory of roots, with the name of the entry. The mount point's name tells it.

Make the root before the link, and remove the link before the root.
"""

import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nixoci.container.places import GC_ROOTS, IMAGES
from nixoci.nix_store.path import STORE_DIR
from nixoci.output import flush_directory

_DIRECTORY = "nixoci-engines"
_MOUNT_POINT = re.compile(r"(?P<entry>.+)-(?P<layer>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """A layer whose mount point an engine links to: the name of its entry, and its id."""

    entry: str
    layer: str


def linked_layer(link: Path) -> Linked | None:
    """Return the layer whose mount point a path is a symlink to; None for anything else."""
    try:
        target = link.readlink()
    except OSError:
        return None
    found = _MOUNT_POINT.fullmatch(target.name)
    if found is None or str(target.parent) != IMAGES:
        return None
    return Linked(entry=found["entry"], layer=found["layer"])


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRoots:
    """The roots of one engine. Where there is no Nix, there are none, and nothing is written.

    `gc_roots` is Nix's directory of roots.
    """

    engine: str
    gc_roots: Path = Path(GC_ROOTS)
    store_dir: Path = Path(STORE_DIR)

    @property
    def directory(self) -> Path:
        """The directory of the roots."""
        return self.gc_roots / _DIRECTORY / self.engine

    def held(self) -> set[str]:
        """Return the names of the entries that have a root."""
        with suppress(FileNotFoundError):
            return set(os.listdir(self.directory))  # noqa: PTH208 - names, not paths
        return set()

    def hold(self, entries: Iterable[Path], *, dry_run: bool = False) -> list[Path]:
        """Make a root of each entry that has none, and return these; an entry outside of the Nix store needs none.

        Raises:
            OSError: A root cannot be made.
        """
        if not self.gc_roots.is_dir():
            return []
        held = self.held()
        made = sorted({entry for entry in entries if entry.parent == self.store_dir and entry.name not in held})
        if made and not dry_run:
            self.directory.mkdir(parents=True, exist_ok=True)
            for entry in made:
                (self.directory / entry.name).touch()
            # after a power cut, a link without its root would be an image that may go
            flush_directory(self.directory)
        return made

    def release(self, linked: Collection[Linked], *, dry_run: bool = False) -> list[Path]:
        """Remove the roots of entries that the engine has no link to any more, and return these entries.

        Args:
            linked: All layers that the engine has a link to.
            dry_run: Remove nothing.

        Raises:
            OSError: A root cannot be removed.
        """
        removed = sorted(self.held() - {each.entry for each in linked})
        if not dry_run:
            for name in removed:
                (self.directory / name).unlink(missing_ok=True)
        return [self.store_dir / name for name in removed]
