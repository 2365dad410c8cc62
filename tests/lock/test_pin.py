from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import DocumentError, ImageError, InvalidReferenceError, LockError, PlatformError
from nixoci.lock.context import LockContext
from nixoci.lock.model import Lock, LockedNarHash
from nixoci.lock.pin import add_image, remove_image, update_images
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from tests.support.layout import blob_path, tar_stream, write_docker_archive, write_layout, write_platforms
from tests.support.skopeo import install_skopeo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.skopeo import Skopeo

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
EMPTY = Lock(version=1)
NAR_HASH = LockedNarHash(format=1, hash="sha256-x")
APP = "registry.example/app"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def context(tmp_path: Path) -> LockContext:
    return LockContext(directory=tmp_path)


@pytest.fixture
def skopeo(tmp_path: Path, layout: Path, monkeypatch: pytest.MonkeyPatch) -> Skopeo:
    return install_skopeo(monkeypatch, tmp_path, layout, tags=["1.0", "1.1", "1.1-alpine"])


def with_nar_hash(lock: Lock, name: str) -> Lock:
    image = lock.images[name]
    platforms = {key: replace(platform, nar_hash=NAR_HASH) for key, platform in image.platforms.items()}
    return replace(lock, images={**lock.images, name: replace(image, platforms=platforms)})


def nar_hashes(lock: Lock, name: str) -> list[LockedNarHash | None]:
    return [platform.nar_hash for platform in lock.images[name].platforms.values()]


@pytest.mark.usefixtures("skopeo")
def test_an_image_is_pinned_with_all_that_evaluation_needs(layout: Path, context: LockContext) -> None:
    layers = [tar_stream({"a": b"1"}), tar_stream({"b": b"2"})]
    digest = write_layout(layout, layers, tag="1.0", config={"config": {"Cmd": ["sh"]}})
    lock, name = add_image(EMPTY, f"{APP}:1.0", context=context, platforms=[AMD64])
    assert name == "app"
    image = lock.images["app"]
    assert (image.reference, image.digest) == (f"{APP}:1.0", digest)
    platform = image.platforms["linux/amd64"]
    assert platform.manifest.digest == digest
    assert platform.config.value == json.loads(blob_path(layout, platform.config.digest).read_bytes())
    assert [layer.diff_id for layer in platform.layers] == [Digest.of(layer) for layer in layers]
    for layer in platform.layers:
        assert layer.size == blob_path(layout, layer.digest).stat().st_size


def test_only_manifests_and_configs_are_read(layout: Path, context: LockContext, skopeo: Skopeo) -> None:
    write_platforms(layout, "linux/amd64", "linux/arm64", tag="1.0")
    add_image(EMPTY, f"{APP}:1.0", context=context, platforms=[AMD64, ARM64])
    calls = skopeo.calls()
    assert len(calls) == 5, "an index, two manifests, two configs"
    assert {call[0] for call in calls} == {"inspect"}


def test_a_platform_is_added_to_the_same_pin(layout: Path, context: LockContext) -> None:
    write_platforms(layout, "linux/amd64", "linux/arm64/v8", tag="1.0")
    before, _ = add_image(EMPTY, f"oci:{layout}:1.0", context=context, name="app", platforms=[AMD64])
    before = with_nar_hash(before, "app")
    after, _ = add_image(before, f"oci:{layout}:1.0", context=context, name="app", platforms=[ARM64])
    assert list(after.images["app"].platforms) == ["linux/amd64", "linux/arm64"]
    assert nar_hashes(after, "app") == [NAR_HASH, None]
    assert add_image(after, f"oci:{layout}:1.0", context=context, name="app", platforms=[AMD64])[0] is after


@pytest.mark.usefixtures("skopeo")
def test_a_platform_is_added_where_the_tag_was(layout: Path, context: LockContext) -> None:
    write_platforms(layout, "linux/amd64", "linux/arm64", tag="1.0")
    before, _ = add_image(EMPTY, f"{APP}:1.0", context=context, platforms=[AMD64])
    write_layout(layout, [tar_stream({"new": b""})], tag="1.0")
    after, _ = add_image(before, f"{APP}:1.0", context=context, platforms=[ARM64])
    assert after.images["app"].digest == before.images["app"].digest
    assert len(after.images["app"].platforms) == 2


