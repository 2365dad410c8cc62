"""podman's storage configuration: its files, and what they say together (containers-config(5)).

One main file counts, the first of the user's, the administrator's and the vendor's. Drop-ins of all places follow, in
the order of their names; of two with one name, that of the later place counts.
"""

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NAME = "storage.conf"
_LINKS = 40
"""Symlinks that the kernel follows for one path (path_resolution(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A file of podman's storage configuration.

    Attributes:
        path: The file.
        drop_in: It is in a `storage*.conf.d` directory, which podman reads from 5.8 on.
        image_stores: Its `additionalimagestores`; None if it does not set them.
        append: Its stores are added to those of earlier files, and do not replace them.
        error: The reason that the file cannot be read.
        dangling: The target, if it is a link to a file that does not exist; podman ignores such a link.
        closed: The file or directory on the way to it that other users cannot read or enter.
        options: Its strings of `[storage.options]`, and of `[storage.options.overlay]` with the prefix `overlay.`.
    """

    path: Path
    drop_in: bool = False
    image_stores: tuple[Path, ...] | None = None
    append: bool = False
    error: str = ""
    dangling: Path | None = None
    closed: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def read_config(*, uid: int, home: Path, env: Mapping[str, str], root: Path = Path("/")) -> list[ConfigFile]:
    """Read the files of a user's storage configuration, in the order in which they count.

    Args:
        uid: The user's id.
        home: The user's home directory.
        env: The user's environment.
        root: The directory that holds `etc` and `usr`.
    """
    if named := env.get("CONTAINERS_STORAGE_CONF"):
        return [_read(Path(named), drop_in=False, shared=False)]
    own = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "containers"
    shared = [root / "usr/share/containers", root / "etc/containers"]
    mains = [place / _NAME for place in (own, *reversed(shared))]
    present = [file for file in mains if os.path.lexists(file)]
    # podman ignores a link to nothing, and then reads the next place's file
    count = next((number for number, file in enumerate(present, 1) if not _dangles(file)), len(present))
    kinds = ["conf.d", *(["rootful.conf.d"] if uid == 0 else ["rootless.conf.d", f"rootless.conf.d/{uid}"])]
    folders = [place / f"storage.{kind}" for place in shared for kind in kinds]
    drop_ins: dict[str, tuple[Path, bool]] = {}
    for folder in (*folders, own / "storage.conf.d"):
        for file in _listed(folder):
            drop_ins[file.name] = (file, folder in folders)
    files = [_read_or_ignore(main, drop_in=False, shared=main.parent in shared) for main in present[:count]]
    return files + [
        _read_or_ignore(file, drop_in=True, shared=shared) for _, (file, shared) in sorted(drop_ins.items())
    ]


def named_stores(files: Iterable[ConfigFile], *, drop_ins: bool = True) -> list[tuple[Path, Path]]:
    """Return the image stores of a configuration, each with the file that names it.

    Args:
        files: The configuration.
        drop_ins: podman reads drop-ins.
    """
    stores: list[tuple[Path, Path]] = []
    for file in files:
        if file.image_stores is None or (file.drop_in and not drop_ins):
            continue
        if not file.append:
            stores = []
        stores += [(store, file.path) for store in file.image_stores]
    return stores


def overlay_option(files: Sequence[ConfigFile], name: str) -> str:
    """Return an option of the storage driver overlay; empty if no file sets it.

    That of `[storage.options.overlay]` counts, in whatever file it is, before the older one of `[storage.options]`.
    """
    for key in (f"overlay.{name}", name):
        found = [file.options[key] for file in files if key in file.options]
        if found and found[-1]:
            return found[-1]
    return ""


def read_drop_in(path: Path) -> ConfigFile:
    """Read a drop-in, whoever may read it; one that is not there sets nothing."""
    return _read(path, drop_in=True, shared=False)


def closed_to_others(path: Path, *, top: Path = Path("/")) -> Path | None:
    """Return the first file or directory on the way to a path that other users cannot read or enter.

    Args:
        path: The path, whose symlinks are followed.
        top: A directory that they can enter.
    """
    todo, place, links = list(reversed(path.parts[1:])), Path("/"), 0
    while todo:
        part = todo.pop()
        if part == "..":
            place = place.parent
            continue
        if (place / part).is_symlink() and links < _LINKS:
            links += 1
            target = (place / part).readlink()
            place = Path("/") if target.is_absolute() else place
            todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            continue
        place /= part
        if place in (top, *top.parents):
            continue
        mode = place.stat().st_mode
        if not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
            return place
    return None


def _read_or_ignore(path: Path, *, drop_in: bool, shared: bool) -> ConfigFile:
    if _dangles(path):
        return ConfigFile(path=path, drop_in=drop_in, dangling=path.readlink())
    return _read(path, drop_in=drop_in, shared=shared)


def _read(path: Path, *, drop_in: bool, shared: bool) -> ConfigFile:
    """Read a file; one that is `shared` configures every user's podman."""
    try:
        closed = closed_to_others(path) if shared else None
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return ConfigFile(path=path, drop_in=drop_in, error=error.strerror or str(error))
    except (ValueError, RecursionError) as error:
        return ConfigFile(path=path, drop_in=drop_in, error=f"not TOML: {error}")
    table = _table(_table(data, "storage"), "options")
    options = _strings(table) | {f"overlay.{key}": text for key, text in _strings(_table(table, "overlay")).items()}
    listed = table.get("additionalimagestores")
    if not isinstance(listed, list):
        return ConfigFile(path=path, drop_in=drop_in, closed=closed, options=options)
    stores = tuple(Path(item) for item in listed if isinstance(item, str))
    append = any(isinstance(item, dict) and item.get("append") is True for item in listed)
    return ConfigFile(path=path, drop_in=drop_in, image_stores=stores, append=append, closed=closed, options=options)


def _dangles(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:  # another user's directory
        return False
    return False


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def _strings(table: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in table.items() if isinstance(value, str)}


def _listed(folder: Path) -> list[Path]:
    try:
        return [file for file in folder.iterdir() if file.suffix == ".conf"]
    except OSError:
        return []
