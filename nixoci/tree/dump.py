"""The metadata dump: a tree as text, in composefs's dump format (composefs-dump(5)).

There is one line for each name: path, size, octal mode, link count, uid, gid, device, mtime, payload, content, digest,
then xattrs. The payload of a file with content is its path inside the rootfs. A further name of a file has `@` before
its mode, and the file's first name as its payload.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

from nixoci.errors import StoreError
from nixoci.tree.limits import MAX_ID, MAX_NAME, MAX_PATH, MAX_SECONDS, MAX_TARGET, MAX_XATTR
from nixoci.tree.model import DEVICES, NANOSECONDS, Inode, Kind, Packer, walk_names
from nixoci.tree.tar_format import show

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
_MAX_DEVICE = (1 << 32) - 1
_MAX_SIZE = (1 << 63) - 1

_ESCAPES = {byte: b"\\x%02x" % byte for byte in range(256) if not 0x21 <= byte <= 0x7E} | {
    ord("\\"): b"\\\\",
    ord("\n"): b"\\n",
    ord("\r"): b"\\r",
    ord("\t"): b"\\t",
}
_SPECIAL = re.compile(rb"[^\x21-\x5b\x5d-\x7e]")
_SPECIAL_IN_XATTR = re.compile(rb"[^\x21-\x3c\x3e-\x5b\x5d-\x7e]")
_NUMBER = rb"(0|[1-9][0-9]{0,18})"
_LINE = re.compile(
    rb"/([\x21-\x7e]*) %b (@?)([0-7]{5,6}) [1-9][0-9]{0,9} %b %b %b (-?[0-9]{1,17})\.(0|[1-9][0-9]{0,8})"
    rb" ([\x21-\x7e]+) - -((?: [\x21-\x3c\x3e-\x7e]+=[\x21-\x3c\x3e-\x7e]*)*)\n" % ((_NUMBER,) * 4)
)
_NO_PATH = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)(?<!\A\Z)|\0|[^/]{256}")
"""Matches a path that is not canonical: with a component that is empty, `.`, `..` or over `MAX_NAME`, or a NUL byte."""
_ESCAPED = re.compile(rb"\\(?:x([0-9a-f]{2})|([\\nrt]))")
_UNESCAPES = {b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def write_dump(root: Inode, *, payloads: Mapping[bytes, bytes] | None = None) -> Iterator[bytes]:
    """Yield the lines of a tree's dump, each with its newline, parents before children.

    Args:
        root: The tree.
        payloads: The paths at which the files with content are, by their paths in the tree; by default, these.

    Raises:
        KeyError: A file with content has no payload.
    """
    for path, inode, first, links in walk_names(root):
        if inode.is_directory:
            links = 2 + sum(child.is_directory for child in inode.children.objects())  # noqa: PLW2901
        content = path if payloads is None or not inode.size or first != path else payloads[path]
        yield _line(path, inode, links, content, None if first == path else first)


def read_dump(lines: Iterable[bytes], *, what: str = "metadata dump") -> Inode:
    """Read the dump that `write_dump` wrote; files get no `content`.

    Args:
        lines: The lines.
        what: The dump's name in errors.

    Raises:
        StoreError: A line is not of the format, has a name or a number that no file can have, repeats a name, or names
            a parent or link target that has not come before.
    """
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        try:
            reader.add(line)
        except (ValueError, LookupError, OverflowError) as error:
            found = show(line[:100])
            raise StoreError(f"{what}: line {number} is not valid: {found}; extract the image again") from error
    if reader.root is None:
        raise StoreError(f"{what}: it has no root directory; extract the image again")
    return reader.root


class _Reader:
    """Builds a tree from the lines of a dump.

    Every method raises ValueError, LookupError or OverflowError for a line that is not valid.
    """

    def __init__(self) -> None:
        self.root: Inode | None = None
        self._directories: dict[bytes, Inode] = {}
        self._packer = Packer()
        self._further: set[bytes] = set()
        """Names of files that are not their first, the only one that a hardlink may refer to."""

    def add(self, line: bytes) -> None:
        path, inode, target = _parse(line)
        if target is not None:
            inode = self._first(target, inode)
            self._further.add(path)
        if path:
            self._add_name(path, inode, linked=target is not None)
        elif self.root is not None or target is not None or not inode.is_directory:
            raise ValueError("a second root, or one that is not a directory")
        else:
            self.root = inode
        if inode.is_directory:
            self._directories[path] = inode

    def _first(self, target: bytes, inode: Inode) -> Inode:
        directory, _, name = target.rpartition(b"/")
        first = self._directories[directory].children.share(name)
        if first is None:
            raise ValueError("a hardlink to a name that is not there")
        if target in self._further:
            raise ValueError("a hardlink to another than a first name")
        if first.is_directory or (first.kind, first.mode) != (inode.kind, inode.mode):
            raise ValueError("a hardlink to a directory, or to another kind of file")
        return first

    def _add_name(self, path: bytes, inode: Inode, *, linked: bool) -> None:
        directory, _, name = path.rpartition(b"/")
        parent = self._directories[directory]
        if name in parent.children:
            raise ValueError("a name that is there already")
        if linked:
            parent.children[name] = inode
        else:
            self._packer.pack(parent.children, name, inode)


def escape(text: bytes) -> bytes:
    """Escape a field (composefs, `print_escaped`); a lone `-` would mean an absent value."""
    return b"\\x2d" if text == _NONE else _SPECIAL.sub(_replace, text)


def unescape(text: bytes) -> bytes:
    """Undo `escape`.

    Raises:
        ValueError: A backslash that does not begin an escape.
    """
    if b"\\" not in text:
        return text
    if b"\\" in _ESCAPED.sub(b"", text):
        raise ValueError(f"not an escape: {text!r}")
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else _UNESCAPES[match[2]], text)


def _replace(match: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(match[0][0], b"\\x%02x" % match[0][0])


def _escape_in_xattr(text: bytes) -> bytes:
    return _SPECIAL_IN_XATTR.sub(_replace, text)


def _line(path: bytes, inode: Inode, links: int, content: bytes, canonical: bytes | None) -> bytes:
    name = _SPECIAL.sub(_replace, path)
    if canonical is not None:
        payload = escape(b"/" + canonical)
    elif inode.kind is Kind.SYMLINK:
        payload = escape(inode.target)
    elif inode.kind is Kind.REGULAR and inode.size:
        payload = name if content is path and path != _NONE else escape(content)
    else:
        payload = _NONE
    seconds, nanoseconds = divmod(inode.mtime, NANOSECONDS)
    fixed = b"/%b %d %b%o %d %d %d %d %d.%d %b - -" % (
        name,
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
    if not inode.xattrs:
        return fixed + b"\n"
    xattrs = b"".join(
        b" %b=%b" % (_escape_in_xattr(name), _escape_in_xattr(value)) for name, value in sorted(inode.xattrs.items())
    )
    return fixed + xattrs + b"\n"


def _parse(line: bytes) -> tuple[bytes, Inode, bytes | None]:
    """Return the path, the file, and the file's first name if this path is a further name of it."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("another format")
    name, size, at, mode, uid, gid, rdev, seconds, nanoseconds, payload, xattrs = match.groups()
    path = unescape(name)
    if len(path) > MAX_PATH or _NO_PATH.search(path):
        raise ValueError("a path that is too long or not canonical")
    bits, device = int(mode, 8), int(rdev)
    kind = _KINDS[stat.S_IFMT(bits)]
    inode = Inode(
        kind,
        mode=stat.S_IMODE(bits),
        uid=int(uid),
        gid=int(gid),
        mtime=int(seconds) * NANOSECONDS + int(nanoseconds),
        size=int(size) if kind is Kind.REGULAR else 0,
        device=(os.major(device), os.minor(device)) if kind in DEVICES else (0, 0),
    )
    if xattrs:
        inode.xattrs = _parse_xattrs(xattrs)
    if max(inode.uid, inode.gid) > MAX_ID or abs(inode.mtime) > (MAX_SECONDS + 1) * NANOSECONDS:
        raise ValueError("an owner or a time out of range")
    if inode.size > _MAX_SIZE or device > (_MAX_DEVICE if kind in DEVICES else 0):
        raise ValueError("a size or a device out of range")
    if at:
        return path, inode, _parse_first_name(payload)
    if kind is Kind.SYMLINK:
        inode.target = _parse_target(payload, int(size))
    elif payload != (escape(path) if inode.size else _NONE):
        raise ValueError("a payload that is not the file itself")
    return path, inode, None


def _parse_first_name(payload: bytes) -> bytes:
    path = unescape(payload)
    if not path.startswith(b"/"):
        raise ValueError("a hardlink to a relative path")
    return path[1:]


def _parse_target(payload: bytes, size: int) -> bytes:
    target = unescape(payload)
    if payload == _NONE or len(target) != size or size > MAX_TARGET or b"\0" in target:
        raise ValueError("a symlink target that is too long, or not as long as it says")
    return target


def _parse_xattrs(text: bytes) -> dict[bytes, bytes]:
    xattrs: dict[bytes, bytes] = {}
    for xattr in text.split(b" ")[1:]:
        key, _, value = map(unescape, xattr.partition(b"="))
        if key in xattrs or len(key) > MAX_NAME or b"\0" in key or len(value) > MAX_XATTR:
            raise ValueError("an xattr that is there already or too long")
        xattrs[key] = value
    return xattrs
