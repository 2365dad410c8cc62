"""The narinfos of a release in one file: a machine asks once, where it would ask for one after another.

The file is their text, an empty line between two, compressed with zstd (docs/substituter.md, Index).
"""

import re
from collections.abc import Iterable

from nixoci.compression import compress
from nixoci.errors import DocumentError
from nixoci.nix_store.hashes import NIX32
from nixoci.nix_store.path import HASH_PART_DIGITS
from nixoci.publish.index import decompressed

MAX_NARINFOS = 16 << 20
"""Bytes of the narinfos of a release, decompressed; those of 5000 paths have some 3 MB."""

_LEVEL = 19
_PATH = re.compile(rb"^StorePath: *\S*/([%b]{%d})-" % (NIX32.encode(), HASH_PART_DIGITS), re.MULTILINE)


def pack(narinfos: Iterable[bytes]) -> bytes | None:
    """Return the file of narinfos, None if they have more than `MAX_NARINFOS` bytes."""
    text = b"\n".join(narinfo.removesuffix(b"\n") + b"\n" for narinfo in narinfos)
    return compress(text, _LEVEL) if len(text) <= MAX_NARINFOS else None


def unpack(data: bytes, *, what: str) -> dict[str, bytes]:
    """Return the narinfos of a file by the hash parts of their paths, which nothing has checked; `what` names the file.

    Raises:
        DocumentError: It cannot be decompressed, or is too large.
    """
    try:
        texts = decompressed(data, MAX_NARINFOS, what=what).split(b"\n\n")
    except DocumentError as error:
        raise DocumentError(f"{error}; publish again") from error
    found = {}
    for text in texts:
        if path := _PATH.search(text):
            found[path[1].decode()] = text.removesuffix(b"\n") + b"\n"
    return found
