"""The roots that units make while their containers run, and that a crash or a power cut leaves behind.

A unit's start makes them and its stop removes them, with nothing but a shell (`nixoci.units.roots`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nixoci.container.places import UNIT_LINK_PREFIX
from nixoci.errors import ProcessError
from nixoci.gc_roots.links import Change, Link
from nixoci.nix_store.path import STORE_DIR
from nixoci.systemd import unit_states

_ENDED = {"inactive", "failed"}


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
            yield file.parent.name, file, Path(STORE_DIR) / file.name
        for link in sorted(self.links.glob(f"{UNIT_LINK_PREFIX}*")) if self.links is not None else ():
            if link.is_symlink():
                yield link.name.removeprefix(UNIT_LINK_PREFIX), link, link.readlink()


def update_unit_roots(places: UnitRoots, *, dry_run: bool = False) -> list[Link]:
    """Remove the roots of units that have ended; those of others stay.

    Nothing is removed if systemd does not answer.
    """
    roots = list(places.all())
    units = {container: f"{container}.service" for container, _, _ in roots}
    try:
        states = unit_states(units.values(), user=places.user)
    except ProcessError:
        states = {}
    links = []
    for container, file, path in roots:
        ended = states.get(units[container]) in _ENDED
        if ended and not dry_run:
            file.unlink()
        links.append(Link(container, path, Change.REMOVED if ended else Change.KEPT))
    return links
