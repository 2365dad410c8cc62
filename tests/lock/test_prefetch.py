"""The choice of images to prefetch; tests/host has tests with a real store."""

from __future__ import annotations

import pytest

from nixoci.errors import LockError, PlatformError
from nixoci.lock.model import LockedNarHash
from nixoci.lock.prefetch import prefetch_targets, with_nar_hash
from nixoci.oci.model import Platform
from tests.nix_language.locks import image, lock, platform

LOCK = lock(
    web=image("docker.io/library/nginx:1.27", amd64=platform("web", "a", "b"), arm64=platform("web on arm", "a")),
    data=image("docker.io/library/redis:7", amd64=platform("data", "a")),
)


def chosen(*names: str, platforms: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [
        (each.name, each.platform)
        for each in prefetch_targets(LOCK, names, [Platform.parse(text) for text in platforms])
    ]


def test_all_that_is_locked_by_default() -> None:
    assert chosen() == [("web", "linux/amd64"), ("web", "linux/arm64"), ("data", "linux/amd64")]
    assert chosen("data") == [("data", "linux/amd64")]


def test_platforms_may_be_chosen_in_any_spelling() -> None:
    assert chosen(platforms=("linux/arm64/v8",)) == [("web", "linux/arm64")]


def test_a_platform_that_is_not_locked() -> None:
    with pytest.raises(PlatformError) as caught:
        chosen("data", platforms=("linux/amd64", "linux/arm64"))
    says = "platform linux/arm64: no image is locked for it; add it with `nixoci add REF --platform linux/arm64`"
    assert str(caught.value) == says


def test_an_image_that_is_not_locked() -> None:
    with pytest.raises(LockError, match=r"^image x: not in the lock; there is data, web$"):
        chosen("x")


def test_the_blobs_are_all_that_the_derivations_fetch() -> None:
    web = prefetch_targets(LOCK, ["web"], [Platform.parse("linux/amd64")])[0]
    assert [blob.digest for blob in web.blobs] == [
        web.locked.manifest.digest,
        web.locked.config.digest,
        *(layer.digest for layer in web.locked.layers),
    ]


def test_a_hash_is_pinned_for_one_platform_only() -> None:
    web = prefetch_targets(LOCK, ["web"])[1]
    hashed = LockedNarHash(format=1, hash="sha256-x")
    images = with_nar_hash(LOCK, web, hashed).images
    assert images["web"].platforms["linux/arm64"].nar_hash == hashed
    assert images["web"].platforms["linux/amd64"] == LOCK.images["web"].platforms["linux/amd64"]
    assert images["data"] == LOCK.images["data"]
