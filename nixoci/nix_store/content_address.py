"""The path that a content address gives (Nix manual, Complete Store Path Calculation)."""

import hashlib
import re
from collections.abc import Sequence

from nixoci.errors import DeltaError

_NIX32 = b"0123456789abcdfghijklmnpqrsvwxyz"
_ADDRESS = re.compile(r"(text:|fixed:(?:r:|git:)?)(md5|sha1|sha256|sha512):([0-9a-df-np-sv-z]+)")
_SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}


def addressed_path(address: str, *, store_dir: str, name: str, references: Sequence[str], to_itself: bool) -> str:
    """Return the store path of a content address.

    Args:
        address: As Nix writes it, for example `fixed:r:sha256:<nix32>`.
        store_dir: `/nix/store`.
        name: What follows the hash in the path.
        references: The paths that it refers to, without itself.
        to_itself: Whether it refers to itself.

    Raises:
        DeltaError: The text is not a content address.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or (match[1] == "text:" and match[2] != "sha256"):
        raise DeltaError(f"{address!r} is not a content address")
    method, algorithm, digits = match.groups()
    digest = f"{algorithm}:{from_nix32(digits, _SIZES[algorithm]).hex()}"
    if method == "text:" or (method, algorithm) == ("fixed:r:", "sha256"):
        kind = "text" if method == "text:" else "source"
        kind = ":".join([kind, *sorted(references), *(["self"] if to_itself else [])])
    else:
        kind = "output:out"
        inner = f"fixed:out:{method.removeprefix('fixed:')}{digest}:"
        digest = f"sha256:{hashlib.sha256(inner.encode()).hexdigest()}"
    whole = hashlib.sha256(f"{kind}:{digest}:{store_dir}:{name}".encode()).digest()
    folded = bytes(whole[place] ^ (whole[place + 20] if place < 12 else 0) for place in range(20))
    return f"{store_dir}/{to_nix32(folded).decode()}-{name}"


def to_nix32(digest: bytes) -> bytes:
    """Return Nix's base 32 of a hash: the last bits first."""
    number = int.from_bytes(digest, "little")
    length = (len(digest) * 8 - 1) // 5 + 1
    return bytes(_NIX32[number >> (5 * place) & 31] for place in range(length - 1, -1, -1))


def from_nix32(text: str, size: int) -> bytes:
    """Return the hash of `size` bytes of which a text, of digits that Nix uses, is Nix's base 32.

    Raises:
        DeltaError: Not of that size.
    """
    number = 0
    for digit in text.encode():
        number = number << 5 | _NIX32.index(digit)
    if len(text) != (size * 8 - 1) // 5 + 1 or number >> (size * 8):
        raise DeltaError(f"{text!r} is not a hash of {size} bytes")
    return number.to_bytes(size, "little")
