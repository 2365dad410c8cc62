"""Damaged deltas, and forged deltas: those with correct checksums and false content."""

import io
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import IO

from nixoci.compression import ZstdCompressor, compress
from nixoci.delta.codecs.hdiff import HDIFF
from nixoci.delta.codecs.splice import SPLICE
from nixoci.delta.codecs.zstd import ZSTD as PREFIXED
from nixoci.delta.effort import Effort, body_packing
from nixoci.delta.format.header import pack_header
from nixoci.delta.format.model import MAX_CONTENTS, Base, Header
from nixoci.delta.format.numbers import pack_text, pack_varint, read_varint
from nixoci.delta.format.recipe import FIRST_CONTENT
from nixoci.delta.format.start import MAGIC
from nixoci.delta.format.stream import CHECK_SIZE, MAX_FRAME, PLAIN, ZSTD, DeltaWriter, pack_start
from nixoci.nix_store.hashes import HashingSink, from_sri, to_sri
from nixoci.nix_store.nar import NarWriter
from nixoci.nix_store.path import STORE_DIR, PathInfo, pack_hash_part, store_path_name

PREFACE = pack_start(1)
Damage = Callable[[random.Random, bytes], bytes]
Content = tuple[bytes, bytes]
"""The bytes before a content's payload, and the payload."""


def flip(rng: random.Random, stream: bytes) -> bytes:
    at = rng.randrange(len(stream))
    return stream[:at] + bytes([stream[at] ^ 1 << rng.randrange(8)]) + stream[at + 1 :]


def cut(rng: random.Random, stream: bytes) -> bytes:
    return stream[: rng.randrange(len(stream))]


def splice(rng: random.Random, stream: bytes) -> bytes:
    first, second = sorted(rng.sample(range(len(stream)), 2))
    return stream[:first] + stream[second:]


def repeat(rng: random.Random, stream: bytes) -> bytes:
    first, second = sorted(rng.sample(range(len(stream) + 1), 2))
    return stream[:second] + stream[first:]


def reorder(rng: random.Random, stream: bytes) -> bytes:
    parts = frames(stream)
    first, second = rng.choices(range(len(parts)), k=2)
    parts[first], parts[second] = parts[second], parts[first]
    return PREFACE + b"".join(parts)


def repeat_frame(rng: random.Random, stream: bytes) -> bytes:
    parts = frames(stream)
    parts.insert(rng.randrange(len(parts) + 1), rng.choice(parts))
    return PREFACE + b"".join(parts)


def drop_frame(rng: random.Random, stream: bytes) -> bytes:
    parts = frames(stream)
    del parts[rng.randrange(len(parts))]
    return PREFACE + b"".join(parts)


DAMAGES: list[Damage] = [flip, cut, splice, repeat, reorder, repeat_frame, drop_frame]


def frames(stream: bytes) -> list[bytes]:
    """Return the frames of a delta, each with its checksum."""
    at, found = len(PREFACE), []
    while at < len(stream):
        source = io.BytesIO(stream[at : at + 10])
        length = read_varint(partial(_byte, source)) >> 1
        end = at + source.tell() + length + CHECK_SIZE
        found.append(stream[at:end])
        at = end
    return found


def _byte(source: IO[bytes]) -> int:
    return source.read(1)[0]


