"""Damage is noticed before a path is rebuilt, forgery before it is kept."""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from nixoci.delta.codecs import Effort
from nixoci.delta.model import STORE_DIR, PathInfo
from nixoci.delta.send import Closure
from nixoci.errors import NixociError
from tests.delta.forgery import CONTENTS, DAMAGES, RECIPES, Content, Damage, Forger, forged_headers
from tests.delta.trees import Spec, closure, delta, make, nar, rebuild, store_path

OLD, NEW = store_path("app-1.0", "a"), store_path("app-1.1", "b")


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


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_before_anything_is_rebuilt(
    damage: Damage, closures: tuple[Closure, Closure], real: Path, tmp_path: Path
) -> None:
    stream, _ = delta(*closures, Effort.FAST)
    rng = random.Random(damage.__name__)
    for _ in range(150):
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


HEADERS = forged_headers(NEW, OLD)


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in HEADERS], ids=[case[0] for case in HEADERS])
def test_a_forged_header(forger: Forger, change: dict[str, object], message: str, real: Path, tmp_path: Path) -> None:
    info: PathInfo = replace(forger.header.paths[0], **change)  # type: ignore[arg-type]
    roots = (info.path,)
    header = replace(forger.header, paths=(info,), roots=roots)
    assert message in refused(forger.stream(header), real, tmp_path / "spool")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: repr(recipe[:12]) + str(len(recipe)))
def test_a_forged_recipe(forger: Forger, recipe: bytes, real: Path, tmp_path: Path) -> None:
    refused(forger.stream(recipe=recipe), real, tmp_path / "spool")


@pytest.mark.parametrize("contents", CONTENTS, ids=repr)
def test_forged_contents(forger: Forger, contents: list[Content], real: Path, tmp_path: Path) -> None:
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
