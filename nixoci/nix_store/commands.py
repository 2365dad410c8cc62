"""Running Nix: one function per command. `store` is a Nix store URL, None for Nix's own choice."""

import fcntl
import grp
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from nixoci.document import load
from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.hashes import printed_to_sri
from nixoci.nix_store.path import STORE_DIR, store_path_basename
from nixoci.process import run

_DAEMON_SOCKET = Path("/nix/var/nix/daemon-socket/socket")

_NEW_COMMAND = ("nix", "--extra-experimental-features", "nix-command", "--offline")

_DELETE_TRIES, _DELETE_PAUSE = 5, 0.2
"""Attempts, and seconds between them: the daemon keeps a temporary root until it sees that its client has gone."""

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_ONLY_UNTRUSTED = 2
"""The exit code of `nix store verify` if paths are untrusted, and none is damaged or could not be looked at."""
_UNTRUSTED = re.compile(r"^path '(.*)' is untrusted$", re.MULTILINE)


def all_paths(*, store: str | None) -> list[str]:
    """Return all valid paths of a store (`nix path-info --all`)."""
    return run([*_NEW_COMMAND, "path-info", *_store(store), "--all"], package="nix").decode().split()


def must_be_signed(store: str | None) -> bool:
    """Return whether Nix registers only signed paths for this user (`nix store info`, `nix config show`).

    That is so where a daemon registers them, unless it trusts the user or is configured not to ask for signatures.
    """
    told = json.loads(_either(["store", "info"], ["store", "ping"], [*_store(store), "--json"]))
    if told.get("trusted", True) or told["trusted"] is None:
        return False
    return _either(["config", "show"], ["show-config"], ["require-sigs"]).strip() != b"false"


def reach_store() -> None:
    """Connect to Nix's store, or to its daemon (`nix store info`).

    Raises:
        ProcessError: This user may not, or no daemon answers.
    """
    _either(["store", "info"], ["store", "ping"], [])


def check_daemon_access(store: str | None) -> None:
    """Refuse a user whom the daemon of a store does not serve, without asking it: its socket may be a group's alone.

    Raises:
        StoreError: It names the group, as Debian's `nix-users`.
    """
    if (store or os.environ.get("NIX_REMOTE") or "auto") not in {"auto", "daemon"}:
        return
    try:
        _DAEMON_SOCKET.stat()
    except PermissionError as error:
        number = _DAEMON_SOCKET.parent.stat().st_gid
        group = str(number)
        with suppress(KeyError):
            group = grp.getgrgid(number).gr_name
        raise StoreError(
            f"{_DAEMON_SOCKET}: the Nix daemon does not serve this user, only the group {group}; make the user a member"
            f" of it, that of a service by SupplementaryGroups={group}"
        ) from error
    except OSError:  # no daemon, or one that is not yet there
        return


def stores_equal_files_once() -> bool:
    """Return whether Nix makes equal files of the store one file (`auto-optimise-store`, `nix-store --optimise`).

    True as well if somebody has had it do so before, for example by a timer.
    """
    if _either(["config", "show"], ["show-config"], ["auto-optimise-store"]).strip() == b"true":
        return True
    with suppress(FileNotFoundError), os.scandir(f"{STORE_DIR}/.links") as links:
        return next(links, None) is not None
    return False


def _either(new: Sequence[str], old: Sequence[str], arguments: Sequence[str]) -> bytes:
    """Run a command of Nix by its name, or by that in old versions."""
    try:
        return run([*_NEW_COMMAND, *new, *arguments], package="nix", env=_system_settings())
    except ProcessError as error:
        try:
            return run([*_NEW_COMMAND, *old, *arguments], package="nix", env=_system_settings())
        except ProcessError:
            raise error from None


def untrusted_paths(cache: Path) -> set[str]:
    """Return the paths of a binary cache that have no signature by a trusted key and no content address.

    Contents are not read (`nix store verify --no-contents`).
    """
    verify = [*_NEW_COMMAND, "store", "verify", "--store", cache.as_uri(), "--no-contents", "--all"]
    try:
        run(verify, package="nix", env=_system_settings())
    except ProcessError as error:
        untrusted = set(_UNTRUSTED.findall(_COLOR.sub("", error.stderr)))
        if error.code != _ONLY_UNTRUSTED or not untrusted:  # of a path that Nix could not look at it says nothing else
            raise
        return untrusted
    return set()


def sign_paths(cache: Path, key: Path) -> None:
    """Add the signatures of a key to the narinfos of a binary cache (`nix store sign`)."""
    run([*_NEW_COMMAND, "store", "sign", "--store", cache.as_uri(), "--key-file", key, "--all"], package="nix")


def _system_settings() -> dict[str, str]:
    """Return the environment in which Nix has the settings of its daemon, without the user's own."""
    return {**os.environ, "NIX_USER_CONF_FILES": "", "NIX_CONFIG": ""}


def delete(paths: Sequence[str], *, store: str | None) -> None:
    """Delete those of the paths that nothing uses, whether they are valid or left by a failed registration."""
    real = real_store_dir(store)
    left = list(reversed(paths))  # referrers first
    for _ in range(_DELETE_TRIES):
        for path in left:
            with suppress(ProcessError):  # a root or a process uses it
                run(["nix-store", *_store(store), "--delete", path], package="nix", cleans_up=True)
        left = [path for path in left if os.path.lexists(real / store_path_basename(path))]
        if not left:
            break
        time.sleep(_DELETE_PAUSE)
    for path in paths:
        _remove_lock(Path(f"{real / store_path_basename(path)}.lock"))


