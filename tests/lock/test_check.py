from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.check import Outdated, outdated_images, verify_lock
from nixoci.lock.context import LockContext
from nixoci.lock.model import Lock, LockedNarHash, LockedPlatform
from nixoci.lock.pin import add_image
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from tests.support.layout import blob_path, tar_stream, write_layout
from tests.support.skopeo import install_skopeo

if TYPE_CHECKING:
    from pathlib import Path

APP = "registry.example/app:1.0"
AMD64 = "linux/amd64"
PREFETCH = "`nixoci prefetch app` computes it again"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def context(tmp_path: Path, layout: Path, monkeypatch: pytest.MonkeyPatch) -> LockContext:
    install_skopeo(monkeypatch, tmp_path, layout, tags=["1.0", "1.1", "1.2", "1.2-alpine", "latest"])
    return LockContext(directory=tmp_path)


@pytest.fixture
def lock(layout: Path, context: LockContext) -> Lock:
    write_layout(layout, [tar_stream({"a": b""})], tag="1.0")
    return add_image(Lock(version=1), APP, context=context, platforms=[Platform.parse(AMD64)])[0]


def changed(lock: Lock, **changes: Any) -> Lock:
    """Return the lock with a platform that was changed by hand."""
    image = lock.images["app"]
    platform: LockedPlatform = replace(image.platforms[AMD64], **changes)
    return replace(lock, images={"app": replace(image, platforms={AMD64: platform})})


def problems(lock: Lock, context: LockContext | None = None) -> list[str]:
    return list(map(str, verify_lock(lock, context=context)))


def test_what_was_pinned_is_right(lock: Lock, context: LockContext) -> None:
    assert problems(lock) == problems(lock, context) == []


def test_what_was_pinned_stays_right_when_the_tag_moves(lock: Lock, layout: Path, context: LockContext) -> None:
    write_layout(layout, [], tag="1.0")
    assert problems(lock, context) == []


def test_layers_that_are_not_the_configs(lock: Lock) -> None:
    says = "the diff ids of the config are not those of the 0 layers; `nixoci update app` writes it again"
    assert problems(changed(lock, layers=[])) == [f"image app, linux/amd64: {says}"]


def test_a_config_that_is_none(lock: Lock) -> None:
    config = replace(lock.images["app"].platforms[AMD64].config, value={"os": "linux", "rootfs": 1})
    says = "config.value: rootfs: expected an object, got 1; `nixoci update app` writes it again"
    assert problems(changed(lock, config=config)) == [f"image app, linux/amd64: {says}"]


def test_a_hash_of_another_format(lock: Lock) -> None:
    other = FORMAT_VERSION + 1
    says = f"narHash is of extraction format {other}, this nixoci writes {FORMAT_VERSION}; {PREFETCH}"
    hashed = changed(lock, nar_hash=LockedNarHash(format=other, hash="sha256-x"))
    assert problems(hashed) == [f"image app, linux/amd64: {says}"]


def test_a_config_that_was_edited(lock: Lock, context: LockContext) -> None:
    config = lock.images["app"].platforms[AMD64].config
    edited = changed(lock, config=replace(config, value={**config.value, "config": {"User": "root"}}))
    digest = lock.images["app"].digest
    says = f"config differs from that of {APP} at {digest}; `nixoci update app` writes it again"
    assert problems(edited) == []
    assert problems(edited, context) == [f"image app, linux/amd64: {says}"]


def test_what_is_gone(lock: Lock, layout: Path, context: LockContext) -> None:
    blob_path(layout, lock.images["app"].digest).unlink()
    (problem,) = verify_lock(lock, context=context)
    assert problem.message.startswith(f"registry.example/app@{lock.images['app'].digest}: skopeo says: ")


def test_a_source_that_cannot_be_read_is_a_problem_of_its_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context, lock = LockContext(directory=tmp_path), Lock(version=1)
    for name in ("bad", "good"):
        write_layout(tmp_path / name, [tar_stream({name: b""})], tag="1.0")
        source = f"oci:{name}:1.0"
        lock, _ = add_image(lock, source, context=context, name=name, platforms=[Platform.parse(AMD64)])
    index = tmp_path / "bad/index.json"
    index.unlink()
    index.symlink_to("index.json")
    assert problems(lock, context) == [f"image bad, {AMD64}: {index}: Too many levels of symbolic links"]


def test_newer_tags(lock: Lock, context: LockContext) -> None:
    assert outdated_images(lock, context=context) == [
        Outdated(name="app", reference=APP, moved=False, newer=["1.1", "1.2"])
    ]


def test_a_tag_that_moved(layout: Path, context: LockContext) -> None:
    write_layout(layout, [], tag="1.2")
    lock, _ = add_image(Lock(version=1), "registry.example/app:1.2", context=context, platforms=[Platform.parse(AMD64)])
    assert outdated_images(lock, context=context) == []
    write_layout(layout, [tar_stream({"new": b""})], tag="1.2")
    (found,) = outdated_images(lock, ["app"], context=context)
    assert (found.moved, found.newer) == (True, [])


def test_local_sources_have_no_tags_to_follow(layout: Path, context: LockContext) -> None:
    write_layout(layout, [], tag="1.0")
    source = f"oci:{layout}:1.0"
    lock, _ = add_image(Lock(version=1), source, context=context, platforms=[Platform.parse(AMD64)])
    assert outdated_images(lock, context=context) == []
    assert write_layout(layout, [tar_stream({"new": b""})], tag="1.0") != Digest.of(b"")
    assert [found.moved for found in outdated_images(lock, context=context)] == [True]
