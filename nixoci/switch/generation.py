"""The generations of the profile of switches: links to outputs, which keep them from the garbage collector."""

import re
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.nix_store.commands import set_profile, switch_generation


def keep(profile: Path, out: Path) -> None:
    """Make an output the profile's present generation, unless it is that already."""
    if not profile.is_symlink() or profile.resolve() != out:
        profile.parent.mkdir(parents=True, exist_ok=True)
        set_profile(profile, str(out), store=None)


def previous(profile: Path) -> tuple[int, Path]:
    """Return the number and the output of the generation before the present one.

    Raises:
        StoreError: There is none.
    """
    present = _number(profile, profile.readlink().name) if profile.is_symlink() else None
    found = {number: link for link in profile.parent.glob("*") if (number := _number(profile, link.name)) is not None}
    earlier = [number for number in found if present is not None and number < present]
    if not earlier:
        raise StoreError(f"{profile}: no earlier generation; name an output, as in `nixoci switch OUT`")
    return max(earlier), found[max(earlier)].resolve()


def roll_back(profile: Path, number: int) -> None:
    """Make an earlier generation the present one."""
    switch_generation(profile, number, store=None)


def remove_all(profile: Path) -> None:
    """Remove a profile with all of its generations, which then keep nothing from the garbage collector."""
    generations = [link for link in profile.parent.glob("*") if _number(profile, link.name) is not None]
    for link in (profile, *generations):
        if link.is_symlink():
            link.unlink()


def _number(profile: Path, name: str) -> int | None:
    found = re.fullmatch(rf"{re.escape(profile.name)}-(\d+)-link", name)
    return int(found[1]) if found else None
