"""Store paths, and the information that a Nix store has about one."""

import re
from dataclasses import dataclass
from pathlib import Path

from nixoci.errors import StoreError
from nixoci.nix_store.hashes import NIX32, from_nix32, to_nix32

STORE_DIR = "/nix/store"

HASH_PART_SIZE = 20
"""Bytes of a path's hash part: 32 digits of Nix's base 32."""
HASH_PART_DIGITS = 32
MAX_NAME = 211
"""Bytes that Nix allows in the name of a store path."""

STORE_PATH = re.compile(rf"{STORE_DIR}/[{NIX32}]{{{HASH_PART_DIGITS}}}-[0-9A-Za-z+\-._?=]{{1,{MAX_NAME}}}")
"""Matches one store path, without anything below it."""

_HASH_AT = len(STORE_DIR) + 1
_NAME_AT = _HASH_AT + HASH_PART_DIGITS + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PathInfo:
    """A valid path of a Nix store. `nar_hash` is SRI (`sha256-<base64>`), `nar_size` is in bytes."""

    path: str
    nar_hash: str
    nar_size: int
    references: tuple[str, ...] = ()
    deriver: str | None = None
    signatures: tuple[str, ...] = ()
    content_address: str | None = None


def store_path_basename(path: str) -> str:
    """Return a store path relative to the store: `/nix/store/<hash>-nginx-1.27` is `<hash>-nginx-1.27`."""
    return path[_HASH_AT:]


def store_path_hash(path: str) -> str:
    """Return the hash part of a store path: 32 digits of Nix's base 32."""
    return path[_HASH_AT : _HASH_AT + HASH_PART_DIGITS]


def store_path_name(path: str) -> str:
    """Return the name of a store path, which follows the hash: `/nix/store/<hash>-nginx-1.27` is `nginx-1.27`."""
    return path[_NAME_AT:]


def pack_hash_part(path: str) -> bytes:
    """Return the 20 bytes of the hash part of a store path."""
    return from_nix32(store_path_hash(path), HASH_PART_SIZE)


def make_store_path(hash_part: bytes, name: str) -> str:
    """Return the store path of the 20 bytes of a hash part and a name."""
    return f"{STORE_DIR}/{to_nix32(hash_part).decode()}-{name}"


def is_store_path(path: Path) -> bool:
    """Return whether a path is directly in the Nix store; the basename of such a path is the name of its roots."""
    return str(path.parent) == STORE_DIR


def store_path_of(path: Path, store_dir: Path = Path(STORE_DIR)) -> Path | None:
    """Return the store path that a path is or lies below; None outside of the store."""
    if not path.is_relative_to(store_dir) or path == store_dir:
        return None
    return store_dir / path.relative_to(store_dir).parts[0]


def check_store_path(path: str) -> None:
    """Refuse a text that is not exactly one store path, without anything below it.

    Raises:
        StoreError: It names the text.
    """
    if not STORE_PATH.fullmatch(path):
        raise StoreError(f"{path!r}: not a path of the store {STORE_DIR}; give {STORE_DIR}/<hash>-<name>")
