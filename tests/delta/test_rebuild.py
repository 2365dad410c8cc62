"""Damage is noticed before a path is rebuilt, forgery before it is kept."""

import io
import itertools
import os
import random
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from nixoci.delta.closure import Closure
from nixoci.delta.codecs.plain import PLAIN
from nixoci.delta.codecs.registry import CODECS
from nixoci.delta.codecs.splice import SPLICE
from nixoci.delta.effort import Effort
from nixoci.delta.format.header import pack_header, read_header
from nixoci.delta.format.model import NEWEST, VERSIONS
from nixoci.delta.format.numbers import pack_text, pack_varint
from nixoci.delta.format.start import MAGIC
from nixoci.delta.format.stream import DeltaReader
from nixoci.delta.rebuild import Rebuilder
from nixoci.errors import DeltaError, NixociError, UnsupportedVersionError
from nixoci.nix_store.path import STORE_DIR, PathInfo, store_path_basename
from nixoci.streams import NullSink
from tests.delta.forgery import (
    CONTENTS,
    DAMAGES,
    FROM_FILE,
    OTHER_HASH,
    RECIPES,
    Content,
    Damage,
    Forger,
    forged_bodies,
    forged_frames,
    forged_headers,
)
from tests.delta.recompress.samples import text, zip_archive
from tests.delta.trees import Spec, closure, delta, make, nar, rebuild, store_path

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")

_BOMB = 256 << 20
"""A size over the limit of every part of a delta."""


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
    new[b"new"] = rng.randbytes(2_200_000)
    return closure(real, {OLD: {**old, b"out": ("l", b"/etc")}}), closure(real, {NEW: new})


def refused(stream: bytes, real: Path, folder: Path, name: str = "") -> str:
    try:
        rebuild(stream, real, folder)
    except NixociError as error:
        text = str(error)
    else:
        pytest.fail(f"taken: {name}")
    assert "\n" not in text, name
    return text


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_before_anything_is_rebuilt(
    damage: Damage, closures: tuple[Closure, Closure], real: Path, tmp_path: Path
) -> None:
    stream, _ = delta(*closures, Effort.FAST)
    rng = random.Random(damage.__name__)
    for _ in range(60):
        damaged = damage(rng, stream)
        if damaged != stream:
            refused(damaged, real, tmp_path / "spool")


@pytest.fixture
def forger(real: Path) -> Forger:
    specs: dict[bytes, Spec] = {b"file": b"content", b"out": ("l", b"/etc")}
    return Forger(closure(real, {OLD: specs}).paths[OLD], NEW)


def test_the_forger_can_also_be_honest(forger: Forger, real: Path, tmp_path: Path) -> None:
    made = rebuild(forger.stream(), real, tmp_path / "spool")
    make(os.fsencode(real / "goal"), b"goal")
    assert made == {NEW: nar(real / "goal")[0]}


def test_the_forger_knows_every_part_of_a_header(forger: Forger) -> None:
    honest = forger.honest_header()
    assert read_header(b"".join(forger.header_parts().values()), "it") == honest
    assert read_header(pack_header(honest), "it") == honest


def test_forged_headers(forger: Forger, real: Path, tmp_path: Path) -> None:
    headers = forged_headers(forger)
    assert len(headers) > 400
    for name, header in headers:
        if not name.startswith(("hash of the base", "hash part of the base")):  # which Nix is asked about
            refused(forger.of_header(header), real, tmp_path / "spool", name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nar_hash": OTHER_HASH}, "rebuilt with narHash"),
        ({"nar_size": 100}, "larger than the 100 bytes"),
        ({"nar_size": 1 << 30}, "expected"),
        ({"path": f"{STORE_DIR}/{'b' * 32}-a b"}, "not a path of the store"),
        ({"path": OLD}, "named twice"),
        ({"signatures": ("key:a\nCA: b",)}, "not a signature"),
    ],
)
def test_a_forged_header_is_told_apart(
    forger: Forger, change: dict[str, object], message: str, real: Path, tmp_path: Path
) -> None:
    info: PathInfo = replace(forger.header.paths[0], **change)  # type: ignore[arg-type]
    header = replace(forger.header, paths=(info,), roots=(info.path,))
    assert message in refused(forger.stream(header), real, tmp_path / "spool")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: repr(recipe[:12]) + str(len(recipe)))
def test_a_forged_recipe(forger: Forger, recipe: bytes, real: Path, tmp_path: Path) -> None:
    refused(forger.stream(recipe=recipe), real, tmp_path / "spool")


