"""A binary cache in a directory, of closures in a temporary store."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nixoci.compression import compress
from nixoci.nix_store.hashes import from_sri, to_nix32
from nixoci.nix_store.path import STORE_DIR, store_path_basename, store_path_hash
from tests.delta.trees import nar

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.delta.closure import Closure

SIGNATURE = "Sig: test-1:c2lnbmF0dXJl"


def make_cache(folder: Path, closure: Closure, *, level: int = 3) -> int:
    """Add a closure to a cache, as `nix copy --to file://` does; return the bytes of its compressed NARs."""
    (folder / "nar").mkdir(parents=True, exist_ok=True)
    (folder / "nix-cache-info").write_text(f"StoreDir: {STORE_DIR}\nPriority: 40\n", encoding="ascii")
    total = 0
    for info in closure.paths.values():
        data = compress(nar(closure.on_disk(info.path))[0], level)
        digest = to_nix32(hashlib.sha256(data).digest()).decode()
        (folder / f"nar/{digest}.nar.zst").write_bytes(data)
        lines = [
            f"StorePath: {info.path}",
            f"URL: nar/{digest}.nar.zst",
            "Compression: zstd",
            f"FileHash: sha256:{digest}",
            f"FileSize: {len(data)}",
            f"NarHash: sha256:{to_nix32(from_sri(info.nar_hash)).decode()}",
            f"NarSize: {info.nar_size}",
            f"References: {' '.join(map(store_path_basename, info.references))}",
            SIGNATURE,
        ]
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{store_path_hash(info.path)}.narinfo").write_text(text, encoding="ascii")
        total += len(data)
    return total
