"""Paths on their way into the store: a binary cache of plain NARs, which Nix itself verifies and registers."""

import base64
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from nixoci.delta import nix_store
from nixoci.delta.model import STORE_DIR, PathInfo
from nixoci.errors import DeltaError, ProcessError

_SPOOL = "nixoci-receive-"


class SpoolCache:
    """A binary cache in a temporary folder. Nothing reaches the store before `register`, then all of it does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "cache"
        self._paths: list[str] = []
        (self._folder / "nar").mkdir(parents=True)
        (self._folder / "nix-cache-info").write_text(f"StoreDir: {STORE_DIR}\n", encoding="ascii")

    def add(self, path: str, write: Callable[[IO[bytes]], PathInfo]) -> None:
        """Add a path: `write` writes its NAR and returns what is to be registered."""
        name = path[len(STORE_DIR) + 1 :].partition("-")[0]
        with (self._folder / "nar" / f"{name}.nar").open("wb") as out:
            info = write(out)
        (self._folder / f"{name}.narinfo").write_text(_narinfo(info, f"nar/{name}.nar"), encoding="utf-8")
        self._paths.append(path)

    def register(self, *, store: str | None) -> None:
        """Let Nix verify and register every path, in dependency order, each at once or not at all.

        Raises:
            DeltaError: Nix refuses one, or has no room for it; those before it are deleted again.
        """
        if not self._paths:
            return
        try:
            nix_store.copy_from(self._folder, self._paths, store=store)
        except ProcessError as error:
            nix_store.delete(self._paths, store=store)
            reason = nix_store.reason(error)
            named = next((path for path in self._paths if path in reason), self._paths[-1])
            if "trusted" in reason:
                reason += "; receive it as root or as one of nix.conf's trusted-users, or sign it with a trusted key"
            raise DeltaError(f"{named}: Nix does not register it: {reason}") from error


def need_space(folder: Path, size: int, what: str) -> None:
    """Raise DeltaError unless the folder's file system has so many bytes free."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DeltaError(
            f"{what}: needs {size} bytes in {folder.parent}, which has {free}; set TMPDIR to another folder"
        )


@contextmanager
def spool() -> Iterator[Path]:
    """Make a temporary folder, and remove those of receivers that were killed."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_SPOOL}*"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_SPOOL) as folder, _locked(Path(folder)):
        try:
            yield Path(folder)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DeltaError(f"{parent}: no space left for what is received; set TMPDIR to another folder") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the kernel lets go of it when this process ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise PermissionError
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _narinfo(info: PathInfo, url: str) -> str:
    digest = base64.b64decode(info.nar_hash.removeprefix("sha256-")).hex()
    names = " ".join(reference[len(STORE_DIR) + 1 :] for reference in info.references)
    lines = [
        f"StorePath: {info.path}",
        f"URL: {url}",
        "Compression: none",
        f"NarHash: sha256:{digest}",
        f"NarSize: {info.nar_size}",
        f"References: {names}",
        *([f"Deriver: {info.deriver[len(STORE_DIR) + 1 :]}"] if info.deriver else []),
        *(f"Sig: {signature}" for signature in info.signatures),
        *([f"CA: {info.content_address}"] if info.content_address else []),
    ]
    return "\n".join(lines) + "\n"
