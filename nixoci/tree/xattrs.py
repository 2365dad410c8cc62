"""Xattrs in the PAX records of an entry, in the notations of star (`SCHILY.xattr`) and of libarchive."""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from nixoci.tree.limits import MAX_NAME, MAX_XATTR, MAX_XATTRS, XATTR_OVERHEAD
from nixoci.tree.tar_format import LIBARCHIVE_XATTR, XATTR, show

_DROPPED = {b"security.selinux"}
_HOSTILE = (b"trusted.overlay.", b"user.overlay.")


def read_xattrs(records: Mapping[bytes, bytes]) -> tuple[dict[bytes, bytes], list[str]]:
    """Return an entry's xattrs, and a message about each that was dropped.

    Raises:
        ValueError: A value is not base64, or the xattrs are larger than a file can have; the text says which.
    """
    xattrs: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(LIBARCHIVE_XATTR):
            try:
                decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error as error:
                raise ValueError(f"xattr {show(key)}: its value is not base64") from error
            xattrs.setdefault(unquote_to_bytes(key.removeprefix(LIBARCHIVE_XATTR)), decoded)
        elif key.startswith(XATTR):
            xattrs[key.removeprefix(XATTR)] = value
    dropped = []
    for name in list(xattrs):
        reason = _reason_to_drop(name)
        if reason is not None:
            del xattrs[name]
            if reason:
                dropped.append(f"xattr {show(name)} dropped: {reason}")
        elif len(xattrs[name]) > MAX_XATTR:
            raise ValueError(f"xattr {show(name)} has {len(xattrs[name])} bytes; at most {MAX_XATTR} are possible")
    total = sum(len(name) + len(value) + XATTR_OVERHEAD for name, value in xattrs.items())
    if total > MAX_XATTRS:
        raise ValueError(f"its xattrs have {total} bytes in all; at most {MAX_XATTRS} are possible")
    return xattrs, dropped


def _reason_to_drop(name: bytes) -> str | None:
    """Return the reason to drop an xattr, empty for one that nobody misses; None to keep it."""
    if name.startswith(_HOSTILE):
        return "it would steer the overlay mount"
    if name in _DROPPED:
        return ""
    if not 0 < len(name) <= MAX_NAME or b"\0" in name or b"." not in name:
        return "Linux has no xattr of such a name"  # podman ignores what setxattr(2) does not support
    return None
