"""Store paths of content addresses (Nix manual, Complete Store Path Calculation)."""

import hashlib
import re
from collections.abc import Sequence

from nixoci.errors import StoreError
from nixoci.nix_store.hashes import NIX32, from_nix32, from_sri, to_nix32
from nixoci.nix_store.path import HASH_PART_SIZE, STORE_DIR, make_store_path

_ADDRESS = re.compile(rf"(text:|fixed:(?:r:|git:)?)(md5|sha1|sha256|sha512):([{NIX32}]+)")
_SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}


def nar_address(nar_hash: str) -> str:
    """Return the content address of a path that was added as it is, such as by `nix-store --add`."""
    return f"fixed:r:sha256:{to_nix32(from_sri(nar_hash)).decode()}"


def file_address(algorithm: str, digest: bytes) -> str:
    """Return the content address of a file that was added as it is, or that a flat fixed-output derivation makes."""
    return f"fixed:{algorithm}:{to_nix32(digest).decode()}"


def addressed_path(address: str, *, name: str, references: Sequence[str], to_itself: bool) -> str:
    """Return the store path of a content address.

    Args:
        address: As Nix writes it, for example `fixed:r:sha256:<nix32>`.
        name: The name of the path.
        references: The paths that it refers to, without itself.
        to_itself: Whether it refers to itself.

    Raises:
        StoreError: The text is not a content address.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or (match[1] == "text:" and match[2] != "sha256"):
        raise StoreError(f"{address!r} is not a content address")
    method, algorithm, digits = match.groups()
    digest = f"{algorithm}:{from_nix32(digits, _SIZES[algorithm]).hex()}"
    if method == "text:" or (method, algorithm) == ("fixed:r:", "sha256"):
        kind = "text" if method == "text:" else "source"
        kind = ":".join([kind, *sorted(references), *(["self"] if to_itself else [])])
    else:
        kind = "output:out"
        inner = f"fixed:out:{method.removeprefix('fixed:')}{digest}:"
        digest = f"sha256:{hashlib.sha256(inner.encode()).hexdigest()}"
    return typed_path(kind, digest, name)


def typed_path(kind: str, digest: str, name: str) -> str:
    """Return the store path of a fingerprint (Nix's makeStorePath).

    Args:
        kind: The type of what has the path, such as `source`. Paths of two types differ.
        digest: The algorithm, `:`, and a hash in hexadecimal.
        name: The name of the path.
    """
    fingerprint = f"{kind}:{digest}:{STORE_DIR}:{name}"
    return make_store_path(_fold(hashlib.sha256(fingerprint.encode()).digest()), name)


def _fold(digest: bytes) -> bytes:
    """Shorten a hash to the size of a hash part, as Nix's compressHash does: the bytes beyond it are xored in."""
    folded = bytearray(HASH_PART_SIZE)
    for place, byte in enumerate(digest):
        folded[place % HASH_PART_SIZE] ^= byte
    return bytes(folded)
