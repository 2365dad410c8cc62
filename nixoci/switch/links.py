"""The links of a switch on the machine: made and removed by their exact target, nothing else is touched."""

import errno
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.switch.record import Record

_MASK = "/dev/null"
_READ_ONLY = "on NixOS, the module virtualisation.nixoci makes the units"


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
        found = "a directory" if path.is_dir() else "a file"
        found = found if target is None else f"a link to {target}"
        systemctl = "systemctl --user" if user else "systemctl"
        if path.suffix == ".conf":
            way = "remove it"
        elif target is None:
            way = "remove it, or rename the container"
        elif target == _MASK:
            way = f"it masks the unit: run `{systemctl} unmask {path.name}`, or rename the container"
        else:
            way = f"remove it, as with `{systemctl} disable {path.name}`, or rename the container"
        raise StoreError(f"{path}: is {found} that no switch of nixoci made; {way}")


def check_names(added: Iterable[str], files: Mapping[str, str], record: Record, units: Path) -> None:
    """Refuse new units whose names other units have, from a package for example: they would take their place.

    Args:
        added: The new units.
        files: The files of those that systemd knows, by unit.
        record: The links that switches have made.
        units: The directory of links to units.

    Raises:
        StoreError: It names the first such unit.
    """
    for name in added:
        # an instance has the file of its template
        if name in files and str(units / Path(files[name]).name) not in record.links:
            raise StoreError(
                f"{name}: is a unit of this machine already, {files[name]}; rename the container, or remove that unit"
            )


def prepare_links(links: Mapping[Path, str]) -> None:
    """Make each link beside its place, so that nothing has changed yet if one cannot be made.

    Raises:
        StoreError: It names the link; none is left.
    """
    try:
        for path, target in links.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _prepared(path).unlink(missing_ok=True)
                _prepared(path).symlink_to(target)
            except OSError as error:
                way = _READ_ONLY if error.errno == errno.EROFS else "mend that and run this again"
                raise StoreError(f"{path}: cannot be made: {error.strerror}; {way}") from error
    except BaseException:
        forget_prepared(links)
        raise


def forget_prepared(paths: Iterable[Path]) -> None:
    """Remove what `prepare_links` made, also in a process that was killed, and the directories that are empty then."""
    for path in paths:
        with suppress(OSError):
            _prepared(path).unlink(missing_ok=True)
        _remove_empty_parent(path)


def make_link(path: Path) -> None:
    """Put a prepared link in its place, at once."""
    _prepared(path).replace(path)


def remove_link(path: Path) -> None:
    """Remove a symlink, and its directory of `.wants` or drop-ins if nothing is left there."""
    path.unlink(missing_ok=True)
    _remove_empty_parent(path)


def _prepared(path: Path) -> Path:
    return path.with_name(f".{path.name}.nixoci-new")


def _remove_empty_parent(path: Path) -> None:
    folder = path.parent.name
    if folder.endswith((".wants", ".requires", ".d")) and not folder.endswith(".conf.d"):
        with suppress(OSError):
            path.parent.rmdir()