def test_a_local_source_that_changed_needs_an_update(layout: Path, context: LockContext) -> None:
    old = write_layout(layout, [])
    before, _ = add_image(EMPTY, f"oci:{layout}", context=context, name="app", platforms=[AMD64])
    new = write_layout(layout, [tar_stream({"new": b""})])
    with pytest.raises(LockError) as caught:
        add_image(before, f"oci:{layout}", context=context, name="app", platforms=[ARM64])
    assert f"oci:{layout} is {new} now, the lock has {old}" in str(caught.value)
    assert "`nixoci update app`" in str(caught.value)


def test_a_name_is_of_one_image(layout: Path, context: LockContext) -> None:
    write_layout(layout, [], tag="1.0")
    write_layout(layout, [], tag="2.0")
    before, _ = add_image(EMPTY, f"oci:{layout}:1.0", context=context, name="app", platforms=[AMD64])
    with pytest.raises(LockError) as caught:
        add_image(before, f"oci:{layout}:2.0", context=context, name="app", platforms=[AMD64])
    assert str(caught.value) == (
        f"image app: is oci:{layout}:1.0 already, so it cannot be oci:{layout}:2.0; run `nixoci update app --tag 2.0`"
        " to pin that tag, or choose another name with --name"
    )
    with pytest.raises(LockError, match="remove it first with `nixoci remove app`"):
        add_image(before, "registry.example/app:1.0", context=context, name="app", platforms=[AMD64])


@pytest.mark.parametrize("name", ["", "a b", ".hidden", "a/b", "-a", "é", "a\n"])
def test_a_name_that_nix_would_not_take(layout: Path, context: LockContext, name: str) -> None:
    write_layout(layout, [])
    with pytest.raises(LockError) as caught:
        add_image(EMPTY, f"oci:{layout}", context=context, name=name)
    says = f"name {name!r}: not a valid name, expected [a-zA-Z0-9_][a-zA-Z0-9+._?=-]*; choose one with --name"
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("oci:layout", "layout"),
        ("oci:./layout:1.0", "layout"),
        ("docker-archive:a.tar", "a"),
        ("docker-archive:a.tar:quay.io/org/web:1", "web"),
    ],
)
def test_names_follow_from_the_source(
    tmp_path: Path, layout: Path, context: LockContext, source: str, name: str
) -> None:
    write_layout(layout, [], tag="1.0")
    write_docker_archive(tmp_path / "a.tar", [], tags=["quay.io/org/web:1"])
    _, found = add_image(EMPTY, source, context=context, platforms=[AMD64], working_directory=tmp_path)
    assert found == name


def test_a_relative_path_is_relative_to_the_lock(tmp_path: Path, layout: Path, context: LockContext) -> None:
    write_layout(layout, [])
    (tmp_path / "sub").mkdir()
    lock, _ = add_image(EMPTY, "oci:../layout", context=context, platforms=[AMD64], working_directory=tmp_path / "sub")
    assert lock.images["layout"].reference == "oci:layout"
    assert update_images(lock, [], context=context) == lock
    lock, _ = add_image(EMPTY, f"oci:{layout}", context=context, platforms=[AMD64])
    assert lock.images["layout"].reference == f"oci:{layout}"


def test_single_blobs_are_not_pinned(context: LockContext) -> None:
    digest = Digest.of(b"")
    with pytest.raises(LockError) as caught:
        add_image(EMPTY, f"blobs:{digest}", context=context)
    assert str(caught.value).startswith(f"source blobs:{digest}: ")
    assert "use a layout" in str(caught.value)


