from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import StoreError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import read_image_store
from nixoci.image_store.join import join_image_stores
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixoci.image_path import ImagePath


def entries(folder: Path, images: Sequence[ImagePath], *, rootless: bool = False) -> list[Path]:
    stores = [folder / f"entry-{number}" for number, _ in enumerate(images)]
    for store, image in zip(stores, images, strict=True):
        build_image_store(store, [image], mkcomposefs=None, rootless=rootless)
    return stores


def sample_images(folder: Path) -> list[ImagePath]:
    """Return an image, the same under another name, another config over its tree, and another tree."""
    return [
        image_path(folder / "a", small_tree()),
        image_path(folder / "b", small_tree(), reference="docker.io/library/other:2"),
        image_path(folder / "c", small_tree(), reference="docker.io/library/c:1", config={"config": {"Env": ["A=b"]}}),
        image_path(folder / "d", small_tree(b"bye\n"), reference="docker.io/library/d:1"),
    ]


@pytest.mark.parametrize("rootless", [False, True])
def test_a_joined_store_is_the_store_of_all_images(tmp_path: Path, *, rootless: bool) -> None:
    images = sample_images(tmp_path)
    whole = build_image_store(tmp_path / "whole", images, mkcomposefs=None, rootless=rootless)
    stores = entries(tmp_path, images, rootless=rootless)
    assert join_image_stores(tmp_path / "joined", stores, rootless=rootless) == whole

    def files(store: Path) -> dict[str, bytes]:
        found = (Path(top) / name for top, _, names in os.walk(store, followlinks=True) for name in names)
        return {
            str(file.relative_to(store)): file.read_bytes() for file in found if "rootfs" not in str(file.resolve())
        }

    ours, theirs = files(tmp_path / "joined"), files(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == set()
    for image in read_image_store(tmp_path / "joined"):
        link = (image.folder / "link").read_text("ascii")
        assert image.rootfs is not None
        assert (tmp_path / "joined/overlay/l" / link / "bin/su").read_bytes() == (image.rootfs / "bin/su").read_bytes()
        assert image.entry in stores


def test_nothing_is_copied(tmp_path: Path) -> None:
    join_image_stores(tmp_path / "joined", entries(tmp_path, sample_images(tmp_path)))
    copied = sorted(
        str(file.relative_to(tmp_path / "joined"))
        for file in (tmp_path / "joined").rglob("*")
        if file.is_file() and not file.is_symlink()
    )
    assert copied == [f"overlay-{kind}/{kind}.{end}" for kind in ("images", "layers") for end in ("json", "lock")]


def test_stores_of_many_images_join_too(tmp_path: Path) -> None:
    images = sample_images(tmp_path)
    build_image_store(tmp_path / "first", images[:2], mkcomposefs=None)
    build_image_store(tmp_path / "second", images[1:], mkcomposefs=None)
    joined = join_image_stores(tmp_path / "joined", [tmp_path / "first", tmp_path / "second"])
    whole = build_image_store(tmp_path / "whole", images, mkcomposefs=None)
    assert [replace(image, path="") for image in joined] == [replace(image, path="") for image in whole]
    again = join_image_stores(tmp_path / "again", [tmp_path / "joined"])
    assert [image.id for image in again] == [image.id for image in joined]
    assert {image.entry for image in read_image_store(tmp_path / "again")} == {tmp_path / "first", tmp_path / "second"}


def test_one_name_for_two_images_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    images = [image_path(tmp_path / "a", small_tree()), image_path(tmp_path / "b", small_tree(b"other"))]
    stores = entries(tmp_path, images)
    with pytest.raises(
        StoreError, match=r"^docker.io/library/sample:1: two images have this name: .*entry-0 and .*-1;"
    ):
        join_image_stores(tmp_path / "joined", stores)
    assert not (tmp_path / "joined").exists()


def test_stores_of_another_kind_are_refused(tmp_path: Path) -> None:
    image = image_path(tmp_path / "a", small_tree())
    build_image_store(tmp_path / "rootless", [image], rootless=True)
    build_image_store(tmp_path / "root", [image], mkcomposefs=None)
    build_image_store(tmp_path / "own", [image], mkcomposefs=None, self_contained=True)
    for store, rootless, message in (
        ("rootless", False, "an image store for rootless users; join it with --rootless"),
        ("root", True, "an image store for root; join it without --rootless"),
        ("own", False, "is self-contained, and whole as it is; join stores that were made without --self-contained"),
        ("a", False, "is not an image store"),
    ):
        with pytest.raises(StoreError, match=message):
            join_image_stores(tmp_path / "joined", [tmp_path / store], rootless=rootless)
        assert not (tmp_path / "joined").exists()
