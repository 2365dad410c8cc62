"""Damage is noticed before a path is rebuilt, forgery before it is kept."""

import base64
import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from nixoci.delta.codecs import Effort, body_compressor
from nixoci.delta.format import CHECK_SIZE, MAGIC, VERSION, DeltaWriter, pack_varint
from nixoci.delta.model import STORE_DIR, Base, Header, PathInfo
from nixoci.delta.send import Closure
from nixoci.errors import NixociError
from tests.delta.trees import closure, delta, nar, rebuild, store_path

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")
Damage = Callable[[random.Random, bytes], bytes]


@pytest.fixture
def real(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def closures(real: Path) -> tuple[Closure, Closure]:
    rng = random.Random(5)
    old = {b"%d.so" % i: rng.randbytes(30_000) for i in range(40)}
    new = {name: content[:500] + rng.randbytes(100) + content[600:] for name, content in old.items()}
    new[b"new"] = rng.randbytes(3_000_000)
    return closure(real, {OLD: {**old, b"out": ("l", b"/etc")}}), closure(real, {NEW: new})


def refused(stream: bytes, real: Path, folder: Path) -> str:
    with pytest.raises(NixociError) as caught:
        rebuild(stream, real, folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


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


def frames(stream: bytes) -> list[bytes]:
    at, found = len(MAGIC), []
    while at < len(stream):
        end = at + 5 + int.from_bytes(stream[at + 1 : at + 5], "big") + CHECK_SIZE
        found.append(stream[at:end])
        at = end
    return found


@pytest.mark.parametrize("damage", [flip, cut, splice, repeat, reorder, repeat_frame, drop_frame])
def test_damage_is_refused_before_anything_is_rebuilt(
    damage: Damage, closures: tuple[Closure, Closure], real: Path, tmp_path: Path
) -> None:
    stream, _ = delta(*closures, Effort.FAST)
    rng = random.Random(damage.__name__)
    for _ in range(150):
        damaged = damage(rng, stream)
        if damaged != stream:
            refused(damaged, real, tmp_path / "spool")


class Forger:
    """Makes streams whose checksums are right and whose content is not."""

    def __init__(self, real: Path) -> None:
        self.base = next(iter(closure(real, {OLD: {b"file": b"content", b"out": ("l", b"/etc")}}).paths.values()))
        goal = next(iter(closure(real, {NEW: b"goal"}).paths.values()))
        bases = (Base(path=OLD, nar_hash=self.base.nar_hash),)
        self.header = Header(version=VERSION, roots=(NEW,), bases=bases, paths=(goal,))
        self.recipe = b"f" + pack_varint(4) + pack_varint(1) + pack_varint(1)
        self.contents = [(b"\0\4\4", b"goal")]

    def stream(
        self,
        header: Header | None = None,
        recipe: bytes | None = None,
        contents: list[tuple[bytes, bytes]] | None = None,
    ) -> bytes:
        out = io.BytesIO()
        writer = DeltaWriter(out, body_compressor(Effort.FAST))
        writer.header(header or self.header)
        recipe = self.recipe if recipe is None else recipe
        contents = self.contents if contents is None else contents
        writer.write(pack_varint(len(recipe)) + recipe + pack_varint(len(contents)))
        for head, residue in contents:
            writer.write(head + residue)
        writer.finish()
        return out.getvalue()


@pytest.fixture
def forger(real: Path) -> Forger:
    return Forger(real)


def test_the_forger_can_also_be_honest(forger: Forger, real: Path, tmp_path: Path) -> None:
    made = rebuild(forger.stream(), real, tmp_path / "spool")
    assert made == {NEW: nar(real / NEW[len(STORE_DIR) + 1 :])[0]}


OTHER_HASH = "sha256-" + base64.b64encode(bytes(32)).decode()

HEADERS: list[tuple[str, dict[str, object], str]] = [
    *[
        (f"path {path!r}", {"path": cast("object", path)}, "not a path of the store")
        for path in (
            "/etc/passwd",
            "/nix/store",
            "/nix/store/../../etc/passwd",
            f"{NEW}/../../../etc",
            f"{NEW}/file",
            NEW.replace("b", "e"),
            f"{NEW}\n",
            "nix/store/x",
            "",
            f"{NEW}\0",
            f"{STORE_DIR}/{'b' * 32}-{'x' * 212}",
            f"{STORE_DIR}/{'b' * 32}-ä",
        )
    ],
    ("base as path", {"path": OLD}, "named twice"),
    ("wrong hash", {"nar_hash": OTHER_HASH}, "rebuilt with narHash"),
    ("no hash", {"nar_hash": ""}, "not sha256"),
    ("hash with a line", {"nar_hash": OTHER_HASH + "\nSig: x"}, "not sha256"),
    ("small", {"nar_size": 100}, "larger than the 100 bytes"),
    ("large", {"nar_size": 1 << 60}, "expected"),
    ("negative", {"nar_size": -1}, "narSize"),
    ("unknown reference", {"references": (store_path("other", "c"),)}, "neither a base nor an earlier path"),
    ("reference outside", {"references": ("/etc/passwd",)}, "neither a base nor an earlier path"),
    ("deriver outside", {"deriver": "/etc/passwd"}, "not a path of the store"),
    ("signature with a line", {"signatures": ("key:a\nCA: b",)}, "not a signature"),
    ("address with a line", {"content_address": "fixed:\nSig: b"}, "not a signature"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in HEADERS], ids=[case[0] for case in HEADERS])
def test_a_forged_header(forger: Forger, change: dict[str, object], message: str, real: Path, tmp_path: Path) -> None:
    info: PathInfo = replace(forger.header.paths[0], **change)  # type: ignore[arg-type]
    roots = (info.path,)
    header = replace(forger.header, paths=(info,), roots=roots)
    assert message in refused(forger.stream(header), real, tmp_path / "spool")


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


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: repr(recipe[:12]) + str(len(recipe)))
def test_a_forged_recipe(forger: Forger, recipe: bytes, real: Path, tmp_path: Path) -> None:
    refused(forger.stream(recipe=recipe), real, tmp_path / "spool")


HDIFF = b"HDIFF13&\0"
CONTENTS: list[list[tuple[bytes, bytes]]] = [
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


@pytest.mark.parametrize("contents", CONTENTS, ids=repr)
def test_forged_contents(forger: Forger, contents: list[tuple[bytes, bytes]], real: Path, tmp_path: Path) -> None:
    refused(forger.stream(contents=contents), real, tmp_path / "spool")


def test_there_are_enough_of_them() -> None:
    assert len(HEADERS) + len(RECIPES) + len(CONTENTS) >= 200


def test_another_version_is_named(forger: Forger, real: Path, tmp_path: Path) -> None:
    message = refused(forger.stream(replace(forger.header, version=2)), real, tmp_path / "spool")
    assert message == "the delta: version 2 of the format, this nixoci reads 1; update it"


def test_something_else_is_not_a_delta(real: Path, tmp_path: Path) -> None:
    assert "not a nixoci delta" in refused(b"PK\3\4 something else", real, tmp_path / "spool")


def test_a_damaged_base_is_named(closures: tuple[Closure, Closure], real: Path, tmp_path: Path) -> None:
    stream, _ = delta(*closures)
    file = real / OLD[len(STORE_DIR) + 1 :] / "3.so"
    file.chmod(0o644)
    file.write_bytes(bytes(30_000))
    assert refused(stream, real, tmp_path / "spool").startswith(f"{OLD}: damaged in this store")
