"""Store paths, and what a Nix store knows of one."""

import base64
import re
from dataclasses import dataclass

from nixoci.errors import DeltaError
from nixoci.nix_store.content_address import to_nix32

STORE_DIR = "/nix/store"

_STORE_PATH = re.compile(r"/nix/store/[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+\-._?=]{1,211}")


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


def store_path_hash(path: str) -> str:
    """Return the hash part of a store path: 32 digits of Nix's base 32."""
    return path[len(STORE_DIR) + 1 : len(STORE_DIR) + 33]


def store_path_name(path: str) -> str:
    """Return what follows the hash in a store path: `/nix/store/<hash>-nginx-1.27` is `nginx-1.27`."""
    return path[len(STORE_DIR) + 34 :]


def nar_address(nar_hash: str) -> str:
    """Return the content address of a path that was added as it is, such as by `nix-store --add`."""
    digest = base64.b64decode(nar_hash.removeprefix("sha256-"))
    return f"fixed:r:sha256:{to_nix32(digest).decode()}"


def check_store_path(path: str) -> None:
    """Raise DeltaError unless the text is exactly one store path, without anything below it."""
    if not _STORE_PATH.fullmatch(path):
        raise DeltaError(f"{path!r}: not a path of the store {STORE_DIR}; give /nix/store/<hash>-<name>")
