"""The files with which a rootless podman mounts a layer: a mount program, and the tree's metadata as a tar.

The kernel mounts EROFS files for root only, but lets every user mount overlays in a user namespace. There, the
metadata is a tree of files without content, whose `user.overlay.*` xattrs name the content in the layer's own tree
(Documentation/filesystems/overlayfs.rst, "Data-only lower layers"). The user's podman unpacks that tree from the tar
once, with the owners that the user namespace maps.
"""

import zlib
from importlib.resources import files
from typing import BinaryIO

from nixoci.tree.model import DEVICES, Inode, Kind, walk_names
from nixoci.tree.tar_format import END_OF_ARCHIVE, HARDLINK_FLAG, KIND_FLAGS, XATTR, padding
from nixoci.tree.tar_writer import headers

METADATA = "metadata.tar.gz"
MOUNT_PROGRAM = "mount-program"

_LEVEL = 6
_GZIP = 31
_OVERLAY = b"user.overlay."
_ESCAPED_OVERLAY = b"user.overlay.overlay."
_SET_BY_USERS = (b"user.", b"security.capability")


def mount_program() -> bytes:
    """Return the text of the mount program, which belongs at the top of the image store."""
    return files("nixoci.image_store").joinpath("mount-program.sh").read_bytes()


def write_metadata(root: Inode, file: BinaryIO) -> None:
    """Write the gzipped tar of a tree's metadata to `file`; the same tree gives the same bytes.

    Device nodes, and xattrs that are neither `user.*` nor a capability, are left out: a user namespace may not have
    them.
    """
    # not zlib-ng or ISA-L, whose output depends on the processor
    gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for path, inode, first, _ in walk_names(root):
        if inode.kind in DEVICES:
            continue
        name = (path or b".") + b"/" if inode.is_directory else path
        if first != path:
            file.write(gzip.compress(headers(name, inode, HARDLINK_FLAG, first, 0, records={})))
            continue
        records = {XATTR + _keyword(key): value for key, value in _xattrs(inode).items()}
        content = b""
        if inode.kind is Kind.REGULAR and inode.size:
            records |= {XATTR + b"user.overlay.metacopy": b"", XATTR + b"user.overlay.redirect": b"/" + path}
            sparse, content = _hole(name, inode.size)
            records |= sparse
        entry = headers(name, inode, KIND_FLAGS[inode.kind], inode.target, len(content), records=records)
        file.write(gzip.compress(entry + content))
    file.write(gzip.compress(END_OF_ARCHIVE) + gzip.flush())


def _hole(name: bytes, size: int) -> tuple[dict[bytes, bytes], bytes]:
    """Return the PAX records and the content of a file with one hole (GNU tar manual, "PAX Format, Version 1.0")."""
    records = {b"major": b"1", b"minor": b"0", b"name": name, b"realsize": b"%d" % size}
    extent = b"1\n%d\n0\n" % size
    return {b"GNU.sparse." + key: value for key, value in records.items()}, extent + padding(len(extent))


def _keyword(name: bytes) -> bytes:
    """Return an xattr's name as GNU tar spells it in the keyword of a PAX record, which ends at the first `=`."""
    return name.replace(b"%", b"%25").replace(b"=", b"%3D")


def _xattrs(inode: Inode) -> dict[bytes, bytes]:
    """Return the xattrs that a user may set, those of an overlay inside the image escaped."""
    return {
        _ESCAPED_OVERLAY + key.removeprefix(_OVERLAY) if key.startswith(_OVERLAY) else key: value
        for key, value in inode.xattrs.items()
        if key.startswith(_SET_BY_USERS)
    }