@pytest.mark.parametrize("contents", CONTENTS, ids=repr)
def test_forged_contents(forger: Forger, contents: list[Content], real: Path, tmp_path: Path) -> None:
    refused(forger.stream(recipe=FROM_FILE, contents=contents), real, tmp_path / "spool")


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (PLAIN.number << 1, b"goal"),
        (SPLICE.number << 1, b"\0\7goal"),
        (SPLICE.number << 1 | 1, b"\0\7goal"),
    ],
)
def test_honest_contents(forger: Forger, codec: int, payload: bytes, real: Path, tmp_path: Path) -> None:
    """Honest contents, which the forged ones differ from in one place."""
    content = (pack_varint(codec) + pack_varint(len(payload)), payload)
    assert rebuild(forger.stream(recipe=FROM_FILE, contents=[content]), real, tmp_path / "spool")


def test_forged_frames_and_bodies(forger: Forger, real: Path, tmp_path: Path) -> None:
    for name, stream in itertools.chain(forged_frames(forger, bomb_size=_BOMB), forged_bodies(forger, bomb_size=_BOMB)):
        refused(stream, real, tmp_path / "spool", name)


def test_there_are_enough_of_them() -> None:
    assert len(RECIPES) + len(CONTENTS) >= 200


@pytest.mark.parametrize(
    ("release", "needs"),
    [
        (b"7.10.1", ", nixoci 7.10.1 or later"),
        (b"", ""),
        (b"two\nlines", ""),
        (b"1" * 127, ""),
        (b"\xff", ""),
    ],
)
def test_a_newer_version_is_named_before_anything_else_is_read(release: bytes, needs: str) -> None:
    source = io.BytesIO(MAGIC + b"\x09" + pack_text(release) + b"whatever it has")
    with pytest.raises(UnsupportedVersionError) as caught:
        DeltaReader(source.read, what="the delta")
    assert str(caught.value) == (
        f"the delta: this delta needs version 9 of the format{needs}; this nixoci reads up to version 2; update it"
    )
    assert source.read() == b"whatever it has"


