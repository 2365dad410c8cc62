"""A binary cache in a directory, as `nix copy --to file://DIR` makes it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.nix_store.narinfo import MAX_NARINFO, NarInfo
from nixoci.nix_store.path import PathInfo, store_path_hash
from nixoci.output import check_reachable

_ADDRESS = re.compile("[a-z0-9+]+:/")


def check_cache(cache: Path) -> None:
    """Refuse a directory that is no binary cache.

    Raises:
        StoreError: It names the directory.
    """
    if _ADDRESS.match(str(cache)):  # a path has one slash where an address has two
        raise StoreError(f"{cache}: the address of a binary cache; give the directory that has its files")
    check_reachable(cache / "nix-cache-info")
    if not (cache / "nix-cache-info").is_file():
        raise StoreError(
            f"{cache}: no binary cache: it has no nix-cache-info; make it with nix copy --to file://{cache}"
        )


@dataclass(frozen=True, slots=True)
class CachedPath:
    """A path in a binary cache.

    Attributes:
        narinfo: Its narinfo.
        download: Bytes of its NAR as it is compressed there.
        trusted: It has a signature, or a content address, which needs none.
    """

    narinfo: bytes
    download: int
    trusted: bool


def cached_paths(cache: Path, infos: Iterable[PathInfo]) -> dict[str, CachedPath]:
    """Return what a binary cache has of each path.

    Raises:
        StoreError: The cache lacks one of them, or has it with another content.
    """
    cached = {}
    for info in infos:
        file = cache / f"{store_path_hash(info.path)}.narinfo"
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_NARINFO)
        except FileNotFoundError as error:
            raise StoreError(
                f"{info.path}: not in the binary cache {cache}; run nix copy --to file://{cache} {info.path}"
            ) from error
        found = NarInfo.parse(data, what=str(file))
        if (found.path, found.nar_hash) != (info.path, info.nar_hash):
            raise StoreError(
                f"{info.path}: the binary cache {cache} has {found.path} with narHash {found.nar_hash}, the store has "
                f"narHash {info.nar_hash}; copy it there again"
            )
        cached[info.path] = CachedPath(data, found.file_size, trusted=found.has("Sig") or found.has("CA"))
    return cached
