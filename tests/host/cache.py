"""A cache under ``~/.cache/nixoci`` for things that are slow to make, with keys computed from their inputs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cache_dir() -> Path:
    """Return the cache folder, which exists."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nixoci"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(*parts: str | Path) -> str:
    """Hash strings and the names and content of files and folders to a short key."""
    hashed = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            hashed.update(b"s%d:" % len(part) + part.encode())
            continue
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if file.is_file() and file.suffix != ".pyc":
                content = file.read_bytes()
                name = file.relative_to(part.parent).as_posix().encode()
                hashed.update(b"f%d:%d:" % (len(name), len(content)) + name + content)
    return hashed.hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel lets go of it when the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Return the cached folder of that name, building it first if it is not there.

    `build` fills an empty folder, which gets its name only when complete. Two sessions that want the same thing
    wait for one another instead of building it twice.
    """
    done = cache_dir() / name
    if done.exists():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    partial = done.with_name(f".{done.name}.partial")
    with locked(done.with_name(f".{done.name}.lock")):
        if done.exists():
            return done
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        build(partial)
        partial.rename(done)
    return done


def cached_of_newest(name: str, build: Callable[[Path], None], count: int, discard: Callable[[Path], None]) -> Path:
    """Return the cached folder NAME-KEY as `cached` does, and remove all folders NAME-* but the `count` used last.

    It is used from the return on, so that another run does not remove it meanwhile. `discard` takes the name of a
    folder away at once.
    """
    kind = name.partition("-")[0]
    while True:
        used = cached(name, build)
        with locked(used.with_name(f".{kind}.lock")):
            try:
                os.utime(used)
            except FileNotFoundError:  # another run has removed it
                continue
            for old in sorted(used.parent.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)[:-count]:
                discard(old)
        return used