def test_a_codec_of_a_newer_version_than_the_stream_is_refused(
    forger: Forger, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = b"\0\7goal"
    content = (pack_varint(SPLICE.number << 1) + pack_varint(len(payload)), payload)
    stream = forger.stream(recipe=FROM_FILE, contents=[content])
    monkeypatch.setitem(CODECS, SPLICE.number, replace(SPLICE, version=2))
    message = refused(stream, real, tmp_path / "spool")
    assert "content 0 has codec 3, and version 1 of the format has no such codec" in message


def test_every_codec_is_of_a_version_that_is_read() -> None:
    assert {codec.version for codec in CODECS.values()} <= set(VERSIONS)
    assert list(VERSIONS) == list(range(1, NEWEST + 1))


def test_something_else_is_not_a_delta(real: Path, tmp_path: Path) -> None:
    assert "not a nixoci delta" in refused(b"PK\3\4 something else", real, tmp_path / "spool")


def test_a_damaged_base_is_named(closures: tuple[Closure, Closure], real: Path, tmp_path: Path) -> None:
    stream, _ = delta(*closures)
    file = real / store_path_basename(OLD) / "3.so"
    file.chmod(0o644)
    file.write_bytes(bytes(30_000))
    assert refused(stream, real, tmp_path / "spool").startswith(f"{OLD}: damaged in this store")


def test_a_nar_shorter_than_declared_is_refused_here(forger: Forger, real: Path, tmp_path: Path) -> None:
    """Nix would wait for the rest of it, and never answer."""
    info = replace(forger.header.paths[0], nar_size=1 << 20)
    stream = DeltaReader(io.BytesIO(forger.stream(replace(forger.header, paths=(info,)))).read, what="the delta")
    header = stream.header()
    rebuilder = Rebuilder(stream, header, header.bases_below(real), tmp_path)
    with pytest.raises(DeltaError, match=f"^{NEW}: rebuilt with 120 bytes, expected 1048576"):
        rebuilder.write(info, io.BytesIO())


def rebuilder(stream: bytes, real: Path, folder: Path, **options: Any) -> Rebuilder:
    reader = DeltaReader(io.BytesIO(stream).read, what="the delta")
    header = reader.header()
    return Rebuilder(reader, header, header.bases_below(real), folder, **options)


def test_payloads_may_be_bounded(closures: tuple[Closure, Closure], tmp_path: Path) -> None:
    old, new = closures
    stream = delta(old, new)[0]
    size = rebuilder(stream, old.real, tmp_path).payload_size
    assert size == (tmp_path / "payloads").stat().st_size > 2_200_000
    rebuilder(stream, old.real, tmp_path, most_payloads=size)
    with pytest.raises(DeltaError, match=rf"^the delta: its payloads have more than {size - 1} bytes"):
        rebuilder(stream, old.real, tmp_path, most_payloads=size - 1)


def test_a_small_delta_needs_little_space(
    closures: tuple[Closure, Closure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has the bytes of the payloads and a little more is enough."""
    old, new = closures
    stream = delta(old, new)[0]
    size = rebuilder(stream, old.real, tmp_path).payload_size
    free = [size + (1 << 20)]
    monkeypatch.setattr("nixoci.delta.spool.shutil.disk_usage", lambda _: SimpleNamespace(free=free[0]))
    assert rebuilder(stream, old.real, tmp_path).payload_size == size
    free[0] = 1000
    with pytest.raises(DeltaError, match=r"which has 1000; set TMPDIR to another directory$"):
        rebuilder(stream, old.real, tmp_path)


def test_one_path_is_rebuilt_on_several_threads(closures: tuple[Closure, Closure], tmp_path: Path) -> None:
    old, new = closures
    one = rebuilder(delta(old, new)[0], old.real, tmp_path)
    expected = nar(new.on_disk(NEW))[0]

    def write(_: int) -> bool:
        out = io.BytesIO()
        one.write(new.paths[NEW], out)
        return out.getvalue() == expected

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(24))) == [True] * 24


@pytest.mark.parametrize("threads", [0, 1])
def test_a_small_nar_needs_no_threads(
    closures: tuple[Closure, Closure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """To start them would take longer than to write it."""
    started: list[object] = []
    start = Thread.start

    def noted(thread: Thread) -> None:
        started.append(thread)
        start(thread)

    old, new = closures
    one = rebuilder(delta(old, new)[0], old.real, tmp_path)
    monkeypatch.setattr("nixoci.delta.rebuild._SMALL", 0 if threads else 8 << 20)
    monkeypatch.setattr(Thread, "start", noted)
    out = io.BytesIO()
    one.write(new.paths[NEW], out)
    assert out.getvalue() == nar(new.on_disk(NEW))[0]
    assert bool(started) == bool(threads)


@pytest.mark.parametrize("explained", [False, True])
@pytest.mark.parametrize("level", [1, 0])
def test_an_encoder_that_makes_other_bytes_is_named(
    level: int, *, explained: bool, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, or once the NAR has another size than declared: at level 0 it has more bytes."""
    one, two = (zip_archive({"a": text(seed, 9000)}) for seed in (1, 2))
    old, new = (closure(real, {path: {b"a.jar": data}}) for path, data in ((OLD, one), (NEW, two)))
    stream, summary = delta(old, new)
    assert summary.by["deflate"].count == 1
    deflate = zlib.compressobj
    monkeypatch.setattr("zlib.compressobj", lambda _, *how: deflate(level, *how))
    monkeypatch.setattr("nixoci.delta.recompress.encoders.fingerprint", lambda *_: "other")
    reader = DeltaReader(io.BytesIO(stream).read, what="the delta")
    header = reader.header()
    rebuilder = Rebuilder(reader, header, header.bases_below(real), tmp_path)
    (info,) = header.paths
    with pytest.raises(DeltaError, match=f"^{NEW}: zlib of this machine makes other bytes than "):
        rebuilder.write(info, io.BytesIO(), explained=explained)
    with pytest.raises(DeltaError, match=f"^{NEW}: zlib of this machine makes other bytes than "):
        rebuilder.check(info)


def test_an_old_segment_that_a_codec_has_copied_is_freed(real: Path, tmp_path: Path) -> None:
    size = 8 << 20
    content = random.Random(1).randbytes(size)
    swapped = content[size // 2 :] + content[: size // 2]
    old, new = (closure(real, {path: {b"big": data}}) for path, data in ((OLD, content), (NEW, swapped)))
    stream, summary = delta(old, new, Effort.FAST)
    assert list(summary.by) == ["zstd"]
    reader = DeltaReader(io.BytesIO(stream).read, what="the delta")
    header = reader.header()
    rebuilder = Rebuilder(reader, header, header.bases_below(real), tmp_path)
    tracemalloc.start()
    try:
        rebuilder.write(header.paths[0], NullSink())
        assert 2 * size < tracemalloc.get_traced_memory()[1] < 2.7 * size  # the copy, and the old or the new segment
    finally:
        tracemalloc.stop()
