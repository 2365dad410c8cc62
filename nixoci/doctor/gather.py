"""Facts of this machine, gathered by commands and files. Nothing is changed."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from nixoci.doctor.facts import FIRST_ID, Facts, ImageStoreFacts
from nixoci.doctor.tools import reads_drop_ins
from nixoci.errors import NixociError, ProcessError
from nixoci.gc_roots.links import Change
from nixoci.gc_roots.podman import Podman
from nixoci.gc_roots.update import Places, update_podman_roots
from nixoci.image_store.names import EROFS, OVERLAY
from nixoci.image_store.records import ids_by_name, named_images
from nixoci.image_store.storage_conf_files import named_stores, read_config
from nixoci.nix_store.commands import failure_reason, gc_roots_of, reach_store, stores_equal_files_once
from nixoci.nix_store.path import store_path_of
from nixoci.process import run
from nixoci.user import user_account

PROGRAMS = ("podman", "mkcomposefs", "skopeo", "nix", "systemctl")
_ID_TOOLS = ("newuidmap", "newgidmap")


@dataclass(slots=True)
class _Engine:
    """The facts that podman itself gives."""

    error: str = ""
    driver: str = ""
    native_diff: bool = False
    own_images: dict[str, str] = field(default_factory=dict)
    containers: int = 0
    unrooted: tuple[str, ...] = ()
    roots_error: str = ""


def gather(podman: str = "podman") -> Facts:
    """Gather the facts about this machine, as the user of this process sees it.

    Args:
        podman: The podman to examine.
    """
    uid = os.geteuid()
    user, home = user_account()
    programs = _programs(podman)
    facts = Facts(uid=uid, user=user, kernel=os.uname().release, programs=programs)
    config = read_config(uid=uid, home=home, env=os.environ)
    stores = named_stores(config, drop_ins=reads_drop_ins(facts.version("podman")))
    uids, gids = _lines(Path("/etc/subuid")), _lines(Path("/etc/subgid"))
    engine = _ask(podman) if "podman" in programs else _Engine()
    return replace(
        facts,
        config=tuple(config),
        image_stores=tuple(_image_store(store, file, query="nix" in programs) for store, file in stores),
        podman_error=engine.error,
        driver=engine.driver,
        native_diff=engine.native_diff,
        own_images=engine.own_images,
        nix_error=_nix_error() if "nix" in programs else "",
        subordinate_ids=(subordinate_ids(uids, user, uid), subordinate_ids(gids, user, uid)),
        free_ids=(free_ids(uids), free_ids(gids)),
        containers=engine.containers,
        unrooted=engine.unrooted,
        roots_error=engine.roots_error,
        optimised="nix" not in programs or _optimised(),
    )


def _optimised() -> bool:
    try:
        return stores_equal_files_once()
    except (NixociError, OSError):
        return True


def _nix_error() -> str:
    try:
        reach_store()
    except ProcessError as error:
        return failure_reason(error)
    except NixociError as error:
        return str(error)
    return ""


def subordinate_ids(lines: Iterable[str], user: str, uid: int) -> int:
    """Return the number of ids for a user in the lines of /etc/subuid or /etc/subgid (subuid(5))."""
    return sum(count for owner, _, count in _ranges(lines) if owner in {user, str(uid)})


def free_ids(lines: Iterable[str]) -> int:
    """Return the first id after all those that such lines give to anybody; two users must not share one."""
    return max([FIRST_ID, *(first + count for _, first, count in _ranges(lines))])


def _ranges(lines: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    for line in lines:
        match line.strip().split(":"):
            case [owner, first, count] if all(number.isascii() and number.isdigit() for number in (first, count)):
                yield owner, int(first), int(count)


def _programs(podman: str) -> dict[str, str]:
    found = {}
    for name in PROGRAMS:
        program = podman if name == "podman" else name
        if shutil.which(program) is None:
            continue
        try:
            lines = run([program, "--version"]).decode("utf-8", "replace").splitlines()
        except NixociError:  # mkcomposefs has no --version in every release
            lines = []
        found[name] = lines[0] if lines else ""
    return found | {name: "" for name in _ID_TOOLS if shutil.which(name)}


def _image_store(path: Path, file: Path, *, query: bool) -> ImageStoreFacts:
    try:
        return _image_store_there(path, file, query=query)
    except NixociError as error:
        problem = f"is not an image store: {error}"
    except ValueError:
        problem = "cannot be a path: it has a NUL character"
    except OSError as error:
        problem = _problem(path, error)
    return ImageStoreFacts(path=path, file=file, error=problem)


def _problem(path: Path, error: OSError) -> str:
    """Say why an image store cannot be read."""
    if isinstance(error, PermissionError):
        return f"is closed to this user: {error.filename} cannot be read"
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"cannot be read: {error.filename}: {error.strerror}"
    if path.exists():
        return f"is not an image store: it has no {error.filename}"
    return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"


def _image_store_there(path: Path, file: Path, *, query: bool) -> ImageStoreFacts:
    path.stat()
    images = named_images(path)
    layers = [entry for entry in (path / OVERLAY).glob("*") if os.path.lexists(entry / "diff")]
    store_path = store_path_of(path.resolve())
    return ImageStoreFacts(
        path=path,
        file=file,
        erofs=any((layer / EROFS).exists() for layer in layers),
        images=ids_by_name(images),
        nameless=sum(not image.names for image in images),
        missing_trees=tuple((layer / "diff").readlink() for layer in layers if not (layer / "diff").exists()),
        store_path=store_path,
        roots=_roots(store_path) if query and store_path is not None else (),
    )


def _roots(path: Path) -> tuple[str, ...]:
    try:
        return tuple(gc_roots_of(str(path), store=None))
    except NixociError:  # not a valid path
        return ()


def _ask(program: str) -> _Engine:
    try:
        podman = Podman(program)
    except NixociError as error:
        return _Engine(error=str(error), roots_error="podman info fails")
    engine = _Engine(driver=podman.driver, native_diff=podman.native_diff)
    try:
        engine.own_images = _own_images(podman.storage)
        roots = update_podman_roots(podman, Places.default(), dry_run=True)
    except (NixociError, OSError) as error:
        engine.roots_error = str(error)
        return engine
    present = [root for root in roots if root.change is not Change.REMOVED]
    engine.containers = len(present)
    engine.unrooted = tuple(root.container or root.id[:12] for root in present if root.change is Change.ADDED)
    return engine


def _own_images(storage: Path) -> dict[str, str]:
    try:
        return ids_by_name(named_images(storage))
    except FileNotFoundError:  # no image was ever pulled
        return {}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_bytes().decode("utf-8", "replace").split("\n")
    except OSError:
        return []
