"""Xattrs in the PAX records of an entry, in the notations of star (`SCHILY.xattr`) and of libarchive.

What setxattr(2) refuses must not get into an image path: EROFS takes all of it, and then a file cannot be read, started
or changed. Like podman, this ignores xattrs that Linux does not support, and refuses values that Linux finds malformed.
"""

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from nixoci.tree.limits import MAX_NAME, MAX_XATTR, MAX_XATTRS, XATTR_OVERHEAD
from nixoci.tree.model import Kind
from nixoci.tree.tar_format import LIBARCHIVE_XATTR, XATTR, show

_DROPPED = {b"security.selinux"}
_HOSTILE = (b"trusted.overlay.", b"user.overlay.")
_NAMESPACE = re.compile(rb"(?:user|trusted|security)\..", re.DOTALL)
"""Matches the names of the namespaces in which Linux takes any name (xattr(7)); `system` has only ACLs."""
_CAPABILITY = b"security.capability"
_DEFAULT_ACL = b"system.posix_acl_default"
_ACLS = {b"system.posix_acl_access", _DEFAULT_ACL}

_CAPABILITY_REVISIONS = {20: 0x02000000, 24: 0x03000000}
"""The revisions of capabilities that Linux takes, by their size in bytes (linux/capability.h, `vfs_ns_cap_data`)."""
_EFFECTIVE = 1
"""The only flag of capabilities."""

_ACL_VERSION = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
"""The tag, the permissions and the id of an entry of an ACL (linux/posix_acl_xattr.h)."""
_ACL_TAGS = {0x01: "u", 0x02: "U", 0x04: "g", 0x08: "G", 0x10: "m", 0x20: "o"}
_ACL_ORDER = re.compile(r"(?:ugm?|uU*gG*m)o")
"""Matches the tags of an ACL in order: owner, users, group, groups, mask, others (Linux, `posix_acl_valid`)."""
_WITH_ID = {"U", "G"}
_NO_ID = (1 << 32) - 1

_REMOVE = "remove it where the image is built"


def read_xattrs(records: Mapping[bytes, bytes], kind: Kind) -> tuple[dict[bytes, bytes], list[str]]:
    """Return the xattrs of an entry, a file of this kind, and a message about each that was dropped.

    Raises:
        ValueError: A value is not base64, or no file can have it, or the xattrs are larger than a file can have; the
            text says which.
    """
    xattrs: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(LIBARCHIVE_XATTR):
            try:
                decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error as error:
                raise ValueError(f"xattr {show(key)}: its value is not base64; {_REMOVE}") from error
            xattrs.setdefault(unquote_to_bytes(key.removeprefix(LIBARCHIVE_XATTR)), decoded)
        elif key.startswith(XATTR):
            xattrs[key.removeprefix(XATTR)] = value
    dropped = []
    for name, value in list(xattrs.items()):
        reason = _reason_to_drop(name, value, kind)
        if reason is not None:
            del xattrs[name]
            if reason:
                dropped.append(f"xattr {show(name)} dropped: {reason}")
        else:
            _check_value(name, value)
    total = sum(len(name) + len(value) + XATTR_OVERHEAD for name, value in xattrs.items())
    if total > MAX_XATTRS:
        raise ValueError(
            f"its xattrs have {total} bytes in all; at most {MAX_XATTRS} are possible;"
            " remove some where the image is built"
        )
    return xattrs, dropped


def _reason_to_drop(name: bytes, value: bytes, kind: Kind) -> str | None:
    """Return the reason to drop an xattr, empty for one that nobody misses; None to keep it."""
    if name.startswith(_HOSTILE):
        return "it would steer the overlay mount"
    if name in _DROPPED:
        return ""
    if name in _ACLS:
        return _reason_to_drop_acl(name, value, kind)
    if len(name) > MAX_NAME or b"\0" in name or not _NAMESPACE.match(name):
        return "Linux has no xattr of such a name"
    if name.startswith(b"user.") and kind not in {Kind.REGULAR, Kind.DIRECTORY}:
        return "of user xattrs, Linux has none but those of regular files and directories"
    return "it is empty" if name == _CAPABILITY and not value else None


def _reason_to_drop_acl(name: bytes, value: bytes, kind: Kind) -> str | None:
    if kind is Kind.SYMLINK:
        return "a symlink has no ACL"
    if name == _DEFAULT_ACL and kind is not Kind.DIRECTORY:
        return "only a directory has a default ACL"
    if len(value) in {0, _ACL_VERSION.size}:
        return "it is empty"
    if len(value) > _ACL_VERSION.size and _ACL_VERSION.unpack_from(value) != (2,):
        return "Linux has no ACL of such a version"
    return None


def _check_value(name: bytes, value: bytes) -> None:
    if len(value) > MAX_XATTR:
        raise ValueError(f"xattr {show(name)} has {len(value)} bytes; at most {MAX_XATTR} are possible; {_REMOVE}")
    if not (_is_capability(value) if name == _CAPABILITY else name not in _ACLS or _is_acl(value)):
        found = value[:32].hex() + ("..." if len(value) > 32 else "")
        raise ValueError(f"xattr {show(name)} has a value that Linux refuses, in hexadecimal {found}; {_REMOVE}")


def _is_capability(value: bytes) -> bool:
    revision = _CAPABILITY_REVISIONS.get(len(value))
    if revision is None or int.from_bytes(value[:4], "little") & ~_EFFECTIVE != revision:
        return False
    return value[20:] != _NO_ID.to_bytes(4, "little")


def _is_acl(value: bytes) -> bool:
    size = len(value) - _ACL_VERSION.size
    if size <= 0 or size % _ACL_ENTRY.size:
        return False
    entries = [
        (_ACL_TAGS.get(tag, "?"), permissions, identity)
        for tag, permissions, identity in _ACL_ENTRY.iter_unpack(value[_ACL_VERSION.size :])
    ]
    return _ACL_ORDER.fullmatch("".join(tag for tag, _, _ in entries)) is not None and all(
        permissions <= 7 and (tag not in _WITH_ID or identity != _NO_ID) for tag, permissions, identity in entries
    )
