"""One function per Nix command that moving closures needs. `store` is a Nix store URL, None for Nix's own choice."""

import base64
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from nixoci.delta.content_address import from_nix32
from nixoci.delta.model import STORE_DIR, PathInfo
from nixoci.document import load
from nixoci.errors import DeltaError, ProcessError
from nixoci.process import Conversation, converse, run

_BATCH = 2000
_NEW_COMMAND = ("nix", "--extra-experimental-features", "nix-command", "--offline")
_JSON_FORMATS = (2, 33)
"""The version of Nix from which JSON has a version of its own that should be named."""

_DELETE_TRIES, _DELETE_PAUSE = 5, 0.2
"""Nix's daemon protects what it was just registering until it notices that nobody asks for that any more; seconds."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def invalid_paths(paths: Iterable[str], *, store: str | None) -> set[str]:
    """Return those of the store paths that are not valid (`nix-store --check-validity`)."""
    command = ["nix-store", *_store(store), "--check-validity", "--print-invalid"]
    lines: set[str] = set()
    for batch in _batches(paths):
        lines.update(run([*command, *batch], package="nix").decode().split())
    return lines


def nar_hashes(paths: Iterable[str], *, store: str | None) -> dict[str, str]:
    """Return the narHash of valid paths, as SRI (`nix-store --query --hash`)."""
    hashes: dict[str, str] = {}
    for batch in _batches(paths):
        lines = run(["nix-store", *_store(store), "--query", "--hash", *batch], package="nix").decode().split()
        hashes.update(zip(batch, map(sri, lines), strict=True))
    return hashes


def path_infos(paths: Iterable[str], *, store: str | None, recursive: bool = False) -> dict[str, PathInfo]:
    """Return what the store knows of valid paths, or of their closures (`nix path-info`)."""
    command = [*_NEW_COMMAND, "path-info", *_store(store), "--json", *_json_format()]
    infos: dict[str, PathInfo] = {}
    for batch in _batches(paths):
        output = run([*command, *(["--recursive"] if recursive else []), *batch], package="nix")
        infos.update(parse_path_infos(load(output, what="nix path-info"), what="nix path-info"))
    return infos


def all_paths(*, store: str | None) -> list[str]:
    """Return all valid paths of a store (`nix path-info --all`)."""
    return run([*_NEW_COMMAND, "path-info", *_store(store), "--all"], package="nix").decode().split()


def serve(*, store: str | None) -> AbstractContextManager[Conversation]:
    """Run Nix's end of the protocol by which `ssh://` stores are written (`nix-store --serve`)."""
    return converse(["nix-store", *_store(store), "--serve", "--write"], package="nix")


def delete(paths: Sequence[str], *, store: str | None) -> None:
    """Delete those of the paths that nothing uses, valid or left there by a registration that failed."""
    real = real_store_dir(store)
    left = list(reversed(paths))  # what refers to others goes before them
    for _ in range(_DELETE_TRIES):
        for path in left:
            with suppress(ProcessError):  # something uses it
                run(["nix-store", *_store(store), "--delete", path], package="nix")
        left = [path for path in left if os.path.lexists(real / path[len(STORE_DIR) + 1 :])]
        if not left:
            break
        time.sleep(_DELETE_PAUSE)
    for path in paths:
        _remove_lock(Path(f"{real / path[len(STORE_DIR) + 1 :]}.lock"))


def _remove_lock(file: Path) -> None:
    """Remove the lock file that Nix leaves of a path where it fails, if nobody holds it and this user may.

    As Nix does (src/libstore/unix/pathlocks.cc): what is written tells those who wait for it that it is gone.
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


def reason(error: ProcessError) -> str:
    """Return why Nix failed, in its own words, on one line: from where it says so to what it found, if it does."""
    lines = [_COLOUR.sub("", line).strip() for line in error.stderr.splitlines()]
    starts = [number for number, line in enumerate(lines) if line.startswith(("error:", "terminating due to"))]
    if not starts:
        return str(error)
    told = [line for line in lines[starts[-1] :][:3] if not line.startswith(("Nix crashed", "Try "))]
    return " ".join(filter(None, told)).removeprefix("error:").strip()


def add_gc_root(link: Path, path: str, *, store: str | None) -> None:
    """Make `link` a garbage collector root for a path (`nix-store --add-root`)."""
    run(["nix-store", *_store(store), "--realise", path, "--add-root", link, "--indirect"], package="nix")


def set_profile(profile: Path, path: str, *, store: str | None) -> None:
    """Make a path the next generation of a profile (`nix-env --set`)."""
    run(["nix-env", *_store(store), "--profile", profile, "--set", path], package="nix")


def real_store_dir(store: str | None) -> Path:
    """Return where the folder `/nix/store` of a store lies on this machine.

    Raises:
        DeltaError: The store is not on this machine.
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
    raise DeltaError(f"{store}: not a store of this machine; give the root folder of a chroot store, daemon or local")


def parse_path_infos(value: Any, *, what: str) -> dict[str, PathInfo]:
    """Read the JSON of `nix path-info`, or of a derivation's `exportReferencesGraph`, of any version of Nix.

    Raises:
        DeltaError: Not of that shape, or a path in it is not valid.
    """
    try:
        if isinstance(value, dict):
            items = [(path, info) for path, info in value.items()]
        else:
            items = [(info["path"], info) for info in value]
        return {path: _path_info(path, info) for path, info in items}
    except (KeyError, TypeError, ValueError) as error:
        raise DeltaError(f"{what}: not the path information that Nix prints ({error!r})") from error


def _path_info(path: str, info: Any) -> PathInfo:
    if info is None or info.get("valid") is False:
        raise DeltaError(f"{path}: not a valid path of the store; build or copy it first")
    return PathInfo(
        path=path,
        nar_hash=sri(info["narHash"]),
        nar_size=int(info["narSize"]),
        references=tuple(sorted(info["references"])),
        deriver=info.get("deriver"),
        signatures=tuple(sorted(info.get("signatures") or ())),
        content_address=info.get("ca"),
    )


def sri(text: str) -> str:
    """Return a SHA-256 hash that Nix printed (`sha256:<nix32 or hex>` or SRI) as SRI."""
    if re.fullmatch(r"sha256-[0-9A-Za-z+/]{43}=", text):
        return text
    match = re.fullmatch(r"sha256:([0-9a-df-np-sv-z]{52}|[0-9a-f]{64})", text)
    if match is None:
        raise ValueError(f"hash {text!r}")
    digits = match[1]
    raw = bytes.fromhex(digits) if len(digits) == 64 else from_nix32(digits, 32)
    return f"sha256-{base64.b64encode(raw).decode()}"


@lru_cache(maxsize=1)
def _json_format() -> tuple[str, ...]:
    match = re.search(rb"(\d+)\.(\d+)", run(["nix", "--version"], package="nix"))
    return ("--json-format", "1") if match and (int(match[1]), int(match[2])) >= _JSON_FORMATS else ()


def _store(store: str | None) -> tuple[str, ...]:
    return ("--store", store) if store else ()


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    every = list(paths)
    for start in range(0, len(every), _BATCH):
        yield every[start : start + _BATCH]