@pytest.mark.usefixtures("skopeo")
def test_an_update_takes_what_the_tag_is_now(layout: Path, context: LockContext) -> None:
    write_layout(layout, [], tag="1.0")
    before, _ = add_image(EMPTY, f"{APP}:1.0", context=context, platforms=[AMD64])
    before = with_nar_hash(before, "app")
    assert update_images(before, ["app"], context=context) == before, "the hash of what has not changed is kept"
    digest = write_layout(layout, [tar_stream({"new": b""})], tag="1.0")
    after = update_images(before, [], context=context)
    assert after.images["app"].digest == digest
    assert nar_hashes(after, "app") == [None]


@pytest.mark.usefixtures("skopeo")
def test_an_update_to_another_tag(layout: Path, context: LockContext) -> None:
    write_layout(layout, [], tag="1.0")
    digest = write_layout(layout, [tar_stream({"new": b""})], tag="1.1")
    before, _ = add_image(EMPTY, f"{APP}:1.0", context=context, platforms=[AMD64])
    after = update_images(before, ["app"], context=context, tag="1.1").images["app"]
    assert (after.reference, after.digest) == (f"{APP}:1.1", digest)
    with pytest.raises(InvalidReferenceError, match="'-' is not a tag"):
        update_images(before, ["app"], context=context, tag="-")
    with pytest.raises(LockError, match=r"^image app: the tag is empty; give one, or update without --tag$"):
        update_images(before, ["app"], context=context, tag="")


def test_an_update_keeps_the_platforms(layout: Path, context: LockContext) -> None:
    write_platforms(layout, "linux/amd64", "linux/arm/v6")
    before, _ = add_image(EMPTY, f"oci:{layout}", context=context, platforms=[AMD64, Platform.parse("linux/arm/v7")])
    assert list(before.images["layout"].platforms) == ["linux/amd64", "linux/arm/v7"], "keyed by what was asked for"
    newer = write_platforms(layout, "linux/amd64", "linux/arm/v6", "linux/arm/v7")
    after = update_images(before, [], context=context).images["layout"]
    assert after.platforms["linux/arm/v7"].manifest.digest == newer["linux/arm/v7"]
    write_platforms(layout, "linux/amd64")
    with pytest.raises(PlatformError, match="no image for linux/arm/v7; choose"):
        update_images(before, [], context=context)


def test_images_are_removed(layout: Path, context: LockContext) -> None:
    write_layout(layout, [])
    lock, _ = add_image(EMPTY, f"oci:{layout}", context=context, name="a", platforms=[AMD64])
    lock, _ = add_image(lock, f"oci:{layout}", context=context, name="b", platforms=[AMD64])
    assert list(remove_image(lock, "a").images) == ["b"]
    with pytest.raises(LockError, match=r"^image c: not in the lock; there is a, b$"):
        remove_image(lock, "c")


def test_a_config_that_could_not_be_written_again(layout: Path, context: LockContext) -> None:
    write_layout(layout, [], config={"author": "\ud800"})
    with pytest.raises(DocumentError, match=r"not valid JSON: .*surrogates not allowed"):
        add_image(EMPTY, f"oci:{layout}", context=context, platforms=[AMD64])


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"config": {"Labels": {"a": "\0"}}}, "value.config.Labels.a"),
        ({"config": {"Labels": {"a\0": ""}}}, r'value.config.Labels: the key "a\u0000"'),
        ({"config": {"Env": ["A=1", "B=\0"]}}, "value.config.Env[1]"),
    ],
)
def test_a_config_that_nix_could_not_read(
    layout: Path, context: LockContext, config: dict[str, Any], place: str
) -> None:
    write_layout(layout, [], config=config)
    with pytest.raises(
        ImageError, match=rf"^config sha256:[0-9a-f]+: {re.escape(place)}: has the character NUL, which "
    ):
        add_image(EMPTY, f"oci:{layout}", context=context, platforms=[AMD64])
    write_layout(layout, [], config={"author": r"\u0000"})
    assert add_image(EMPTY, f"oci:{layout}", context=context, name="a", platforms=[AMD64])[1] == "a"
