"""Trust that Nix has in paths and users, asked before anything is registered; and the signatures that it relies on.

Nix itself gives and checks these, in a binary cache that describes the paths and has no contents.
"""

from collections.abc import Sequence
from pathlib import Path

from nixoci.errors import ProcessError, StoreError
from nixoci.nix_store.commands import failure_reason, must_be_signed, sign_paths, untrusted_paths
from nixoci.nix_store.narinfo import read_signatures, render_unavailable
from nixoci.nix_store.path import STORE_DIR, PathInfo, store_path_hash

ADVICE = "receive it as root or as one of nix.conf's trusted-users, or sign it with a trusted key"


def check_trust(infos: Sequence[PathInfo], *, store: str | None, folder: Path) -> None:
    """Refuse paths that Nix would not register for this user, because no trusted key has signed them.

    Nix itself checks the signatures, as those of a binary cache that describes the paths and has no contents.

    Args:
        infos: The paths.
        store: The store that would register them.
        folder: An existing directory in which to make that binary cache.

    Raises:
        StoreError: It names the first of them.
        ProcessError: Nix fails.
    """
    if not infos or not must_be_signed(store):
        return
    untrusted = untrusted_paths(_describe(infos, folder))
    refused = [info.path for info in infos if info.path in untrusted]
    if refused:
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise StoreError(f"{refused[0]}{more}: Nix would not register it: no trusted key has signed it; {ADVICE}")


def trusted(infos: Sequence[PathInfo], *, folder: Path) -> list[PathInfo]:
    """Return those of the paths without content addresses that one of Nix's `trusted-public-keys` has signed.

    It is the same for all users, whatever Nix takes from them unsigned.

    Args:
        infos: The paths, which need not exist.
        folder: An existing directory in which to describe them.

    Raises:
        ProcessError: Nix is missing or fails.
    """
    if not infos:
        return []
    untrusted = untrusted_paths(_describe(infos, folder))
    return [info for info in infos if info.path not in untrusted]


def sign(info: PathInfo, key: Path, *, folder: Path) -> tuple[str, ...]:
    """Return the signature of a path, which need not exist, as Nix writes it: the name of the key, `:`, and base64.

    Args:
        info: The path.
        key: The file of a secret key, as `nix-store --generate-binary-cache-key` writes it.
        folder: An existing directory in which to describe the path.

    Raises:
        StoreError: The file has no key.
        ProcessError: Nix is missing.
    """
    cache = _describe([info], folder)
    try:
        sign_paths(cache, key.absolute())
    except ProcessError as error:
        if not error.stderr:
            raise
        raise StoreError(
            f"{key}: Nix cannot sign with it: {failure_reason(error)}; make a key with"
            " `nix-store --generate-binary-cache-key`"
        ) from error
    return read_signatures(_narinfo(cache, info).read_text(encoding="utf-8"))


def _describe(infos: Sequence[PathInfo], folder: Path) -> Path:
    """Make a binary cache that describes paths."""
    cache = folder / "described"
    cache.mkdir()
    (cache / "nix-cache-info").write_text(f"StoreDir: {STORE_DIR}\n", encoding="ascii")
    for info in infos:
        _narinfo(cache, info).write_text(render_unavailable(info), encoding="utf-8")
    return cache


def _narinfo(cache: Path, info: PathInfo) -> Path:
    return cache / f"{store_path_hash(info.path)}.narinfo"
