"""Content digests, checked before they are used in a path or a URL (image-spec descriptor.md, Digests)."""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Protocol, Self

from nixoci.errors import BlobError

_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
_DIGEST = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):[a-zA-Z0-9=_-]+")


class Hasher(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in lower-case hex."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`algorithm:hex`, where the algorithm is sha256 or sha512 and the hex has its length."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:<64 hex>` or `sha512:<128 hex>`.

        Raises:
            BlobError: Anything else.
        """
        algorithm, colon, encoded = text.partition(":")
        length = _LENGTHS.get(algorithm)
        if not colon or length is None or len(encoded) != length or not _HEX.fullmatch(encoded):
            raise BlobError(f"digest {text[:200]!r}: expected sha256:<64 hex digits> or sha512:<128 hex digits>")
        return cls(algorithm, encoded)

    from_json = parse

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of `data`."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    @property
    def sri(self) -> str:
        """The digest in the notation of Nix and browsers: `sha256-<base64>` (Subresource Integrity)."""
        return f"{self.algorithm}-{base64.b64encode(bytes.fromhex(self.hex)).decode('ascii')}"

    def hasher(self) -> Hasher:
        """Return a new hashlib object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def is_other_digest(text: str) -> bool:
    """Return whether a text is a digest of an algorithm that nixoci does not read (image-spec descriptor.md)."""
    match = _DIGEST.fullmatch(text)
    return match is not None and match[1] not in _LENGTHS
