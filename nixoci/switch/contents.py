"""An output: the files of it that a switch links, its units, and those that start by themselves."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.image_store.contents import is_image_store
from nixoci.output import check_reachable
from nixoci.switch.places import Places

_KINDS = {False: "lib/systemd/system", True: "lib/systemd/user"}
_DROP_IN = "storage.conf.d/50-nixoci.conf"
_TIMER = ".timer"
_MASK = Path(os.devnull)
"""The target of a unit that is masked (systemd.unit(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything that a switch to an output puts in place.

    Attributes:
        links: Targets of symlinks by the paths that they get.
        units: Digests of units, with their drop-ins, by the units' names.
        wanted: The units that start by themselves.
        timed: The units that a timer of the output starts.
    """

    links: dict[Path, str]
    units: dict[str, str]
    wanted: frozenset[str]
    timed: frozenset[str]


NOTHING = Contents(links={}, units={}, wanted=frozenset(), timed=frozenset())
"""The contents of no output."""


def read_contents(out: Path, places: Places) -> Contents:
    """Read an output.

    Args:
        out: The output; links name it by this path.
        places: The places of the links.

    Raises:
        StoreError: It is no output, a damaged one, or one for the other kind of systemd.
    """
    _check(out, user=places.user)
    folder, drop_in = out / _KINDS[places.user], out / _DROP_IN
    links: dict[Path, str] = {}
    digests: dict[str, hashlib._Hash] = {}
    wanted: set[str] = set()
    files = list(_files(folder))
    for file in files:
        name = file.relative_to(folder)
        links[places.units / name] = _target(file)
        if len(name.parts) == 1:
            if not _is_alias(file):
                digests.setdefault(file.name, hashlib.sha256()).update(file.read_bytes())
        elif name.parent.suffix in {".wants", ".requires"} and name.parent.stem.endswith(".target"):
            wanted.add(file.name)
    for file in files:
        owner = file.parent.name.removesuffix(".d")
        if file.parent != folder and owner in digests and file.parent.suffix == ".d":
            digests[owner].update(b"\0%b\0%b" % (file.name.encode(), file.read_bytes()))
    if drop_in.exists():
        links[places.drop_in] = str(drop_in)
    for instance in wanted - digests.keys():
        if (template := unit_file_name(instance)) in digests:
            digests[instance] = digests[template]
    # a template is no unit that could run; its instances are
    units = {name: digest.hexdigest() for name, digest in sorted(digests.items()) if "@." not in name}
    timed = {f"{name.removesuffix(_TIMER)}.service" for name in units if name.endswith(_TIMER)}
    return Contents(links=links, units=units, wanted=frozenset(wanted & units.keys()), timed=frozenset(timed))


def unit_file_name(unit: str) -> str:
    """Return the name of the file of a unit: that of the template, for an instance.

    >>> unit_file_name("web@1.service"), unit_file_name("web.service")
    ('web@.service', 'web.service')
    """
    return re.sub("@[^.]+", "@", unit)


def _check(out: Path, *, user: bool) -> None:
    check_reachable(out)
    if not out.is_dir():
        raise StoreError(f"{out}: no such directory; give what `nixoci units` or Nix made")
    if (out / _KINDS[user]).is_dir():
        return
    if (other := out / _KINDS[not user]).is_dir():
        way = "as root without --user" if user else "as the user, with --user"
        raise StoreError(f"{out}: has only units of the other kind of systemd, in {other}; run this {way}")
    if (out / _DROP_IN).exists():
        return
    if is_image_store(out):
        raise StoreError(
            f"{out}: is an image store without the drop-in by which podman finds it; make it again with"
            f" `nixoci image-store OUT PATH… --drop-in OUT/{_DROP_IN}`"
        )
    raise StoreError(f"{out}: has neither units nor an image store's drop-in; give what `nixoci units` or Nix made")


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a directory of units and of those in it, which may be links to directories of the store.

    Raises:
        StoreError: One of them is a pipe, or a link to what does not exist.
    """
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        for file in sorted(entry.iterdir()) if entry.is_dir() else [entry]:
            if file.is_dir():
                continue
            if not _is_alias(file) and not file.is_file() and file.resolve() != _MASK:
                raise StoreError(f"{file}: is no file, so this output is damaged; make it again, with its store paths")
            yield file


def _is_alias(file: Path) -> bool:
    return file.is_symlink() and not file.readlink().is_absolute()


def _target(file: Path) -> str:
    """Return the target of a file's link: an alias, and a link in `.wants`, names another link beside it."""
    return str(file.readlink()) if _is_alias(file) else str(file)
