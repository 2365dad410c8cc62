"""The layout of a layer cache (containerd 2.4, internal/erofsutils/mount.go, CacheBlobPath).

OUT/ALGORITHM/XX/HEX.erofs: the layer with the diff id ALGORITHM:HEX, in a directory named by its first two digits.
"""

import os
import re
from pathlib import Path

from nixoci.errors import BlobError, StoreError
from nixoci.oci.digest import Digest

_SHARD = 2
_SUFFIX = ".erofs"
_FILE = re.compile(r"([0-9a-f]+)\.erofs")


def entry_path(diff_id: Digest) -> Path:
    """Return the path of a layer's EROFS file, relative to the cache."""
    return Path(diff_id.algorithm, diff_id.hex[:_SHARD], f"{diff_id.hex}{_SUFFIX}")


def read_entries(cache: Path) -> dict[Digest, Path]:
    """Return the EROFS files of a layer cache by diff id, without the links that lead to them.

    Raises:
        StoreError: The directory has a file that no layer cache has, or a link that leads nowhere.
        OSError: It cannot be read.
    """
    found: dict[Digest, Path] = {}
    for folder, directories, names in os.walk(cache, onerror=_fail):
        directories.sort()
        entries = [name for name in directories if name.endswith(_SUFFIX) or Path(folder, name).is_symlink()]
        for name in sorted([*names, *entries]):
            file = Path(folder, name)
            diff_id = _diff_id(file.relative_to(cache))
            if diff_id is None or file.is_dir():
                raise StoreError(f"{file}: no file of a layer cache; give caches that `nixoci layer-cache` made")
            if not file.is_file():
                raise StoreError(f"{file}: the file that it links is gone; make the layer cache {cache} again")
            found[diff_id] = file.resolve()
    return found


def _fail(error: OSError) -> None:
    raise error


def _diff_id(path: Path) -> Digest | None:
    """Return the diff id that a file is named by; None if it is not where a layer cache has it."""
    match = _FILE.fullmatch(path.name)
    try:
        diff_id = Digest.parse(f"{path.parts[0]}:{match[1]}") if match else None
    except BlobError:
        return None
    return diff_id if diff_id is not None and entry_path(diff_id) == path else None