def _remove_lock(file: Path) -> None:
    """Remove the lock file that a failed Nix leaves beside a path, unless another process holds it.

    A byte in the removed file tells processes that wait for the lock to open a new one, as Nix does
    (src/libstore/unix/pathlocks.cc).
    """
    with suppress(OSError):
        handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(handle).st_size:
                file.unlink()
                os.write(handle, b"d")
        finally:
            os.close(handle)


def failure_reason(error: ProcessError) -> str:
    """Return the reason that a failed Nix printed, on one line: its last error and up to two lines that follow."""
    lines = [_COLOR.sub("", line).strip() for line in error.stderr.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith(("error:", "terminating due to"))]
    if not starts:
        return str(error)
    printed = [line for line in lines[starts[-1] :][:3] if not line.startswith(("Nix crashed", "Try "))]
    return " ".join(filter(None, printed)).removeprefix("error:").strip()


def on_one_line(message: str) -> str:
    """Return a message of Nix without its colours and line ends."""
    return " ".join(_COLOR.sub("", message).split())


def invalid_paths(paths: Iterable[str]) -> list[str]:
    """Return the paths that are not valid (`nix-store --check-validity --print-invalid`)."""
    asked = list(paths)
    if not asked:
        return []
    return run(["nix-store", "--check-validity", "--print-invalid", *asked], package="nix").decode().split()


def add_fixed_file(file: Path, algorithm: str, digest: str, name: str) -> None:
    """Add a file, whose digest Nix checks, to the store under its fixed path (`nix-prefetch-url`)."""
    kind = ["--type", algorithm, "--name", name]
    run(["nix-prefetch-url", *kind, file.as_uri(), digest], package="nix")


def add_tree(tree: Path) -> str:
    """Add a file or directory to the store under its own name and return its path (`nix-store --add-fixed`).

    The path is that of a fixed-output derivation with the name and the recursive SHA-256 of the tree.
    """
    return run(["nix-store", "--add-fixed", "--recursive", "sha256", tree], package="nix").decode().strip()


def nar_hash(path: str) -> str:
    """Return the SHA-256 of a valid path's NAR as SRI (`nix-store --query --hash`)."""
    return printed_to_sri(run(["nix-store", "--query", "--hash", path], package="nix").decode().strip())


def evaluate(expression: str) -> Any:
    """Return the value of a Nix expression that is plain data (`nix-instantiate --eval`)."""
    command = ["nix-instantiate", "--eval", "--strict", "--json", "-"]
    return load(run(command, stdin=expression.encode(), package="nix"), what="nix-instantiate")


def nar_digest(path: Path) -> str:
    """Return the SHA-256 of the NAR of a file or directory, in hexadecimal (`nix-hash`)."""
    return run(["nix-hash", "--type", "sha256", path], package="nix").decode().strip()


def add_gc_root(link: Path, path: str, *, store: str | None) -> None:
    """Make `link` a garbage collector root for a path (`nix-store --add-root`)."""
    run(["nix-store", *_store(store), "--realise", path, "--add-root", link, "--indirect"], package="nix")


def gc_roots_of(path: str, *, store: str | None) -> list[str]:
    """Return the links that keep a path from the garbage collector (`nix-store --query --roots`).

    Paths that a running process uses are left out, since they last no longer than the process.
    """
    printed = run(["nix-store", *_store(store), "--query", "--roots", path], package="nix").decode()
    links = [line.partition(" -> ")[0] for line in printed.split("\n")]
    return [link for link in links if link.startswith("/") and not link.startswith("/proc/")]


def set_profile(profile: Path, path: str, *, store: str | None) -> None:
    """Make a path the next generation of a profile (`nix-env --set`)."""
    run(["nix-env", *_store(store), "--profile", profile, "--set", path], package="nix")


def switch_generation(profile: Path, number: int, *, store: str | None) -> None:
    """Make another generation of a profile the present one (`nix-env --switch-generation`)."""
    run(["nix-env", *_store(store), "--profile", profile, "--switch-generation", str(number)], package="nix")


def real_store_dir(store: str | None) -> Path:
    """Return the directory that holds the paths of a store on this machine.

    Raises:
        StoreError: The store is not on this machine.
    """
    if store is None or store in ("auto", "daemon", "local") or store.startswith("unix://"):
        return Path(STORE_DIR)
    if store.startswith("/"):
        return Path(f"{store}{STORE_DIR}")
    scheme, _, query = store.partition("?")
    options = parse_qs(query)
    if scheme == "local" and "real" in options:
        return Path(options["real"][0])
    if scheme == "local" and "root" in options:
        return Path(f"{options['root'][0]}{STORE_DIR}")
    if scheme.startswith("local://"):
        return Path(f"{unquote(scheme.removeprefix('local://'))}{STORE_DIR}")
    raise StoreError(f"{store}: not on this machine; give the root directory of a chroot store, daemon or local")


def _store(store: str | None) -> tuple[str, ...]:
    return ("--store", store) if store else ()
