"""Limits that keep a small blob from filling the disk or memory; the caller can raise those in `Limits`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nixoci.errors import LimitError

MAX_NAME = 255
"""Bytes in one name; Linux file systems hold no more."""

MAX_PATH = 3840
"""Bytes in a path; with a store path before it, it must stay below Linux's PATH_MAX."""

MAX_TARGET = 4095
"""Bytes in a symlink's target."""

MAX_XATTR = (1 << 16) - 1
"""Bytes in an xattr's value; EROFS counts them in 16 bits."""

MAX_XATTRS = (1 << 15) - 13
"""Bytes of all xattrs of a file, with `XATTR_OVERHEAD` for each (composefs, lcfs-writer.c)."""

XATTR_OVERHEAD = 7
"""Bytes that an xattr takes besides its name and its value."""

MAX_ID = (1 << 32) - 2
"""The last uid and gid of Linux."""

MAX_SECONDS = 1 << 55
"""Seconds between the epoch and an mtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one image, over all its layers.

    `total_size` limits the bytes of the uncompressed layers, and those of the files that they declare (a sparse file
    can declare more than it carries); `entries` the tar entries and the directories that they imply; `depth` the
    components of a path; `header_size` the bytes of one extended header.
    """

    total_size: int = 64 << 30
    entries: int = 4_000_000
    depth: int = 256
    header_size: int = 1 << 20


HIGHEST = Limits(total_size=(1 << 63) - 1, entries=(1 << 32) - 1, depth=MAX_PATH // 2, header_size=1 << 30)
"""The highest limits that mean anything: offsets of files have 63 bits, the inode numbers of EROFS 32, a path of single
letters has half as many components as bytes, and a header is in memory."""


class Meter:
    """A limit on the uncompressed bytes of several layers together, of which `left` may still come."""

    def __init__(self, left: int, limits: Limits, layer: str) -> None:
        """Count the bytes of a layer; `layer` names it in errors."""
        self.left = left
        self._limits = limits
        self._layer = layer

    def count(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on the layer's tar stream.

        Raises:
            LimitError: It is longer than what was left.
        """
        for chunk in chunks:
            self.left -= len(chunk)
            if self.left < 0:
                raise LimitError(
                    f"layer {self._layer}: more than {self._limits.total_size} uncompressed bytes in the image, the"
                    " limit; raise it with --max-size if you trust the image"
                )
            yield chunk
