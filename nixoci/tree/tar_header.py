"""The fields of a tar header block: its checksum, its name, its numbers."""

from functools import lru_cache

from nixoci.tree.limits import MAX_SECONDS
from nixoci.tree.model import NANOSECONDS
from nixoci.tree.tar_format import sum_of_bytes

_FIELDS = 4096
"""Fields whose values are kept: most entries have the mode, the owner and the time of others."""


def is_checksum_right(block: bytes) -> bool:
    """Return whether a header block has the checksum that it claims, by either way to count."""
    claimed = _octal(block[148:156])
    total = sum_of_bytes(block) - sum(block[148:156]) + 8 * 0x20
    return claimed == total or claimed == total - _signed_excess(block)


def read_name(block: bytes) -> bytes:
    """Return the name in a header block, with its prefix."""
    name = block[0:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":
        width = 131 if block[508:512] == b"tar\0" else 155
        prefix = block[345 : 345 + width].split(b"\0", 1)[0]
        return prefix + b"/" + name if prefix else name
    if block[257:265] == b"ustar  \0" and not (_is_time(block[345:357]) and _is_time(block[357:369])):
        # Go before 1.8 wrote a prefix where GNU has times of access and change
        prefix = block[345:500].split(b"\0", 1)[0]
        return prefix + b"/" + name if prefix and prefix.isascii() else name
    return name


def read_number(field: bytes) -> int | None:
    """Read a number: octal, or base-256 where the top bit of the first byte is set (GNU)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    return _octal(field)


@lru_cache(maxsize=_FIELDS)
def read_mode_and_owner(fields: bytes) -> tuple[int, int, int] | None:
    """Read the mode, the uid and the gid, which follow one another; None if one is no number or negative."""
    mode, uid, gid = read_number(fields[:8]), read_number(fields[8:16]), read_number(fields[16:])
    if mode is None or uid is None or gid is None or min(mode, uid, gid) < 0:
        return None
    return mode, uid, gid


@lru_cache(maxsize=_FIELDS)
def read_time(field: bytes) -> int | None:
    """Read a time in seconds and return it in nanoseconds; None if it is not a time that files have."""
    seconds = read_number(field)
    return None if seconds is None or abs(seconds) > MAX_SECONDS else seconds * NANOSECONDS


def _signed_excess(block: bytes) -> int:
    """Return the excess of a header's checksum over that of old programs, which added the bytes as signed numbers."""
    return 256 * sum(byte >> 7 for byte in block[:148] + block[156:])


def _is_time(field: bytes) -> bool:
    return not field[0] or read_number(field) is not None


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0").split(b"\0", 1)[0]
    if not digits:
        return 0
    try:
        return int(digits, 8) if digits.isdigit() else None
    except ValueError:
        return None
