"""Xattrs of images by what Linux, and so podman, does with them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.support.layers import directory, file, header, pax, symlink

FILE = file(b"n", b"data", mode=0o664, uid=5)
DIRECTORY = directory(b"n")
CAPABILITY = bytes.fromhex("01000002002000000000000000000000" + "00000000")
"""cap_net_raw, permitted and effective (linux/capability.h)."""
ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
OWNER, USER, GROUP, MEMBERS, MASK, OTHERS = 1, 2, 4, 8, 16, 32
"""The tags of an ACL's entries (linux/posix_acl.h)."""
NO_ID = (1 << 32) - 1


def acl(*entries: tuple[int, int, int], version: int = 2) -> bytes:
    """Return an ACL of entries of a tag, permissions and an id (linux/posix_acl_xattr.h)."""
    return struct.pack("<I", version) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


FIRST = (OWNER, 6, NO_ID)
LAST = ((GROUP, 6, NO_ID), (MASK, 6, NO_ID), (OTHERS, 4, NO_ID))
ACL = acl(FIRST, (USER, 6, 1000), *LAST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An xattr of an entry; `dropped` says why it is, `podman` whether podman takes an image with it."""

    name: bytes
    value: bytes = b"x"
    entry: bytes = FILE
    dropped: str | None = None
    podman: bool = True

    def members(self, path: bytes = b"n") -> bytes:
        """Return the entry of that path with the xattr, in star's notation."""
        return pax({b"path": path, b"SCHILY.xattr." + self.name: self.value}) + self.entry


NO_SUCH_NAME = "Linux has no xattr of such a name"
NO_USER_XATTR = "of user xattrs, Linux has none but those of regular files and directories"

KEPT = {
    "odd characters": Case(name=b"user.a b\\\n\t\1\xff%3D", value=b"x=y \\\n"),
    "a dash": Case(name=b"user.-", value=b"-"),
    "an empty value": Case(name=b"user.e", value=b""),
    "the longest name": Case(name=b"user." + b"n" * 250),
    "security": Case(name=b"security.foo"),
    "trusted of a symlink": Case(name=b"trusted.foo", entry=symlink(b"n", b"t")),
    "a capability": Case(name=b"security.capability", value=CAPABILITY),
    "a capability of a user namespace": Case(
        name=b"security.capability", value=b"\1\0\0\3" + CAPABILITY[4:] + b"\xe8\3\0\0"
    ),
    "an ACL": Case(name=ACCESS, value=ACL),
    "a default ACL": Case(name=DEFAULT, value=ACL, entry=DIRECTORY),
    "an ACL of a group": Case(name=ACCESS, value=acl(FIRST, LAST[0], (MEMBERS, 4, 7), *LAST[1:])),
}
"""Xattrs that arrive."""

DROPPED = {
    "an unknown namespace": Case(name=b"com.apple.provenance", dropped=NO_SUCH_NAME),
    "capitals": Case(name=b"USER.foo", dropped=NO_SUCH_NAME),
    "system": Case(name=b"system.foo", dropped=NO_SUCH_NAME),
    "no namespace": Case(name=b"nodot", dropped=NO_SUCH_NAME),
    "nothing after the namespace": Case(name=b"user.", dropped=NO_SUCH_NAME, podman=False),
    "nothing after trusted": Case(name=b"trusted.", dropped=NO_SUCH_NAME, podman=False),
    "too long a name": Case(name=b"user." + b"n" * 251, dropped=NO_SUCH_NAME, podman=False),
    "user of a symlink": Case(name=b"user.a", entry=symlink(b"n", b"t"), dropped=NO_USER_XATTR, podman=False),
    "user of a pipe": Case(name=b"user.a", entry=header(b"n", b"6"), dropped=NO_USER_XATTR, podman=False),
    "user of a device": Case(
        name=b"user.a", entry=header(b"n", b"3", device=(1, 3)), dropped=NO_USER_XATTR, podman=False
    ),
    "an ACL of a symlink": Case(name=ACCESS, value=ACL, entry=symlink(b"n", b"t"), dropped="a symlink has no ACL"),
    "a default ACL of a file": Case(
        name=DEFAULT, value=ACL, dropped="only a directory has a default ACL", podman=False
    ),
    "an empty ACL": Case(name=ACCESS, value=b"", dropped="it is empty"),
    "an ACL without entries": Case(name=ACCESS, value=acl(), dropped="it is empty"),
    "an ACL of another version": Case(
        name=ACCESS, value=acl(FIRST, *LAST, version=3), dropped="Linux has no ACL of such a version"
    ),
    "an empty capability": Case(name=b"security.capability", value=b"", dropped="it is empty"),
}
"""Xattrs that no file can have, which are left out; podman leaves them out too, or refuses the image."""

REFUSED = {
    "half a capability": Case(name=b"security.capability", value=CAPABILITY[:10]),
    "a capability with other flags": Case(name=b"security.capability", value=b"\2" + CAPABILITY[1:]),
    "a capability of the first revision": Case(name=b"security.capability", value=b"\1\0\0\1" + CAPABILITY[4:12]),
    "a capability of nobody": Case(name=b"security.capability", value=b"\1\0\0\3" + CAPABILITY[4:] + b"\xff" * 4),
    "half an ACL": Case(name=ACCESS, value=ACL[:-1]),
    "an ACL that is shorter than its version": Case(name=ACCESS, value=b"\2\0"),
    "an ACL in another order": Case(name=ACCESS, value=acl(FIRST, *reversed(LAST))),
    "an ACL without a mask": Case(name=ACCESS, value=acl(FIRST, (USER, 6, 1000), LAST[0], LAST[2])),
    "an ACL without others": Case(name=ACCESS, value=acl(FIRST, *LAST[:2])),
    "an ACL with an unknown tag": Case(name=ACCESS, value=acl(FIRST, (64, 6, NO_ID), *LAST)),
    "an ACL with unknown permissions": Case(name=ACCESS, value=acl(FIRST, (USER, 8, 1000), *LAST)),
    "an ACL of nobody": Case(name=ACCESS, value=acl(FIRST, (USER, 6, NO_ID), *LAST)),
    "a default ACL that is none": Case(name=DEFAULT, value=b"\2\0\0\0?", entry=DIRECTORY),
}
"""Xattrs whose value Linux refuses, and so does podman."""
