"""Deltas that were damaged on the way, and deltas that were made to deceive: their checksums are right."""

import base64
import io
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from nixoci.delta.codecs import Effort, body_compressor
from nixoci.delta.format import BODY, CHECK_SIZE, END, HEADER, MAGIC, MAX_FRAME, VERSION, DeltaWriter, pack_varint
from nixoci.delta.model import STORE_DIR, Base, Header, PathInfo
from nixoci.delta.nar import NarHash, NarWriter
from nixoci.document import unstructure
from nixoci.zstd import ZstdCompressor

Damage = Callable[[random.Random, bytes], bytes]
Content = tuple[bytes, bytes]
"""What precedes a content's residue, and the residue."""


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
    first, second = rng.sample(range(len(parts)), 2)
    parts[first], parts[second] = parts[second], parts[first]
    return MAGIC + b"".join(parts)


def repeat_frame(rng: random.Random, stream: bytes) -> bytes:
    parts = frames(stream)
    parts.insert(rng.randrange(len(parts) + 1), rng.choice(parts))
    return MAGIC + b"".join(parts)


def drop_frame(rng: random.Random, stream: bytes) -> bytes:
    parts = frames(stream)
    del parts[rng.randrange(len(parts))]
    return MAGIC + b"".join(parts)


DAMAGES: list[Damage] = [flip, cut, splice, repeat, reorder, repeat_frame, drop_frame]


def frames(stream: bytes) -> list[bytes]:
    """Return the frames of a delta, each with its checksum."""
    at, found = len(MAGIC), []
    while at < len(stream):
        end = at + 5 + int.from_bytes(stream[at + 1 : at + 5], "big") + CHECK_SIZE
        found.append(stream[at:end])
        at = end
    return found


