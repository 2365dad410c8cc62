"""SHA-256 of streams, and the forms of a hash that Nix reads and writes: base 32, SRI and hexadecimal."""

import base64
import hashlib
import re

from nixoci.errors import StoreError
from nixoci.streams import Data, NullSink, Sink

NIX32 = "0123456789abcdfghijklmnpqrsvwxyz"
"""The digits of Nix's base 32."""

_SRI = re.compile(r"sha256-[0-9A-Za-z+/]{43}=")
_PRINTED = re.compile(rf"sha256:([{NIX32}]{{52}}|[0-9a-f]{{64}})")
_SHA256_SIZE = 32


def to_nix32(digest: bytes) -> bytes:
    """Return a hash in Nix's base 32: the last bits first."""
    number = int.from_bytes(digest, "little")
    length = (len(digest) * 8 - 1) // 5 + 1
    return bytes(ord(NIX32[number >> (5 * place) & 31]) for place in range(length - 1, -1, -1))


def from_nix32(text: str, size: int) -> bytes:
    """Return the hash of `size` bytes that a text has in Nix's base 32.

    Raises:
        StoreError: The text is not a hash of that size.
    """
    number = 0
    for digit in text:
        value = NIX32.find(digit)
        if value < 0:
            raise StoreError(f"{text!r} is not a hash of {size} bytes")
        number = number << 5 | value
    if len(text) != (size * 8 - 1) // 5 + 1 or number >> (size * 8):
        raise StoreError(f"{text!r} is not a hash of {size} bytes")
    return number.to_bytes(size, "little")


def to_sri(digest: bytes) -> str:
    """Return a SHA-256 as SRI: `sha256-<base64>`."""
    return f"sha256-{base64.b64encode(digest).decode()}"


def from_sri(text: str) -> bytes:
    """Return the SHA-256 that SRI names; `is_sri` must hold."""
    return base64.b64decode(text.removeprefix("sha256-"))


def is_sri(text: str) -> bool:
    """Return whether a text is a SHA-256 as SRI."""
    return _SRI.fullmatch(text) is not None


def printed_to_sri(printed: str) -> str:
    """Return a SHA-256 that Nix printed (`sha256:<base 32 or hexadecimal>`, or SRI) as SRI.

    Raises:
        StoreError: The text is none of these.
    """
    if is_sri(printed):
        return printed
    match = _PRINTED.fullmatch(printed)
    if match is None:
        raise StoreError(f"{printed!r} is not a SHA-256 as Nix prints it")
    digits = match[1]
    hexadecimal = len(digits) == 2 * _SHA256_SIZE
    return to_sri(bytes.fromhex(digits) if hexadecimal else from_nix32(digits, _SHA256_SIZE))


class HashingSink:
    """A sink that hashes data and passes them on.

    Args:
        out: Takes the data; by default they are dropped.
    """

    def __init__(self, out: Sink | None = None) -> None:
        self._out = out or NullSink()
        self._hash = hashlib.sha256()

    def write(self, data: Data, /) -> None:
        """Hash the data and pass them on."""
        self._hash.update(data)
        self._out.write(data)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the data so far."""
        return self._hash.digest()

    @property
    def sri(self) -> str:
        """The SHA-256 of the data so far, as SRI (`sha256-<base64>`)."""
        return to_sri(self._hash.digest())