def damaged(streams: list[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield that many damaged deltas, all different from the original, by a name of the damage."""
    rng = random.Random(seed)
    kinds = itertools.cycle(DAMAGES)
    while count:
        stream, damage = rng.choice(streams), next(kinds)
        found = damage(rng, stream)
        if found != stream:
            yield f"{damage.__name__} {count}", found
            count -= 1


def seal(payloads: list[bytes], *, end: bool = True) -> bytes:
    """Return the stream of frames of any payload, with the checksums that belong to them."""
    out = io.BytesIO()
    writer = DeltaWriter(out, body_packing(Effort.FAST))
    for number, payload in enumerate(payloads, 1):
        writer._frame(payload, last=end and number == len(payloads))
    return out.getvalue()


def pack(data: bytes) -> bytes:
    """Return a stream of a body."""
    return ZSTD + compress(data, 3)


def section(header: bytes, *, packed: bool = False) -> bytes:
    """Return the section of a header."""
    data = compress(header, 3) if packed else header
    return pack_varint(len(data) << 1 | packed) + data


class Forger:
    """Makes streams whose checksums are right and whose content is not.

    Args:
        base: A path that the receiver has: a directory with `file` (`content`) and the symlink `out` (to /etc).
        path: The path that the honest stream makes: a file with the content `goal`.
    """

    def __init__(self, base: PathInfo, path: str) -> None:
        self.base = base
        hashed = HashingSink()
        nar = NarWriter(hashed, limit=1000, what=path)
        nar.begin_regular(4, executable=False)
        nar.write(b"goal")
        nar.end_regular(4)
        goal = PathInfo(path=path, nar_hash=hashed.sri, nar_size=nar.size)
        bases = (Base(path=base.path, nar_hash=base.nar_hash),)
        self.header = Header(roots=(path,), bases=bases, paths=(goal,), predecessors=(0,))
        self.recipe = b"f\0"
        self.contents = [(b"\0\4", b"goal")]

    def stream(
        self,
        header: Header | None = None,
        recipe: bytes | None = None,
        contents: list[Content] | None = None,
    ) -> bytes:
        return self.of_header(pack_header(header or self.header), self.body(recipe, contents))

    def body(self, recipe: bytes | None = None, contents: list[Content] | None = None) -> bytes:
        recipe = self.recipe if recipe is None else recipe
        contents = self.contents if contents is None else contents
        head = pack_varint(len(recipe)) + recipe + pack_varint(len(contents))
        return head + b"".join(part + payload for part, payload in contents)

    def of_header(self, header: bytes, body: bytes | None = None) -> bytes:
        """Return the stream with another header, given as its bytes."""
        return seal([section(header) + pack(self.body() if body is None else body)])

    def of_body(self, body: bytes) -> bytes:
        """Return the stream with another body."""
        return self.of_header(pack_header(self.header), body)

    def header_parts(self) -> dict[str, bytes]:
        """Return the parts of a header with every optional field, by name."""
        goal, base = self.header.paths[0], self.base
        name = store_path_name(base.path).encode()
        digests = [from_sri(text) for text in (base.nar_hash, goal.nar_hash)]
        return {
            "count of bases": b"\1",
            "name of the base": name_of_base(name, to_add=_is_added(self.base)),
            "hash of the base": digests[0],
            "hash part of the base": b"" if _is_added(self.base) else pack_hash_part(base.path),
            "count of paths": b"\1",
            "flags": b"\x1c",
            "predecessor": b"\1",
            "name": b"\0" + pack_text(store_path_name(goal.path).encode()),
            "hash": digests[1],
            "size": pack_varint(goal.nar_size),
            "count of references": b"\1",
            "reference": b"\0",
            "hash part of the deriver": bytes(20),
            "name of the deriver": b"\0" + pack_text(b"app.drv"),
            "count of signatures": b"\1",
            "signature": pack_text(b"key-1") + bytes(64),
            "hash part": pack_hash_part(goal.path),
            "roots": b"\0",
        }

    def honest_header(self) -> Header:
        """Return the header whose bytes `header_parts` are."""
        signature = "key-1:" + "A" * 86 + "=="
        goal = replace(
            self.header.paths[0],
            references=(self.base.path,),
            deriver=f"{STORE_DIR}/{'0' * 32}-app.drv",
            signatures=(signature,),
        )
        return replace(self.header, paths=(goal,))


def _is_added(base: PathInfo) -> bool:
    return base.content_address is not None


def name_of_base(name: bytes, *, to_add: bool = False) -> bytes:
    return pack_varint(len(name) << 1 | to_add) + name


OTHER_HASH = to_sri(bytes(32))
GIANT = b"\xff" * 8 + b"\x7f"
ELEVEN = b"\x80" * 10 + b"\1"

NAMES: list[bytes] = [
    *[b"", b"a/b", b"../x", b"/etc/passwd", b"a/../../../../etc/cron.d/x", b"a\0b", b"a\0", b"\0", b"a/", b"/"],
    *[b"a\n", b"\n", b"a\nSig: x", b"a\r", b"a b", b" ", b"a*", b"~", b"$HOME", b"x" * 212, b"x" * 5000, b"\xff"],
    "\xe4".encode(),
]
"""Names that no store path has."""

_NUMBERS = [GIANT, ELEVEN, b"", b"\x80"]
_HEADERS: dict[str, list[bytes]] = {
    "count of bases": [b"\0", b"\2", *_NUMBERS],
    "hash of the base": [bytes(32), b""],
    "hash part of the base": [bytes(20), bytes(19)],
    "count of paths": [b"\0", b"\2", *_NUMBERS],
    "flags": [*[bytes([flags]) for flags in range(128) if flags & 0x1F != 0x1C], *_NUMBERS],
    "predecessor": [b"\2", b"\x7f", *_NUMBERS],
    "name": [b"\x7f\1a", GIANT + b"\1a", b"\0" + GIANT, b"\0" + ELEVEN],
    "hash": [bytes(32), bytes(31)],
    "size": [b"\0", b"\x64", pack_varint(1 << 30), pack_varint(1 << 63), *_NUMBERS],
    "count of references": [b"\2", GIANT, ELEVEN],
    "reference": [b"\2", b"\x7f", *_NUMBERS],
    "name of the deriver": [b"\x7f\1a", b"\0" + GIANT],
    "count of signatures": [b"\0", b"\2", *_NUMBERS],
    "signature": [
        b"\0" + pack_text(line) for line in (b"", b"key", b"key:a\nCA: b", b"key: a", b"\n", b"k:\xff", b"key:\0")
    ],
    "hash part": [b"", bytes(19)],
    "roots": [b"\1\0", b"\2\2", b"\2\x7f", b"\2" + GIANT, b"\2", *_NUMBERS],
}


def forged_headers(forger: Forger) -> list[tuple[str, bytes]]:
    """Return headers that every receiver must refuse, as bytes by name."""
    parts = forger.header_parts()
    whole = b"".join(parts.values())
    found = [(f"{part} is {value[:12]!r}", part, value) for part, values in _HEADERS.items() for value in values]
    for name in NAMES:
        found += [
            (f"{part} is {name[:12]!r}", part, value)
            for part, value in (
                ("name of the base", name_of_base(name)),
                ("name of the base", name_of_base(name, to_add=True)),
                ("name", b"\0" + pack_text(name)),
                ("name of the deriver", b"\0" + pack_text(name)),
            )
        ]
    made = [(name, b"".join((parts | {part: value}).values())) for name, part, value in found if parts[part] != value]
    made += [(f"header of {length} bytes", whole[:length]) for length in range(len(whole))]
    return [*made, ("header and more", whole + b"\0")]


def node(name: bytes) -> bytes:
    return b"d\1" + pack_text(name) + FILE


FILE = b"f\0"
FROM_FILE = b"@\0\4file" + FILE


def base_copy(path: bytes, base: int = 0, kind: bytes = b"=") -> bytes:
    return b"@" + pack_varint(base) + pack_text(path) + kind


def segments(size: int, *numbers: bytes) -> bytes:
    return b"F" + pack_varint(size) + b"".join(numbers)


_BAD_NAMES = (b"", b".", b"..", b"a/b", b"/", b"../x", b"a\0b", b"\0", b"a" * 256)
_BAD_PATHS = (
    *[b"..", b"../x", b"out/passwd", b"out/../file", b"/etc/passwd", b"./file", b"no", b"file/x", b"out//passwd"],
    *[b"a\0b", b"file/", b"out", b"out/hosts/..", b"a/" * 3000 + b"a"],
)
_KINDS = b"=~-lfxFXdDR@"
RECIPES: list[bytes] = [
    *[node(name) for name in _BAD_NAMES],
    *[kind + b"\1" + pack_text(name) + entry for kind in (b"D", b"R") for name in _BAD_NAMES for entry in (FILE, b"-")],
    *[base_copy(path, kind=kind) for path in _BAD_PATHS for kind in (b"=", b"~", b"D\0", b"R\0", segments(4, b"\1"))],
    *[base_copy(b"file", base, kind) for base in (1, 2, 1 << 40) for kind in (b"=", b"~", b"D\0", FILE)],
    *[base_copy(b"file", kind=kind) for kind in (b"D\0", b"R\0", b"D\1\1a-", b"-", b"@\0\0=", b"=", b"~")],
    *[segments(4, b"\0\0" + pack_text(path) + b"\0") for path in (b"out/passwd", b"out", b"..", b"no", b"")],
    *[segments(4, pack_varint(number)) for number in (1, 2, 4, 5, 1 << 50)],
    *[b"f" + pack_varint(number) for number in (1, 2, MAX_CONTENTS, 1 << 50)],
    *[kind + GIANT for kind in (b"d", b"D", b"R", b"l", b"f", b"x", b"F", b"X", b"@")],
    *[segments(1 << 30, b"\3"), segments(0), segments(5, b"\3"), segments(3, b"\3"), segments(4), b"F\4\0" + GIANT],
    *[b"d\2\1a" + FILE + b"\1a" + FILE, b"d\2\1b" + FILE + b"\1a" + FILE, b"D\2\1b-\1a-", b"D\2\1a-\1a-"],
    *[b"d\1\1a-", b"-", b"D\1\4file-", b"R\1\4file-", b"D\0", b"R\0", b"=", b"~"],
    *[kind * depth + FILE for kind in (b"d\1\1a", b"D\1\1a") for depth in (257, 5000, 100_000)],
    *[bytes([kind]) for kind in range(256) if kind not in _KINDS][::3],
    *[b"", b"f", b"F", b"F\4", b"l", b"l\5abc", b"d\1", b"@", b"@\0", b"@\0\0", FILE * 2, FILE + b"\0", b"@" * 99],
]

CONTENTS: list[list[Content]] = [
    [],
    [(b"\0\4", b"evil")],
    [(b"\0\5", b"goal!")],
    [(b"\0\3", b"goal")],
    [(b"\0\5", b"goal")],
    [(b"\0" + GIANT, b"goal")],
    [(b"\0" + pack_varint((64 << 20) + 1), b"goal")],
    [(b"\0\4", b"goa")],
    [(b"\0\4", b"goal more")],
    [(b"\0\4", b"goal")] * 2,
    *[[(pack_varint(codec) + b"\4", b"goal")] for codec in (1, *range(8, 300, 17), 1 << 40)],
    *[
        [(pack_varint(codec.number << 1 | rewritten) + pack_varint(len(payload)), payload)]
        for codec in (HDIFF, PREFIXED, SPLICE)
        for rewritten in (False, True)
        for payload in (
            *[b"", b"\0", b"\4", b"goal", GIANT, b"\4\7" + bytes(12), b"\x04\x07\x01" + GIANT, bytes(40), b"\xff" * 40],
            *[b"\0\7evil", b"\0\10goal", b"\7\1goal", GIANT + b"\0goal", b"\0" + GIANT + b"goal", b"\1\1"],
        )
    ],
]
"""For a receiver of `FROM_FILE`: each makes `goal`, except for one fault."""

_BOMB = 3 << 30


def forgeries(forger: Forger) -> Iterator[tuple[str, bytes]]:
    """Yield hostile streams with their names; a store that has the base, and only it, must refuse each of them."""
    for name, header in forged_headers(forger):
        yield name, forger.of_header(header)
    for recipe in RECIPES:
        yield f"recipe {recipe[:12]!r} {len(recipe)}", forger.stream(recipe=recipe)
    for contents in CONTENTS:
        yield f"contents {contents!r}", forger.stream(recipe=FROM_FILE, contents=contents)
    yield from _forged_lies(forger)
    yield from forged_frames(forger)
    yield from forged_bodies(forger)


def _forged_lies(forger: Forger) -> Iterator[tuple[str, bytes]]:
    goal, header = forger.header.paths[0], forger.header
    yield "base of another hash", forger.stream(replace(header, bases=(replace(header.bases[0], nar_hash=OTHER_HASH),)))
    absent = Base(path=f"{STORE_DIR}/{'d' * 32}-absent", nar_hash=OTHER_HASH)
    yield "absent base", forger.stream(replace(header, bases=(*header.bases, absent)))
    yield "base twice", forger.stream(replace(header, bases=header.bases * 2))
    twice = replace(header, paths=(goal, goal), predecessors=(0, 0))
    yield "path twice", forger.stream(twice, forger.recipe * 2)
    valid = replace(goal, path=forger.base.path)
    yield (
        "valid path of another hash",
        forger.stream(Header(bases=(), paths=(valid,), roots=(valid.path,), predecessors=(None,))),
    )
    yield (
        "old where nothing is old",
        forger.stream(replace(header, predecessors=(None,)), b"=", []),
    )
    other = replace(goal, path=f"{STORE_DIR}/{'c' * 32}-other")
    for name, lie in (("hash", {"nar_hash": OTHER_HASH}), ("size", {"nar_size": goal.nar_size + 8})):
        lying = replace(other, **lie)
        yield f"lie about the {name}", forger.stream(replace(header, paths=(lying,), roots=(lying.path,)))
        after = replace(lying, references=(goal.path,))
        both = replace(header, paths=(goal, after), predecessors=(0, 0))
        yield f"right path, then a lie about the {name}", forger.stream(both, forger.recipe * 2)
    for address in (
        *["fixed:r:sha256:" + "0" * 52, "fixed:sha256:" + "0" * 52, "fixed:r:sha256:" + "0" * 51, "fixed:\nSig: b"],
        *["text:sha256:" + "0" * 52, "fixed:r:md5:", "nonsense", ":", ""],
    ):
        parts = forger.header_parts()
        parts |= {"flags": b"\x1e", "size": parts["size"] + pack_text(address.encode()), "hash part": b""}
        yield f"content address {address[:20]!r}", forger.of_header(b"".join(parts.values()))
    parts = forger.header_parts() | {"flags": b"\x1d", "hash": bytes(32), "hash part": b""}
    yield "content address of another hash", forger.of_header(b"".join(parts.values()))
    yield "too few recipes", forger.stream(replace(header, paths=(goal, other), predecessors=(0, 0)))
    yield "too few paths", forger.stream(recipe=forger.recipe * 2)


def forged_frames(forger: Forger, *, bomb_size: int = _BOMB) -> Iterator[tuple[str, bytes]]:
    plain = pack_header(forger.header)
    head, body = section(plain), pack(forger.body())
    packed = compress(plain, 3)
    payloads: dict[str, bytes] = {
        "nothing": b"",
        "no header": body,
        "no body": head,
        "body first": body + head,
        "two headers": head + head + body,
        "two bodies": head + body + body,
        "header not compressed": pack_varint(len(plain) << 1 | 1) + plain + body,
        "header compressed and not said": section(packed) + body,
        "half a header": pack_varint(len(plain) << 1) + plain[:-9],
        "half a compressed header": pack_varint((len(packed) - 9) << 1 | 1) + packed[:-9] + body,
        "compressed header and more": pack_varint((len(compress(plain, 3)) + 4) << 1 | 1)
        + compress(plain, 3)
        + b"more",
        "giant header": GIANT + plain + body,
        "header of eleven bytes": ELEVEN + plain + body,
        "unknown body": head + b"X" + forger.body(),
        "body not compressed": head + ZSTD + forger.body(),
        "half a body": head + body[:-9],
        "body and more": head + body + b"more",
        "body and a plain one": head + body + PLAIN + b"\1x",
        "plain body too long": head + PLAIN + pack_varint(len(forger.body()) + 1) + forger.body(),
        "giant plain body": head + PLAIN + GIANT + forger.body(),
        "plain body of nothing": head + PLAIN + b"\0",
        "dictionary too large": head + b"L\x1c" + forger.body(),
        "dictionary too small": head + b"L\x02" + forger.body(),
        "not LZMA": head + b"L\x10" + forger.body(),
        "LZMA without a dictionary": head + b"L",
    }
    for name, payload in payloads.items():
        yield name, seal([payload])
        yield f"{name}, in small frames", seal([payload[at : at + 7] for at in range(0, len(payload), 7)] or [b""])
    honest = seal([head + body])
    yield "no end", seal([head, body], end=False)
    yield "no frames", PREFACE
    yield "half a preface", PREFACE[:2]
    yield "empty", b""
    yield "frame too long", seal([head + body, bytes(MAX_FRAME + 1)])
    yield "giant frame", PREFACE + GIANT
    yield "frame of eleven bytes", PREFACE + ELEVEN
    yield "another magic", b"nxe" + honest[3:]
    for version in (0, 3, 127, 255):
        yield f"version {version}", MAGIC + bytes([version]) + honest[4:]
        yield f"version {version}, and a release", MAGIC + bytes([version]) + pack_text(b"9.0") + honest[4:]
    yield "version 2 with the checksums of version 1", pack_start(2) + honest[4:]
    yield "version 2 and no release", MAGIC + b"\2" + honest[4:]
    yield "version 2 and half a release", pack_start(2)[:-1]
    yield "something after the end", honest + b"\0"
    yield "twice", honest * 2
    yield "twice but for the preface", honest + honest[4:]
    gigabytes = bomb(bomb_size)
    gigabytes = pack_varint(len(gigabytes) << 1 | 1) + gigabytes + body
    yield "header that unpacks to gigabytes", _in_frames(gigabytes)


def forged_bodies(forger: Forger, *, bomb_size: int = _BOMB) -> Iterator[tuple[str, bytes]]:
    recipe = pack_varint(len(forger.recipe)) + forger.recipe
    bodies = {
        "empty": b"",
        "no recipes": b"\0",
        "giant recipes": GIANT,
        "eleven bytes": ELEVEN,
        "giant count": recipe + GIANT,
        "no contents": recipe + b"\0",
        "more after the last": forger.body() + b"\0",
        "fewer than counted": recipe + b"\2" + b"\0\4goal",
        "more than are used": recipe + b"\2" + b"\0\4goal" * 2,
        "one that is not used": pack_varint(2) + b"f\1" + b"\2" + b"\0\4goal" * 2,
    }
    for name, body in bodies.items():
        yield f"body: {name}", forger.of_body(body)
    head = section(pack_header(forger.header))
    long = FIRST_CONTENT + (1 << 20)
    for name, start in (("recipes", GIANT), ("recipe", pack_varint(long)), ("contents", recipe + GIANT)):
        yield f"{name} that unpack to gigabytes", _in_frames(head + ZSTD + bomb(bomb_size, start))


def _in_frames(payload: bytes) -> bytes:
    return seal([payload[at : at + MAX_FRAME] for at in range(0, len(payload), MAX_FRAME)])


def bomb(size: int, start: bytes = b"") -> bytes:
    """Return a small compressed stream of very many zeros."""
    packer = ZstdCompressor(level=1)
    block = bytes(16 << 20)
    parts = [packer.compress(start)]
    parts += [packer.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, packer.flush()])
