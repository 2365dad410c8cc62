"""Indexes, read without the entries that nixoci could not fetch."""

from typing import Any

from nixoci.document import load, structure
from nixoci.errors import ImageError
from nixoci.oci.digest import is_other_digest
from nixoci.oci.model import Index


def parse_index(text: bytes, *, what: str) -> Index:
    """Read an index; entries with digests of algorithms that nixoci does not read are left out.

    They may be there for other programs, and matter only to who picks them (image-spec descriptor.md, Digests).

    Raises:
        DocumentError: Not JSON, or not an index.
        ImageError: Every entry has such a digest.
    """
    return structure_index(load(text, what=what), what=what)


def structure_index(value: Any, *, what: str) -> Index:
    """Like `parse_index`, for a value that is already decoded."""
    entries = value.get("manifests") if isinstance(value, dict) else None
    if isinstance(entries, list):
        kept = [entry for entry in entries if not is_foreign(entry)]
        if entries and not kept:
            raise ImageError(
                f"{what}: its digests are of an algorithm that nixoci does not read, such as"
                f" {entries[0]['digest'].partition(':')[0]}; push the image with sha256 digests"
            )
        value = value | {"manifests": kept}
    return structure(Index, value, what=what)


def is_foreign(entry: Any) -> bool:
    """Return whether an entry of an index has a digest of an algorithm that nixoci does not read."""
    digest = entry.get("digest") if isinstance(entry, dict) else None
    return isinstance(digest, str) and is_other_digest(digest)
