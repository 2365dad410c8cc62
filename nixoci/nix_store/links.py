"""Links that Nix makes to store paths: whether it can make them, checked before the work begins."""

import os
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.nix_store.path import STORE_DIR


def check_gc_root(link: Path) -> None:
    """Refuse a link that `nix-store --add-root` cannot make; it replaces links into the store, and nothing else.

    Raises:
        StoreError: It names the link (Nix, src/libstore/indirect-root-store.cc).
    """
    place = Path(os.path.abspath(link))  # noqa: PTH100 - Nix resolves `..` in the text too
    if place.is_relative_to(STORE_DIR):
        raise StoreError(f"{link}: lies in the Nix store, which has no room for links; choose another place")
    if os.path.lexists(place) and not (place.is_symlink() and str(place.readlink()).startswith(f"{STORE_DIR}/")):
        raise StoreError(f"{link}: exists already and is no link into the Nix store; remove it or choose another place")
    parent = next(folder for folder in place.parents if os.path.lexists(folder))  # Nix makes the directories below
    _check_writable(link, parent)


def check_profile(profile: Path) -> None:
    """Refuse a profile that `nix-env --set` cannot make or switch.

    Raises:
        StoreError: It names the profile.
    """
    place = Path(os.path.abspath(profile))  # noqa: PTH100 - as above
    if os.path.lexists(place) and not place.is_symlink():
        raise StoreError(f"{profile}: exists already and is no profile; remove it or choose another place")
    if not place.parent.exists():
        raise StoreError(f"{profile}: its parent directory does not exist; make it first")
    _check_writable(profile, place.parent)


def _check_writable(link: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise StoreError(f"{link}: {folder} is no directory; choose another place")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise StoreError(f"{link}: {folder} is on a read-only file system; choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"{link}: this user may not write to {folder}; choose another place, or run as its owner")
