"""Random tar streams: members of every dialect, with headers, records and sparse maps that are wrong in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.values import changed_bytes, number
from tests.support.layers import (
    BLOCK,
    END,
    GNU,
    USTAR,
    V7,
    base256,
    checksummed,
    gnu_long,
    header,
    octal,
    padded,
    pax,
    raw_pax,
)

if TYPE_CHECKING:
    from random import Random

NAMES = (
    *(b"a", b"b", b"a/b", b"a/b/c", b"b/c", b"c", b"d/", b"./", b"./a", b"a/b/", b"a//b", b"a/./b", b"a/../b", b"/a"),
    *(b"", b"/", b".", b"..", b"../x", b"a/../../x", b"/../x", b"/etc/x", b"a\nb", b"\xff\xfe", b"a b", b"\\x00", b"-"),
    *(b".wh.a", b"a/.wh.b", b".wh..wh..opq", b"a/.wh..wh..opq", b".wh.", b".wh..", b".wh...", b".wh.a/b", b".wh..wh.x"),
    *(b".wh..wh.plnk/1.2", b".wh..wh.aufs", b".wh..wh.orph/x", b"x" * 100, b".contents", b"dev/x", b"proc", b"=", b"@"),
)
_LONG_NAMES = (b"n" * 255, b"n" * 256, b"d/" * 120 + b"f", b"d/" * 300, b"p/" * 1900 + b"f", b"p" * 4000, b"a\0b", b"")
_TARGETS = (*NAMES, b"../a", b"../../a", b"/a/b", b"a/a", b"b/../../..", b"t" * 100)
_FLAGS = b"0" * 40 + b"\0" * 4 + b"5" * 20 + b"2" * 16 + b"1" * 12 + b"3334446667" + b"SgxLKVMADN9Z"
_MAGICS = (USTAR, USTAR, GNU, V7, b"ustar\0\0\0", b"\xff" * 8)
_FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "flag": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
    "major": (329, 8),
    "minor": (337, 8),
    "prefix": (345, 155),
    "sparse": (386, 24),
    "extended": (482, 1),
    "real size": (483, 12),
}
"""Positions and lengths of the fields of a header (POSIX ustar, GNU tar.h)."""

_KEYS = (
    *(b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"uname", b"comment", b"hdrcharset", b"a"),
    *(b"SCHILY.xattr.user.a", b"SCHILY.xattr.security.capability", b"SCHILY.xattr.trusted.overlay.opaque"),
    *(b"SCHILY.xattr.system.posix_acl_access", b"SCHILY.xattr.com.apple.provenance"),
    *(b"SCHILY.xattr.", b"SCHILY.xattr.user.", b"LIBARCHIVE.xattr.user.a", b"LIBARCHIVE.xattr.user.%ff", b"SCHILY.acl"),
    *(b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.size", b"GNU.sparse.realsize", b"GNU.sparse.map"),
    *(
        b"GNU.sparse.name",
        b"GNU.sparse.numblocks",
        b"GNU.sparse.offset",
        b"GNU.sparse.numbytes",
        b"RHT.security.selinux",
    ),
)
_VALUES = (
    b"",
    b"0",
    b"1",
    b"-1",
    b"+5",
    b" 5",
    b"1.5",
    b"-1.5",
    b"1e9",
    b"9" * 30,
    b"0" * 5000,
    b"\0",
    b"\xff",
    b"=",
    b"AQ==",
)


def random_layer(random: Random) -> bytes:
    """Return a layer of a few members, which may be damaged."""
    members = [random_member(random) for _ in range(random.randint(1, 10))]
    if random.random() < 0.2:
        members.insert(random.randrange(len(members) + 1), random.choice(members))
    data = b"".join(members) + random.choice((END, END, END, END, b"", bytes(BLOCK), bytes(20 * BLOCK)))
    chance = random.random()
    if chance < 0.05:
        return changed_bytes(random, data)
    if chance < 0.10:
        return data[: random.randrange(len(data) + 1)]
    return changed_tar(random, data) if chance < 0.45 else data


def changed_tar(random: Random, data: bytes) -> bytes:
    """Return a tar stream with changed fields in one header, whose checksum is right again."""
    starts = [at for at in range(0, len(data) - BLOCK, BLOCK) if data[at + 257 : at + 262] == b"ustar"]
    if not starts:
        return changed_bytes(random, data)
    at = random.choice(starts)
    block = bytearray(data[at : at + BLOCK])
    for _ in range(random.choice((1, 1, 2))):
        start, length = random.choice(list(_FIELDS.values()))
        block[start : start + length] = _field(random, length)
    return data[:at] + checksummed(bytes(block)) + data[at + BLOCK :]


def random_member(random: Random) -> bytes:
    """Return a member: a header with what may come before and after it."""
    chance = random.random()
    if chance < 0.15:
        return _sparse(random)
    before = b""
    if random.random() < 0.15:
        before += pax(_records(random), flag=random.choice((b"x", b"x", b"x", b"g", b"X")))
    if random.random() < 0.08:
        before += gnu_long(random.choice((*_LONG_NAMES, *NAMES)), flag=random.choice((b"L", b"L", b"K")))
    if random.random() < 0.03:
        before += raw_pax(changed_bytes(random, b"11 path=abc\n13 size=00001\n"))
    flag = bytes([random.choice(_FLAGS)])
    body = random.randbytes(random.choice((0, 0, 5, 512, 700))) if flag in b"0\x007S" else b""
    device = (random.choice((0, 1, 4095)), random.choice((0, 3, (1 << 20) - 1)))
    member = header(
        random.choice(NAMES if random.random() < 0.2 else NAMES[:14]),
        flag,
        size=len(body),
        mode=random.choice((0o644, 0o755, 0o4711, 0o1777, 0, 0o7777777)),
        uid=random.choice((0, 33, 65_534, base256(1 << 31, 8), base256((1 << 32) - 2, 8))),
        gid=random.choice((0, 42)),
        mtime=random.choice((0, 1_500_000_000, base256(-1, 12), base256(1 << 54, 12))),
        link=random.choice(_TARGETS if random.random() < 0.2 else NAMES[:12]),
        magic=random.choice(_MAGICS),
        device=device if flag in b"34" else (0, 0),
    )
    return before + member + padded(body)


def _records(random: Random) -> list[tuple[bytes, bytes]]:
    records = []
    for _ in range(random.choice((1, 1, 1, 3))):
        key = random.choice(_KEYS)
        pools = (NAMES[:14], NAMES[:14], (*NAMES, *_LONG_NAMES), _VALUES, (b"%d" % number(random),))
        value = random.choice(random.choice(pools))
        if key.startswith((b"SCHILY.xattr", b"LIBARCHIVE")) and random.random() < 0.3:
            value = random.randbytes(random.choice((0, 20, 300, 32_000, 65_535, 65_536)))
        records.append((key, value))
    return records


def _field(random: Random, length: int) -> bytes:
    value = number(random)
    pool = (
        b"\xff" * length,
        bytes(length),
        b" " * length,
        b"7" * length,
        base256(value, length) if length > 1 else b"S",
        base256(-value, length) if length > 1 else b"x",
        octal(value % (8 ** (length - 1)), length) if length > 1 else bytes([random.choice(_FLAGS)]),
        random.randbytes(length),
        random.choice(NAMES)[:length],
    )
    return random.choice(pool).ljust(length, b"\0")[:length]


def _sparse(random: Random) -> bytes:
    """Return a sparse file of one of the four formats, with a map that may be wrong."""
    segments, at = [], 0
    for _ in range(random.randint(0, 6)):
        at += random.choice((0, 1, 512, 1000))
        length = random.choice((0, 1, 512, 700))
        segments.append((at, length))
        at += length
    size = at + random.choice((0, 1, 10_000))
    body = random.randbytes(sum(length for _, length in segments))
    if random.random() < 0.4:
        if segments and random.random() < 0.7:
            place = random.randrange(len(segments))
            segments[place] = (number(random), number(random)) if random.random() < 0.5 else segments[-1]
        else:
            size = number(random)
    name = random.choice(NAMES[:12])
    return random.choice((_old_gnu, _pax_0_0, _pax_0_1, _pax_1_0))(name, segments, size, body)


Segments = list[tuple[int, int]]


def _old_gnu(name: bytes, segments: Segments, size: int, body: bytes) -> bytes:
    def entries(part: Segments, count: int) -> bytes:
        return b"".join(base256(number, 12) for segment in part for number in segment).ljust(24 * count, b"\0")

    first, rest = segments[:4], segments[4:]
    tail = bytes(41) + entries(first, 4) + bytes([bool(rest)]) + base256(size, 12)
    blocks = (entries(rest, 21) + b"\0").ljust(BLOCK, b"\0") if rest else b""
    return header(name, b"S", size=len(body), magic=GNU, tail=tail) + blocks + padded(body)


def _pax_0_0(name: bytes, segments: Segments, size: int, body: bytes) -> bytes:
    records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(segments))]
    for start, length in segments:
        records += [(b"GNU.sparse.offset", b"%d" % start), (b"GNU.sparse.numbytes", b"%d" % length)]
    return pax(records) + header(name, size=len(body)) + padded(body)


def _pax_0_1(name: bytes, segments: Segments, size: int, body: bytes) -> bytes:
    text = b",".join(b"%d" % number for segment in segments for number in segment)
    records = {b"GNU.sparse.size": b"%d" % size, b"GNU.sparse.numblocks": b"%d" % len(segments)}
    records |= {b"GNU.sparse.map": text, b"GNU.sparse.name": name}
    return pax(records) + header(b"GNUSparseFile.0/x", size=len(body)) + padded(body)


def _pax_1_0(name: bytes, segments: Segments, size: int, body: bytes) -> bytes:
    numbers = [len(segments), *(number for segment in segments for number in segment)]
    content = padded(b"".join(b"%d\n" % number for number in numbers)) + body
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}
    records |= {b"GNU.sparse.name": name, b"GNU.sparse.realsize": b"%d" % size}
    return pax(records) + header(b"GNUSparseFile.0/x", size=len(content)) + padded(content)
