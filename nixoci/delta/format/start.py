"""The first bytes of a delta, which every version of the format has."""

MAGIC = b"nxd"
"""They are followed by the version, a byte."""


def version_of(start: bytes) -> int:
    """Return the version of a delta from its first bytes; 0 if they are none or too few."""
    return start[len(MAGIC)] if start.startswith(MAGIC) and len(start) > len(MAGIC) else 0
