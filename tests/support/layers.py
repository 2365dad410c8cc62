"""Layers as tar bytes, header by header, including some that no tar program would write."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import LayerError
from nixoci.tree.byte_stream import ChunkStream
from nixoci.tree.limits import Limits
from nixoci.tree.merge import Merger
from nixoci.tree.model import Inode, Kind, walk, walk_names
from nixoci.tree.tar_reader import Entry, Pieces, SaveContent, TarReader

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK = 512
END = bytes(2 * BLOCK)
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"
V7 = bytes(8)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    """A number in base 256, as GNU tar writes one that octal digits cannot hold."""
    return ((1 << (8 * width - 1)) | (value & ((1 << (8 * width - 1)) - 1))).to_bytes(width, "big")


def header(
    name: bytes,
    flag: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = USTAR,
    device: tuple[int | bytes, int | bytes] = (0, 0),
    tail: bytes = b"",
) -> bytes:
    """One header block with a right checksum; a number may be given as the bytes of its field."""

    def number(value: int | bytes, width: int) -> bytes:
        return octal(value, width) if isinstance(value, int) else value.ljust(width, b"\0")

    block = b"".join(
        (
            name.ljust(100, b"\0"),
            number(mode, 8),
            number(uid, 8),
            number(gid, 8),
            number(size, 12),
            number(mtime, 12),
            b" " * 8,
            flag,
            link.ljust(100, b"\0"),
            magic,
            bytes(64),
            number(device[0], 8),
            number(device[1], 8),
            tail,
        )
    ).ljust(BLOCK, b"\0")
    return checksummed(block)


def checksummed(block: bytes) -> bytes:
    block = block[:148] + b" " * 8 + block[156:]
    assert len(block) == BLOCK
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while length != len(line := b"%d %b=%b\n" % (length, key, value)):
        length = len(line)
    return line


def pax(records: Iterable[tuple[bytes, bytes]] | dict[bytes, bytes], *, flag: bytes = b"x") -> bytes:
    """A PAX extended header; flag `g` makes it a global one."""
    pairs = records.items() if isinstance(records, dict) else records
    return raw_pax(b"".join(record(key, value) for key, value in pairs), flag=flag)


def raw_pax(body: bytes, *, flag: bytes = b"x") -> bytes:
    return header(b"PaxHeaders/x", flag, size=len(body)) + padded(body)


def gnu_long(name: bytes, *, flag: bytes = b"L") -> bytes:
    """GNU's header for a long name (`L`) or link target (`K`)."""
    return header(b"././@LongLink", flag, size=len(name) + 1, magic=GNU) + padded(name + b"\0")


def file(name: bytes, data: bytes = b"", *, mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = 0) -> bytes:
    return header(name, size=len(data), mode=mode, uid=uid, gid=gid, mtime=mtime) + padded(data)


def directory(name: bytes, *, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime: int = 0) -> bytes:
    return header(name, b"5", mode=mode, uid=uid, gid=gid, mtime=mtime)


def symlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"2", link=target, mode=0o777)


def hardlink(name: bytes, target: bytes) -> bytes:
    return header(name, b"1", link=target)


def whiteout(path: bytes) -> bytes:
    """The whiteout of a path."""
    parent, slash, name = path.rpartition(b"/")
    return file(parent + slash + b".wh." + name)


def opaque(path: bytes = b"") -> bytes:
    """The opaque marker of a directory."""
    return file((path + b"/" if path else b"") + b".wh..wh..opq")


def layer(*members: bytes) -> bytes:
    return b"".join(members) + END


def read(data: bytes, *, limits: Limits | None = None, chunk: int = 1 << 16) -> list[Entry]:
    """The entries of a layer that errors call `L`."""
    return list(reader(data, limits=limits, chunk=chunk))


def reader(data: bytes, *, limits: Limits | None = None, chunk: int = 1 << 16) -> TarReader:
    chunks = (data[at : at + chunk] for at in range(0, len(data), chunk))
    return TarReader(ChunkStream(chunks), what="layer L", limits=limits or Limits(), save=kept)


def only(data: bytes) -> Entry:
    """The one entry of a layer."""
    (entry,) = read(data)
    return entry


def inode_of(data: bytes) -> Inode:
    """The inode of the one entry of a layer."""
    inode = only(data).inode
    assert inode is not None
    return inode


def refused(data: bytes, message: str, *, limits: Limits | None = None, error: type[LayerError] = LayerError) -> None:
    """Assert that reading a layer fails with just this message."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        read(data, limits=limits)


_KEPT: list[bytes] = []


def kept(inode: Inode, pieces: Pieces) -> int:
    """Keep a file's bytes in memory, for `content`."""
    filled = bytearray(inode.size)
    for position, piece in pieces:
        filled[position : position + len(piece)] = piece
    assert len(filled) == inode.size
    _KEPT.append(bytes(filled))
    return len(_KEPT)


def content(inode: Inode) -> bytes:
    """The bytes of a regular file that was read with `kept`."""
    assert inode.kind is Kind.REGULAR
    return bytes(inode.size) if inode.content is None else _KEPT[inode.content - 1]


def merge(*layers: bytes, limits: Limits | None = None, save: SaveContent = kept) -> Inode:
    """The tree of layers that errors call `L0`, `L1`, ..."""
    merger = Merger(limits or Limits())
    for number, data in enumerate(layers):
        name = f"L{number}"
        merger.apply(
            TarReader(ChunkStream([data]), what=f"layer {name}", limits=limits or Limits(), save=save), layer=name
        )
    return merger.root


def names(root: Inode) -> list[bytes]:
    """All paths of a tree but the root's; a directory's ends in a slash."""
    return [path + b"/" if inode.is_directory else path for path, inode in walk(root) if path]


def lookup(root: Inode, path: bytes) -> Inode:
    for name in path.split(b"/") if path else []:
        root = root.children[name]
    return root


def description(root: Inode) -> list[tuple[object, ...]]:
    """All of a tree but the content of its files, to compare two trees."""
    lines: list[tuple[object, ...]] = []
    for path, inode, first, _ in walk_names(root):
        lines.append(
            (
                path,
                first,
                inode.kind,
                inode.mode,
                inode.uid,
                inode.gid,
                inode.mtime,
                sorted(inode.xattrs.items()),
                inode.size,
                inode.target,
                inode.device,
            )
        )
    return lines
