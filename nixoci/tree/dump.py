"""The metadata dump: a tree as text, in composefs's dump format (composefs-dump(5)).

There is one line for each name: path, size, octal mode, link count, uid, gid, device, mtime, payload, content, digest,
then xattrs. The payload of a file with content is its path inside the rootfs. A further name of a file has `@` before
its mode, and the file's first name as its payload.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator

from nixoci.errors import StoreError
from nixoci.tree.model import DEVICES, NANOSECONDS, Inode, Kind, walk

_FORMAT_BITS = {
    Kind.REGULAR: stat.S_IFREG,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.FIFO: stat.S_IFIFO,
}
_KINDS = {bits: kind for kind, bits in _FORMAT_BITS.items()}
_NONE = b"-"

_ESCAPES = {byte: b"\\x%02x" % byte for byte in range(256) if not 0x21 <= byte <= 0x7E} | {
    ord("\\"): b"\\\\",
    ord("\n"): b"\\n",
    ord("\r"): b"\\r",
    ord("\t"): b"\\t",
}
_SPECIAL = re.compile(rb"[^\x21-\x5b\x5d-\x7e]")
_SPECIAL_IN_XATTR = re.compile(rb"[^\x21-\x3c\x3e-\x5b\x5d-\x7e]")
_ESCAPED = re.compile(rb"\\(?:x([0-9a-f]{2})|([\\nrt]))")
_UNESCAPES = {b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def write_dump(root: Inode) -> Iterator[bytes]:
    """Yield the lines of a tree's dump, each with its newline, parents before children."""
    names = Counter(id(inode) for _, inode in walk(root))
    first: dict[int, bytes] = {}
    for path, inode in walk(root):
        canonical = first.setdefault(id(inode), path)
        links = names[id(inode)]
        if inode.is_directory:
            links = 2 + sum(child.is_directory for child in inode.children.values())
        yield _line(path, inode, links, None if canonical == path else canonical)


def read_dump(lines: Iterable[bytes]) -> Inode:
    """Read the dump that `write_dump` wrote; files get no `content`.

    Raises:
        StoreError: A line is not of the format, or names a parent or link target that has not come before.
    """
    root: Inode | None = None
    inodes: dict[bytes, Inode] = {}
    for number, line in enumerate(lines, 1):
        try:
            path, inode, target = _parse(line)
            if target is not None:
                inode = inodes[target]
            inodes[path] = inode
            if path:
                parent, _, name = path.rpartition(b"/")
                _directory(inodes[parent]).children[name] = inode
            else:
                root = inode
        except (ValueError, KeyError, IndexError) as error:
            raise StoreError(f"metadata dump: line {number} is not valid: {line[:100]!r}") from error
    if root is None:
        raise StoreError("metadata dump: it has no root directory; extract the image again")
    return root


def _directory(inode: Inode) -> Inode:
    if not inode.is_directory:
        raise ValueError("its parent is not a directory")
    return inode


def escape(text: bytes) -> bytes:
    """Escape a field (composefs, `print_escaped`); a lone `-` would mean that there is none."""
    return b"\\x2d" if text == _NONE else _SPECIAL.sub(_replace, text)


def unescape(text: bytes) -> bytes:
    """Undo `escape`.

    Raises:
        ValueError: A backslash that does not begin an escape.
    """
    if b"\\" in _ESCAPED.sub(b"", text):
        raise ValueError(f"not an escape: {text!r}")
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else _UNESCAPES[match[2]], text)


def _replace(match: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(match[0][0], b"\\x%02x" % match[0][0])


def _escape_in_xattr(text: bytes) -> bytes:
    return _SPECIAL_IN_XATTR.sub(_replace, text)


def _line(path: bytes, inode: Inode, links: int, canonical: bytes | None) -> bytes:
    if canonical is not None:
        payload = escape(b"/" + canonical)
    elif inode.kind is Kind.SYMLINK:
        payload = escape(inode.target)
    elif inode.kind is Kind.REGULAR and inode.size:
        payload = escape(path)
    else:
        payload = _NONE
    seconds, nanoseconds = divmod(inode.mtime, NANOSECONDS)
    fixed = b"/%b %d %b%o %d %d %d %d %d.%d %b - -" % (
        _SPECIAL.sub(_replace, path),
        len(inode.target) if inode.kind is Kind.SYMLINK else inode.size,
        b"" if canonical is None else b"@",
        _FORMAT_BITS[inode.kind] | inode.mode,
        links,
        inode.uid,
        inode.gid,
        os.makedev(*inode.device) if inode.kind in DEVICES else 0,
        seconds,
        nanoseconds,
        payload,
    )
    xattrs = b"".join(
        b" %b=%b" % (_escape_in_xattr(name), _escape_in_xattr(value)) for name, value in sorted(inode.xattrs.items())
    )
    return fixed + xattrs + b"\n"


def _parse(line: bytes) -> tuple[bytes, Inode, bytes | None]:
    """Return the path, the file, and the file's first name if this is a further one."""
    fields = line.removesuffix(b"\n").split(b" ")
    path, size, mode, _, uid, gid, rdev, mtime, payload, _, _ = fields[:11]
    if not path.startswith(b"/"):
        raise ValueError(path)
    bits = int(mode.removeprefix(b"@"), 8)
    kind = _KINDS[stat.S_IFMT(bits)]
    seconds, _, nanoseconds = mtime.partition(b".")
    device = int(rdev)
    inode = Inode(
        kind,
        mode=stat.S_IMODE(bits),
        uid=int(uid),
        gid=int(gid),
        mtime=int(seconds) * NANOSECONDS + int(nanoseconds),
        size=int(size) if kind is Kind.REGULAR else 0,
        target=unescape(payload) if kind is Kind.SYMLINK else b"",
        device=(os.major(device), os.minor(device)) if kind in DEVICES else (0, 0),
    )
    for xattr in fields[11:]:
        name, _, value = xattr.partition(b"=")
        inode.xattrs[unescape(name)] = unescape(value)
    return unescape(path[1:]), inode, unescape(payload).removeprefix(b"/") if mode.startswith(b"@") else None