def damaged(streams: list[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many damaged deltas, each unlike the one that it was, with a name that tells how it was made."""
    rng = random.Random(seed)
    kinds = itertools.cycle(DAMAGES)
    while count:
        stream, damage = rng.choice(streams), next(kinds)
        found = damage(rng, stream)
        if found != stream:
            yield f"{damage.__name__} {count}", found
            count -= 1


def seal(parts: list[tuple[bytes, bytes]]) -> bytes:
    """Return the stream of frames of any kind and payload, with the checksums that belong to them."""
    out = io.BytesIO()
    writer = DeltaWriter(out, ZstdCompressor())
    for kind, payload in parts:
        writer._frame(kind, payload)
    return out.getvalue()


def pack(data: bytes) -> bytes:
    return ZstdCompressor(level=3).compress(data, ZstdCompressor.FLUSH_FRAME)


class Forger:
    """Makes streams whose checksums are right and whose content is not.

    Args:
        base: A path that the receiver has: a directory with `file` (`content`) and the symlink `out` (to /etc).
        path: What the honest stream makes: a file with the content `goal`.
    """

    def __init__(self, base: PathInfo, path: str) -> None:
        self.base = base
        hashed = NarHash()
        nar = NarWriter(hashed, limit=1000, what=path)
        nar.begin_regular(4, executable=False)
        nar.write(b"goal")
        nar.end_regular(4)
        goal = PathInfo(path=path, nar_hash=hashed.sri, nar_size=nar.size)
        bases = (Base(path=base.path, nar_hash=base.nar_hash),)
        self.header = Header(version=VERSION, roots=(path,), bases=bases, paths=(goal,))
        self.recipe = b"f" + pack_varint(4) + pack_varint(1) + pack_varint(1)
        self.contents = [(b"\0\4\4", b"goal")]

    def stream(
        self,
        header: Header | None = None,
        recipe: bytes | None = None,
        contents: list[Content] | None = None,
    ) -> bytes:
        out = io.BytesIO()
        writer = DeltaWriter(out, body_compressor(Effort.FAST))
        writer.header(header or self.header)
        writer.write(self.body(recipe, contents))
        writer.finish()
        return out.getvalue()

    def body(self, recipe: bytes | None = None, contents: list[Content] | None = None) -> bytes:
        recipe = self.recipe if recipe is None else recipe
        contents = self.contents if contents is None else contents
        head = pack_varint(len(recipe)) + recipe + pack_varint(len(contents))
        return head + b"".join(part + residue for part, residue in contents)

    def of_text(self, text: bytes) -> bytes:
        """Return the stream with another header, given as the text of its document."""
        return seal([(HEADER, pack(text)), (BODY, pack(self.body())), (END, b"")])

    def of_document(self, path: tuple[str | int, ...], value: Any) -> bytes:
        """Return the stream with one value of its header's document replaced; None as its name drops a key."""
        document = unstructure(self.header)
        info = document["paths"][0]
        info |= {"references": [self.base.path], "deriver": self.base.path, "signatures": ["k:c2ln"]}
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return self.of_text(json.dumps(document).encode())

    def of_body(self, body: bytes) -> bytes:
        """Return the stream with another body."""
        return seal([(HEADER, pack(json.dumps(unstructure(self.header)).encode())), (BODY, pack(body)), (END, b"")])


OTHER_HASH = "sha256-" + base64.b64encode(bytes(32)).decode()


def bad_paths(path: str) -> list[str]:
    """Return texts that are not a store path, most of them close to the one given."""
    return [
        "/etc/passwd",
        "/nix/store",
        "/nix/store/../../etc/passwd",
        "/nix/store/..",
        f"{path}/../../../etc",
        f"{path}/file",
        f"{path}/",
        f"/{path}",
        f"{STORE_DIR}/{'e' * 32}-letter-not-of-nix",
        f"{path}\n",
        f"{path} ",
        "nix/store/x",
        "",
        f"{path}\0",
        f"{STORE_DIR}/{'b' * 32}-",
        f"{STORE_DIR}/{'b' * 32}-{'x' * 212}",
        f"{STORE_DIR}/{'b' * 32}-ä",
        f"{STORE_DIR}/{'b' * 32}-a/../../../../etc/cron.d/x",
    ]


def forged_headers(goal: str, base: str) -> list[tuple[str, dict[str, object], str]]:
    """Return changes to what a header says of its path, each with its name and a part of the refusal."""
    places: list[tuple[str, dict[str, object], str]] = [
        (f"path {path!r}", {"path": path}, "not a path of the store") for path in bad_paths(goal)
    ]
    return [
        *places,
        ("base as path", {"path": base}, "named twice"),
        ("wrong hash", {"nar_hash": OTHER_HASH}, "rebuilt with narHash"),
        ("no hash", {"nar_hash": ""}, "not sha256"),
        ("hash with a line", {"nar_hash": OTHER_HASH + "\nSig: x"}, "not sha256"),
        ("small", {"nar_size": 100}, "larger than the 100 bytes"),
        ("large", {"nar_size": 1 << 30}, "expected"),
        ("negative", {"nar_size": -1}, "narSize"),
        ("more than Nix can count", {"nar_size": 1 << 63}, "narSize"),
        ("unknown reference", {"references": (f"{STORE_DIR}/{'c' * 32}-other",)}, "neither a base nor an earlier path"),
        ("reference outside", {"references": ("/etc/passwd",)}, "neither a base nor an earlier path"),
        ("deriver outside", {"deriver": "/etc/passwd"}, "not a path of the store"),
        ("signature with a line", {"signatures": ("key:a\nCA: b",)}, "not a signature"),
        ("address with a line", {"content_address": "fixed:\nSig: b"}, "not a content address"),
    ]


def node(name: bytes) -> bytes:
    return b"d" + pack_varint(1) + pack_varint(len(name)) + name + forge_file()


def forge_file() -> bytes:
    return b"f" + pack_varint(4) + pack_varint(1) + pack_varint(1)


def base_copy(path: bytes, base: int = 0) -> bytes:
    return b"c" + pack_varint(base) + pack_varint(len(path)) + path


GIANT = b"\xff" * 8 + b"\x7f"
RECIPES: list[bytes] = [
    *[node(name) for name in (b"", b".", b"..", b"a/b", b"/", b"../x", b"a\0b", b"\0")],
    *[base_copy(path) for path in (b"..", b"../x", b"out/passwd", b"out/../file", b"/etc/passwd", b"./file", b"no")],
    *[base_copy(path) for path in (b"file/x", b"out//passwd", b"a\0b", b"file/", b"out", b"out/hosts/..")],
    *[base_copy(b"file", base) for base in (1, 2, 1 << 40)],
    *[b"f\4\1\0" + base_copy(path)[1:] + b"\0" for path in (b"out/passwd", b"out", b"..", b"no", b"")],
    *[b"f\4\1" + pack_varint(number) for number in (2, 3, 1 << 50)],
    *[kind + GIANT for kind in (b"d", b"l", b"f", b"x", b"s", b"c")],
    *[b"f" + GIANT + b"\1\1", b"f\4" + GIANT + b"\1", b"f\4\0", b"f\4\2\1\1", b"f\5\1\1", b"f\3\1\1"],
    *[b"d\2\1a" + forge_file() + b"\1a" + forge_file(), b"d\2\1b" + forge_file() + b"\1a" + forge_file()],
    *[b"d\1\1a" * depth + forge_file() for depth in (257, 5000, 100_000)],
    *[bytes([kind]) for kind in range(256) if bytes([kind]) not in (b"f", b"x", b"l", b"s", b"c", b"d")][::3],
    *[b"", b"f", b"f\4", b"f\4\1", b"l", b"l\5abc", b"d\1", b"s", b"c\0", forge_file() * 2, forge_file() + b"\0"],
]

HDIFF = b"HDIFF13&\0"
CONTENTS: list[list[Content]] = [
    [],
    [(b"\0\4\4", b"evil")],
    [(b"\0\4\5", b"goal!")],
    [(b"\0\5\4", b"goal")],
    [(b"\0\4" + GIANT, b"goal")],
    [(b"\0" + GIANT + b"\4", b"goal")],
    [(b"\0\4\4", b"goa")],
    [(b"\0\4\4", b"goal more")],
    [(b"\7\0\4file\0\4\4", b"goal")],
    *[
        [(bytes([codec]) + place + b"\4" + pack_varint(len(residue)), residue)]
        for codec in (1, 2)
        for place in (b"\0\4file\0", b"\1\4file\0", b"\0\2..\0", b"\0\13out/passwd\0", b"\0" + GIANT)
        for residue in (
            b"",
            b"goal",
            HDIFF,
            HDIFF + GIANT,
            HDIFF + b"\4",
            HDIFF + b"\4\7" + bytes(12),
            b"\x28\xb5\x2f\xfd",
        )
    ],
]

_PLACES: list[tuple[str | int, ...]] = [
    ("roots", 0),
    ("bases", 0, "path"),
    ("paths", 0, "path"),
    ("paths", 0, "references", 0),
    ("paths", 0, "deriver"),
]
_KEYS: list[tuple[str | int, ...]] = [
    *[("version",), ("roots",), ("bases",), ("paths",)],
    *[("bases", 0), ("bases", 0, "path"), ("bases", 0, "narHash"), ("bases", 0, "more")],
    *[("paths", 0), ("paths", 0, "path"), ("paths", 0, "narHash"), ("paths", 0, "narSize"), ("paths", 0, "more")],
    *[("paths", 0, "references"), ("paths", 0, "deriver"), ("paths", 0, "signatures"), ("paths", 0, "contentAddress")],
    ("more",),
]
_VALUES: list[Any] = [0, -1, 2, 1.0, True, "", "1", {}, {"a": 1}, [[]], [None], "x y", "\n", 10**40]
_BOMB = 3 << 30


def forgeries(forger: Forger) -> Iterator[tuple[str, bytes]]:
    """Yield hostile streams with their names; a store that has the base, and only it, must refuse each of them."""
    goal, base = forger.header.paths[0].path, forger.base.path
    for place, text in itertools.product(_PLACES, bad_paths(goal)):
        yield f"{place} is {text!r}", forger.of_document(place, text)
    for place, value in itertools.product(_KEYS, _VALUES):
        if (place[-1], value) != ("contentAddress", ""):  # says what its absence says
            yield f"{place} is {value!r:.20}", forger.of_document(place, value)
    for change_name, change, _ in forged_headers(goal, base):
        info: PathInfo = replace(forger.header.paths[0], **change)  # type: ignore[arg-type]
        yield change_name, forger.stream(replace(forger.header, paths=(info,), roots=(info.path,)))
    for recipe in RECIPES:
        yield f"recipe {recipe[:12]!r} {len(recipe)}", forger.stream(recipe=recipe)
    for contents in CONTENTS:
        yield f"contents {contents!r}", forger.stream(contents=contents)
    yield from _forged_lies(forger)
    yield from _forged_frames(forger)
    yield from _forged_bodies(forger)


def _forged_lies(forger: Forger) -> Iterator[tuple[str, bytes]]:
    goal, header = forger.header.paths[0], forger.header
    yield "base of another hash", forger.stream(replace(header, bases=(replace(header.bases[0], nar_hash=OTHER_HASH),)))
    absent = Base(path=f"{STORE_DIR}/{'d' * 32}-absent", nar_hash=OTHER_HASH)
    yield "absent base", forger.stream(replace(header, bases=(*header.bases, absent)))
    yield "base twice", forger.stream(replace(header, bases=header.bases * 2))
    yield "path twice", forger.stream(replace(header, paths=(goal, goal)), forger.recipe * 2)
    valid = replace(goal, path=forger.base.path)
    yield "valid path of another hash", forger.stream(replace(header, bases=(), paths=(valid,), roots=(valid.path,)))
    other = replace(goal, path=f"{STORE_DIR}/{'c' * 32}-other")
    for name, lie in (
        ("hash", {"nar_hash": OTHER_HASH}),
        ("size", {"nar_size": goal.nar_size + 8}),
        *[
            (f"address {address[:20]}", {"content_address": address})
            for address in (
                "fixed:r:sha256:" + "0" * 52,
                "fixed:sha256:" + "0" * 52,
                "fixed:r:sha256:" + "0" * 51,
                "text:sha256:" + "0" * 52,
                "fixed:r:md5:",
                "nonsense",
                ":",
            )
        ],
    ):
        lying: PathInfo = replace(other, **lie)  # type: ignore[arg-type]
        yield f"lie about the {name}", forger.stream(replace(header, paths=(lying,), roots=(lying.path,)))
        after = replace(lying, references=(goal.path,))
        yield (
            f"right path, then a lie about the {name}",
            forger.stream(replace(header, paths=(goal, after)), forger.recipe * 2),
        )
    circle = [replace(goal, references=(other.path,)), replace(other, references=(goal.path,))]
    yield "circle", forger.stream(replace(header, paths=tuple(circle)), forger.recipe * 2)
    yield "later reference", forger.stream(replace(header, paths=(circle[0], other)), forger.recipe * 2)
    outside = f"{STORE_DIR}/{'d' * 32}-absent"
    yield "root that it does not make", forger.stream(replace(header, roots=(outside,)))
    yield "too few recipes", forger.stream(replace(header, paths=(goal, other)))


def _forged_frames(forger: Forger) -> Iterator[tuple[str, bytes]]:
    text = json.dumps(unstructure(forger.header)).encode()
    head, body, end = (HEADER, pack(text)), (BODY, pack(forger.body())), (END, b"")
    orders: dict[str, list[tuple[bytes, bytes]]] = {
        "nothing": [],
        "only an end": [end],
        "no header": [body, end],
        "no body": [head, end],
        "no end": [head, body],
        "body first": [body, head, end],
        "header after the body": [head, body, head, end],
        "two headers": [head, head, body, end],
        "two bodies": [head, body, body, end],
        "two ends": [head, body, end, end],
        "end that is not empty": [head, body, (END, b"x")],
        "body after the end": [head, end, body],
        "empty frames": [(HEADER, b""), (BODY, b""), end],
        "frame too long": [(HEADER, bytes(MAX_FRAME + 1)), body, end],
        "unknown frame": [head, (b"X", b""), body, end],
        "header not compressed": [(HEADER, text), body, end],
        "body not compressed": [head, (BODY, forger.body()), end],
        "half a header": [(HEADER, head[1][:-9]), body, end],
        "half a body": [head, (BODY, body[1][:-9]), end],
        "header and more": [(HEADER, head[1] + b"more"), body, end],
        "body and more": [head, (BODY, body[1] + b"more"), end],
    }
    for name, parts in orders.items():
        yield name, seal(parts)
    yield "giant frame", MAGIC + HEADER + b"\xff\xff\xff\xff"
    yield "another magic", b"nixoci-delta2\n" + seal([head, body, end])
    yield "something after the end", seal([head, body, end]) + b"\0"
    pairs = text.rstrip(b"}")
    texts = {
        "duplicate key": pairs + b', "version": 1}',
        "not UTF-8": text.replace(b"app", b"a\xffp"),
        "half a surrogate": text.replace(b"app", b"\\udc80"),
        "not a number": text.replace(b'"version": 1', b'"version": NaN'),
        "not a document": b"[" + text + b"]",
        "deep": b"[" * 200_000,
        "empty": b"",
        "two documents": text * 2,
        "header that unpacks to gigabytes": b"",
    }
    for name, document in texts.items():
        packed = bomb(_BOMB) if "gigabytes" in name else pack(document)
        yield (
            name,
            seal([(HEADER, packed[at : at + MAX_FRAME]) for at in range(0, len(packed), MAX_FRAME)] + [body, end]),
        )


def _forged_bodies(forger: Forger) -> Iterator[tuple[str, bytes]]:
    recipe = pack_varint(len(forger.recipe)) + forger.recipe
    bodies = {
        "empty": b"",
        "no recipes": b"\0",
        "giant recipes": GIANT,
        "eleven bytes": b"\x80" * 10 + b"\1",
        "giant count": recipe + GIANT,
        "no contents": recipe + b"\0",
        "more after the last": forger.body() + b"\0",
        "fewer than counted": recipe + b"\2" + b"\0\4\4goal",
    }
    for name, body in bodies.items():
        yield f"body: {name}", forger.of_body(body)
    head = pack(json.dumps(unstructure(forger.header)).encode())
    for name, start in (("recipes", GIANT), ("contents", recipe + GIANT)):
        packed = bomb(_BOMB, start)
        parts = [(BODY, packed[at : at + MAX_FRAME]) for at in range(0, len(packed), MAX_FRAME)]
        yield f"{name} that unpack to gigabytes", seal([(HEADER, head), *parts, (END, b"")])


def bomb(size: int, start: bytes = b"") -> bytes:
    """Return a small compressed stream of very many zeros."""
    packer = ZstdCompressor(level=1)
    block = bytes(16 << 20)
    parts = [packer.compress(start)]
    parts += [packer.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, packer.flush()])
