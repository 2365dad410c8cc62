"""The roots that units make while their containers run, and that a crash or a power cut leaves behind.

A unit's start makes them and its stop removes them, with nothing but a shell (`nixoci.units`).
"""

from pathlib import Path

from nixoci.container.places import GC_ROOTS
from nixoci.errors import ProcessError
from nixoci.gc_roots.links import Change, Link
from nixoci.nix_store.path import STORE_DIR
from nixoci.process import run

UNIT_ROOTS = Path(GC_ROOTS) / "nixoci"
_ENDED = {"inactive", "failed"}


def update_unit_roots(directory: Path = UNIT_ROOTS, *, dry_run: bool = False) -> list[Link]:
    """Remove the roots of units that have ended; those of others stay.

    Nothing is removed if systemd does not answer.
    """
    folders = sorted(folder for folder in directory.glob("*") if folder.is_dir() and any(folder.iterdir()))
    links = []
    for folder, state in zip(folders, _states([folder.name for folder in folders]), strict=True):
        ended = state in _ENDED
        for file in sorted(folder.iterdir()):
            if ended and not dry_run:
                file.unlink()
            links.append(Link(folder.name, Path(STORE_DIR) / file.name, Change.REMOVED if ended else Change.KEPT))
    return links


def _states(names: list[str]) -> list[str]:
    if not names:
        return []
    show = ["systemctl", "show", "--property=ActiveState", "--value", "--"]
    try:
        printed = run([*show, *(f"{name}.service" for name in names)]).decode()
    except ProcessError:
        return [""] * len(names)
    states = printed.split()
    return states if len(states) == len(names) else [""] * len(names)
