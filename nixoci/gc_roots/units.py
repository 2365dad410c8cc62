"""The roots that units make while their containers run, and that a crash or a power cut leaves behind.

A unit's start makes them and its stop removes them, with nothing but a shell (`nixoci.units.roots`).
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nixoci.container.places import UNIT_LINK_PREFIX
from nixoci.errors import ProcessError
from nixoci.gc_roots.links import Change, Link
from nixoci.nix_store.path import STORE_DIR
from nixoci.systemd import unit_states

_ENDED = {"inactive", "failed"}
_NAME = re.compile(r"[a-zA-Z0-9_.:@\\-]{1,200}")
"""A name that systemctl takes as it is. One other name would make it change, expand or refuse the names of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRoots:
    """The places of the roots of one systemd's units.

    `files` has a directory for each container, with files that are named like store paths. `links` has links to store
    paths among other roots; None for the system's units, which need none. `user` means a user's own systemd.
    """

    files: Path
    links: Path | None
    user: bool

    def all(self) -> Iterator[tuple[str, Path, Path]]:
        """Yield each root's container, place and store path."""
        for file in sorted(self.files.glob("*/*")):
            if file.is_file() and not file.is_symlink():
                yield file.parent.name, file, Path(STORE_DIR) / file.name
        for link in sorted(self.links.glob(f"{UNIT_LINK_PREFIX}*")) if self.links is not None else ():
            if link.is_symlink():
                yield link.name.removeprefix(UNIT_LINK_PREFIX), link, link.readlink()


def update_unit_roots(places: UnitRoots, *, dry_run: bool = False) -> list[Link]:
    """Remove the roots of units that have ended; those of others stay.

    Nothing is removed if systemd does not answer.
    """
    roots = list(places.all())
    ended = _ended({container for container, _, _ in roots}, user=places.user)
    if not dry_run:
        for container, root, _ in roots:
            if container in ended:
                root.unlink(missing_ok=True)
        # a unit that began to start meanwhile needs the roots that it had just made
        started = ended - _ended(ended, user=places.user)
        for container, root, path in roots:
            if container in started and not os.path.lexists(root):
                if root.parent == places.links:
                    root.symlink_to(path)
                else:
                    root.touch()
        ended -= started
    return [
        Link(container, path, Change.REMOVED if container in ended else Change.KEPT) for container, _, path in roots
    ]


def _ended(names: Iterable[str], *, user: bool) -> set[str]:
    """Return the names of units that have ended or do not exist; none if systemd does not answer."""
    units = {f"{name}.service": name for name in sorted(names) if _NAME.fullmatch(name)}
    try:
        states = unit_states(units, user=user)
    except ProcessError:
        return set()
    return {units[unit] for unit, state in states.items() if state in _ENDED}
