"""Deflate encoders that make the same bytes on every machine: zlib's own, and GNU gzip's.

The output of both has been the same for each level since 1.2.5 and 1.2.4. Other programs take their names, such as
zlib-ng, so each end deflates a sample first and compares the result with the one that the format fixes.
"""

import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from nixoci.errors import DeltaError, ProcessError
from nixoci.process import run

LEVELS = range(1, 10)

_GZIP_HEADER = 10
_GZIP_TRAILER = 8


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder of deflate streams.

    Attributes:
        name: Its name in errors.
        letter: Its letter in payloads.
        deflate: Returns the stream of some data at a level.
        fingerprints: The first bytes of the SHA-256 of the stream of `sample()` in hexadecimal, for each level.
        max_streams: Streams of a content that it may make.
    """

    name: str
    letter: bytes
    deflate: Callable[[bytes, int], bytes]
    fingerprints: tuple[str, ...]
    max_streams: int

    def require(self, level: int) -> None:
        """Check that this machine has it.

        Raises:
            DeltaError: It makes other bytes here.
            ProcessError: Its program is missing.
        """
        if fingerprint(self, level) != self.fingerprints[level - LEVELS[0]]:
            raise DeltaError(
                f"{self.name} of this machine makes other bytes than the one that deltas rely on; "
                "use nixoci as Nix builds it, or make the delta with --effort fast"
            )

    def usable(self, level: int) -> bool:
        """Return whether `require` passes."""
        try:
            self.require(level)
        except (DeltaError, ProcessError):
            return False
        return True


def _zlib(data: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _gzip(data: bytes, level: int) -> bytes:
    env = {name: value for name, value in os.environ.items() if name != "GZIP"}  # has options for it
    return run(["gzip", f"-{level}", "--no-name", "--stdout"], stdin=data, env=env)[_GZIP_HEADER:-_GZIP_TRAILER]


ZLIB = Encoder(
    "zlib",
    b"z",
    _zlib,
    (
        "07b675fd741a903d",
        "09d449bb69d89b23",
        "59d99346d389a4ee",
        "3f246b102b53501e",
        "45dc17baa260660a",
        "c6073b72f549b726",
        "e85acd024e0eff75",
        "ac088c4184132ef6",
        "ac088c4184132ef6",
    ),
    max_streams=1 << 18,
)
GZIP = Encoder(
    "gzip",
    b"g",
    _gzip,
    (
        "fc1ee2e96a499219",
        "b4a6cd9c915f8b54",
        "92aee2264b9e0be5",
        "c859fd73b84acb7f",
        "fcaa1e05ee514e0f",
        "c46c2738dfa46b28",
        "8d3753d8ad81263d",
        "cb23b5e2796d3d09",
        "cb23b5e2796d3d09",
    ),
    max_streams=1 << 6,
)
ENCODERS = {encoder.letter: encoder for encoder in (ZLIB, GZIP)}


@cache
def sample() -> bytes:
    """Return data on which encoders and levels differ: repeated numbers, letters of two bits, and noise."""
    numbers = b"".join(b"%x " % (number * number % 65521 >> number % 7) for number in range(20_000))
    noise = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(1500))
    return numbers + bytes(byte & 3 for byte in noise) + noise[:20_000]


@cache
def fingerprint(encoder: Encoder, level: int) -> str:
    """Return the first 16 digits of the SHA-256 of the stream that an encoder makes of `sample()`."""
    return hashlib.sha256(encoder.deflate(sample(), level)).hexdigest()[:16]
