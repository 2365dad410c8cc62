"""Trust that Nix has in paths and users, asked before anything is registered."""

from collections.abc import Sequence
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.nix_store.commands import must_be_signed, untrusted_paths
from nixoci.nix_store.narinfo import render_unavailable
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
    cache = folder / "described"
    cache.mkdir()
    (cache / "nix-cache-info").write_text(f"StoreDir: {STORE_DIR}\n", encoding="ascii")
    for info in infos:
        (cache / f"{store_path_hash(info.path)}.narinfo").write_text(render_unavailable(info), encoding="utf-8")
    untrusted = untrusted_paths(cache)
    refused = [info.path for info in infos if info.path in untrusted]
    if refused:
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise StoreError(f"{refused[0]}{more}: Nix would not register it: no trusted key has signed it; {ADVICE}")
