"""The links of a switch on the machine: made and removed by their exact target, nothing else is touched."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.switch.record import Record


def present_links(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the targets of those of the paths that are symlinks."""
    return {path: os.readlink(path) for path in paths if path.is_symlink()}  # noqa: PTH115 - the text as it is


def check_links(links: Mapping[Path, str], record: Record, *, user: bool) -> None:
    """Refuse links in the place of what no switch has made, even of an equal link: a later switch would replace it.

    Raises:
        StoreError: It names the first such path.
    """
    for path in links:
        if not os.path.lexists(path):
            continue
        target = str(path.readlink()) if path.is_symlink() else None
        if target is not None and target in record.links.get(str(path), []):
            continue
        found = "a file" if target is None else f"a link to {target}"
        if path.suffix == ".conf":
            way = "remove it"
        elif target is None:
            way = "remove it, or rename the container"
        else:
            systemctl = "systemctl --user" if user else "systemctl"
            way = f"remove it, as with `{systemctl} disable {path.name}`, or rename the container"
        raise StoreError(f"{path}: is {found} that no switch of nixoci made; {way}")


def make_link(path: Path, target: str) -> None:
    """Make a symlink, or replace one at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.nixoci-new")
    made.unlink(missing_ok=True)
    made.symlink_to(target)
    made.replace(path)


def remove_link(path: Path) -> None:
    """Remove a symlink, and its directory of `.wants` or drop-ins if nothing is left there."""
    path.unlink(missing_ok=True)
    if path.parent.suffix in {".wants", ".requires"} or path.parent.name.endswith(".service.d"):
        with suppress(OSError):
            path.parent.rmdir()
