"""The canonical tar of a tree: the same tree gives the same bytes, on any machine and with any Python.

Its digest is the tree's diff id, and podman rebuilds it from the tar-split on `save` and `push`. It is not written by
`tarfile`, whose header bytes may change between Python versions.

Entries are in `walk` order; ustar headers (POSIX.1-2017 pax), preceded by one PAX extended header where a value
does not fit: paths and targets over 100 bytes or not ASCII, ids over 2 097 151, sizes over 8 GiB, mtimes that are
negative or not whole seconds, xattrs (`SCHILY.xattr.*`; libarchive's notation for a name with `=`). User and group
names are empty.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

from nixoci.tree.model import NANOSECONDS, Inode, Kind, walk_names
from nixoci.tree.tar_format import HARDLINK_FLAG, KIND_FLAGS, LIBARCHIVE_XATTR, PAX_FLAG, XATTR, padding, sum_of_bytes

_NAME_LENGTH = 100
_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777
_PAX_NAME = b"PaxHeaders/entry"


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One entry of the canonical tar.

    `header` is everything before the content. `size` is the number of bytes of content (the file at `path` in the
    rootfs), which `padding(size)` follows. `name` is the path in the header: `./` for the root, and with a `/` at the
    end for a directory.
    """

    path: bytes
    name: bytes
    header: bytes
    size: int


def tar_entries(root: Inode, *, nine_digits: bool = False) -> Iterator[TarEntry]:
    """Yield the entries of the canonical tar of a tree; `END_OF_ARCHIVE` follows the last.

    Args:
        root: The tree.
        nine_digits: Write the fraction of an mtime with its zeros, for readers that take it for nanoseconds. The tar is
            then another than the canonical one.
    """
    for path, inode, first, _ in walk_names(root):
        name = (path or b".") + b"/" if inode.is_directory else path
        if first == path:
            size = inode.size if inode.kind is Kind.REGULAR else 0
            xattrs = dict(map(_xattr, inode.xattrs.items())) if inode.xattrs else {}
            yield TarEntry(
                path,
                name,
                headers(
                    name, inode, KIND_FLAGS[inode.kind], inode.target, size, records=xattrs, nine_digits=nine_digits
                ),
                size,
            )
        else:
            header = headers(name, inode, HARDLINK_FLAG, first, 0, records={}, nine_digits=nine_digits)
            yield TarEntry(path, name, header, 0)


def _xattr(xattr: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return the PAX record of an xattr; a record's key holds no `=`."""
    name, value = xattr
    if b"=" in name:
        return LIBARCHIVE_XATTR + quote_from_bytes(name, safe="").encode("ascii"), b64encode(value)
    return XATTR + name, value


def headers(
    name: bytes,
    inode: Inode,
    flag: bytes,
    target: bytes,
    size: int,
    *,
    records: Mapping[bytes, bytes],
    nine_digits: bool = False,
) -> bytes:
    """Return the header blocks of an entry.

    Args:
        name: The name in the header.
        inode: The file that has the attributes.
        flag: The type flag.
        target: The target of a link.
        size: The bytes of content that follow.
        records: PAX records to write besides those that the attributes need.
        nine_digits: Write the fraction of an mtime with its zeros.
    """
    records = dict(records) if records else {}
    short_name, short_target = _fits(name), _fits(target)
    seconds, nanoseconds = divmod(inode.mtime, NANOSECONDS)
    if nanoseconds or not 0 <= seconds <= _MAX_SIZE:
        records[b"mtime"] = _decimal(inode.mtime, nine_digits=nine_digits)
        seconds = min(max(seconds, 0), _MAX_SIZE)
    if not short_name:
        records[b"path"] = name
    if not short_target:
        records[b"linkpath"] = target
    if inode.uid > _MAX_ID:
        records[b"uid"] = b"%d" % inode.uid
    if inode.gid > _MAX_ID:
        records[b"gid"] = b"%d" % inode.gid
    if size > _MAX_SIZE:
        records[b"size"] = b"%d" % size
    header = _ustar(
        name=name if short_name else _shorten(name),
        mode=inode.mode,
        uid=inode.uid if inode.uid <= _MAX_ID else 0,
        gid=inode.gid if inode.gid <= _MAX_ID else 0,
        size=size if size <= _MAX_SIZE else 0,
        mtime=seconds,
        flag=flag,
        target=target if short_target else _shorten(target),
        device=inode.device,
    )
    return _extended(records) + header if records else header


def _fits(text: bytes) -> bool:
    return len(text) <= _NAME_LENGTH and text.isascii()


def _shorten(text: bytes) -> bytes:
    """Return a part of the name for readers that do not know PAX."""
    return bytes(byte if byte < 0x80 else ord("_") for byte in text[-_NAME_LENGTH:])


def _decimal(nanoseconds: int, *, nine_digits: bool) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), NANOSECONDS)
    if not rest:
        return b"%b%d" % (sign, seconds)
    text = b"%b%d.%09d" % (sign, seconds, rest)
    return text if nine_digits else text.rstrip(b"0")


def _extended(records: dict[bytes, bytes]) -> bytes:
    body = b"".join(_record(key, value) for key, value in sorted(records.items()))
    header = _ustar(
        name=_PAX_NAME,
        mode=0o644,
        uid=0,
        gid=0,
        size=len(body),
        mtime=0,
        flag=PAX_FLAG,
        target=b"",
        device=(0, 0),
    )
    return header + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """Return one PAX record: its length (which counts itself), a space, `key=value`, a newline."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if rest + len(str(length)) != length:
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _ustar(
    *,
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    flag: bytes,
    target: bytes,
    device: tuple[int, int],
) -> bytes:
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\00000%64b%07o\0%07o\0%167b" % (
        name.ljust(_NAME_LENGTH, b"\0"),
        mode,
        uid,
        gid,
        size,
        mtime,
        flag,
        target.ljust(_NAME_LENGTH, b"\0"),
        bytes(64),
        *device,
        bytes(167),
    )
    return b"%b%06o\0 %b" % (block[:148], sum_of_bytes(block), block[156:])
