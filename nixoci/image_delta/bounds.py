"""Bounds of what a delta may make: no hash is checked before the end, and until then a hostile one fills the disk."""

from collections.abc import Iterable, Iterator

from nixoci.errors import DeltaError

_RATIO = 128
"""Bytes of a tar stream for each byte of its blob; few layers have more than 30, and those are small."""
_LEAST = 64 << 20


def plausible_size(blobs: Iterable[int]) -> int:
    """Return the most bytes that layers are believed to have uncompressed, or the image path that they make.

    Layers may have more, of zeros for example; then no delta makes them.

    Args:
        blobs: The bytes of the layers' blobs, which the lock has.
    """
    return max(_LEAST, _RATIO * sum(blobs))


def at_most(size: int, chunks: Iterable[bytes], *, what: str) -> Iterator[bytes]:
    """Pass on a stream of up to `size` bytes.

    Raises:
        DeltaError: It is longer.
    """
    left = size
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise too_large(size, what=what)
        yield chunk


def too_large(size: int, *, what: str) -> DeltaError:
    """Return the error of a delta that makes more than is plausible."""
    return DeltaError(f"{what}: makes more than {size} bytes, which the image's layers hardly have; do not use it")
