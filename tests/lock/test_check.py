from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.image_path import FORMAT_VERSION
from nixoci.lock import pin
from nixoci.lock.check import Outdated, outdated, verify
from nixoci.lock.model import Lock, LockedNarHash, LockedPlatform
from nixoci.lock.pin import Pinning
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from nixoci.oci.registry import RegistryAccess
from tests.support.layout import blob_path, tar_stream, write_layout
from tests.support.skopeo import install_skopeo

if TYPE_CHECKING:
    from pathlib import Path

APP = "registry.example/app:1.0"
AMD64 = "linux/amd64"
PREFETCH = "`nixoci prefetch app` makes it again"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def pinning(tmp_path: Path, layout: Path, monkeypatch: pytest.MonkeyPatch) -> Pinning:
    install_skopeo(monkeypatch, tmp_path, layout, tags=["1.0", "1.1", "1.2", "1.2-alpine", "latest"])
    return Pinning(directory=tmp_path, access=RegistryAccess())


@pytest.fixture
def lock(layout: Path, pinning: Pinning) -> Lock:
    write_layout(layout, [tar_stream({"a": b""})], tag="1.0")
    return pin.add(Lock(version=1), APP, pinning=pinning, platforms=[Platform.parse(AMD64)])[0]


def changed(lock: Lock, **changes: Any) -> Lock:
    """Return the lock with a platform that was changed by hand."""
    image = lock.images["app"]
    platform: LockedPlatform = replace(image.platforms[AMD64], **changes)
    return replace(lock, images={"app": replace(image, platforms={AMD64: platform})})


def problems(lock: Lock, pinning: Pinning | None = None) -> list[str]:
    return list(map(str, verify(lock, pinning=pinning)))


def test_what_was_pinned_is_right(lock: Lock, pinning: Pinning) -> None:
    assert problems(lock) == problems(lock, pinning) == []


def test_what_was_pinned_stays_right_when_the_tag_moves(lock: Lock, layout: Path, pinning: Pinning) -> None:
    write_layout(layout, [], tag="1.0")
    assert problems(lock, pinning) == []


def test_layers_that_are_not_the_configs(lock: Lock) -> None:
    says = "the diff ids of the config are not those of the 0 layers; `nixoci update app` writes it again"
    assert problems(changed(lock, layers=[])) == [f"image app, linux/amd64: {says}"]


def test_a_config_that_is_none(lock: Lock) -> None:
    config = replace(lock.images["app"].platforms[AMD64].config, value={"os": "linux", "architecture": "amd64"})
    says = "config.value: rootfs: is missing; `nixoci update app` writes it again"
    assert problems(changed(lock, config=config)) == [f"image app, linux/amd64: {says}"]


def test_a_hash_of_another_format(lock: Lock) -> None:
    other = FORMAT_VERSION + 1
    says = f"narHash is of extraction format {other}, this nixoci writes {FORMAT_VERSION}; {PREFETCH}"
    hashed = changed(lock, nar_hash=LockedNarHash(format=other, hash="sha256-x"))
    assert problems(hashed) == [f"image app, linux/amd64: {says}"]


def test_a_config_that_was_edited(lock: Lock, pinning: Pinning) -> None:
    config = lock.images["app"].platforms[AMD64].config
    edited = changed(lock, config=replace(config, value={**config.value, "config": {"User": "root"}}))
    digest = lock.images["app"].digest
    says = f"config is not what {APP} has at {digest}; `nixoci update app` writes it again"
    assert problems(edited) == []
    assert problems(edited, pinning) == [f"image app, linux/amd64: {says}"]


def test_what_is_gone(lock: Lock, layout: Path, pinning: Pinning) -> None:
    blob_path(layout, lock.images["app"].digest).unlink()
    (problem,) = verify(lock, pinning=pinning)
    assert problem.message.startswith(f"registry.example/app@{lock.images['app'].digest}: skopeo says: ")


def test_newer_tags(lock: Lock, pinning: Pinning) -> None:
    assert outdated(lock, pinning=pinning) == [Outdated(image="app", reference=APP, moved=False, newer=["1.1", "1.2"])]


def test_a_tag_that_moved(layout: Path, pinning: Pinning) -> None:
    write_layout(layout, [], tag="1.2")
    lock, _ = pin.add(Lock(version=1), "registry.example/app:1.2", pinning=pinning, platforms=[Platform.parse(AMD64)])
    assert outdated(lock, pinning=pinning) == []
    write_layout(layout, [tar_stream({"new": b""})], tag="1.2")
    (found,) = outdated(lock, ["app"], pinning=pinning)
    assert (found.moved, found.newer) == (True, [])


def test_local_sources_have_no_tags_to_follow(layout: Path, pinning: Pinning) -> None:
    write_layout(layout, [], tag="1.0")
    source = f"oci:{layout}:1.0"
    lock, _ = pin.add(Lock(version=1), source, pinning=pinning, platforms=[Platform.parse(AMD64)])
    assert outdated(lock, pinning=pinning) == []
    assert write_layout(layout, [tar_stream({"new": b""})], tag="1.0") != Digest.of(b"")
    assert [found.moved for found in outdated(lock, pinning=pinning)] == [True]
