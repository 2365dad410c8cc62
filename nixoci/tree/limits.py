"""Limits that keep a small blob from filling a disk or memory; every one can be raised by the caller."""

from dataclasses import dataclass

MAX_NAME = 255
"""Bytes in one name; Linux file systems hold no more."""

MAX_PATH = 3840
"""Bytes in a whole path; with the store directory before it, it must stay under Linux's PATH_MAX."""

MAX_TARGET = 4095
"""Bytes in a symlink's target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one image may hold, over all its layers.

    `total_size` bounds, in bytes, both the uncompressed layers and the files they declare (a sparse file can
    declare more than it carries); `entries` the tar entries and the directories that they imply; `depth` the
    components of a path; `header_size` the bytes of one extended header.
    """

    total_size: int = 64 << 30
    entries: int = 4_000_000
    depth: int = 256
    header_size: int = 1 << 20
