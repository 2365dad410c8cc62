from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ContainerError, DocumentError, StoreError
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import find_image, is_image_store, read_image_store
from nixoci.oci.digest import Digest
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from pathlib import Path


def test_an_image_store_is_asked_by_the_registrys_manifest(tmp_path: Path) -> None:
    image, store = image_path(tmp_path / "image", small_tree()), tmp_path / "store"
    with pytest.raises(ContainerError, match=r"^imageStore: .* is not an image store"):
        find_image("o", tmp_path, image)
    (stored,) = build_image_store(store, [image], mkcomposefs=None)
    assert find_image("o", store, image).record.id == stored.id
    with pytest.raises(ContainerError, match=r"^o: .* is not in the image store"):
        find_image("o", store, image_path(tmp_path / "other", small_tree(), config={"config": {"Env": ["A=b"]}}))
    images = store / "overlay-images/images.json"
    images.chmod(0o644)
    images.write_text("[{}]")
    with pytest.raises(DocumentError, match=r"images\.json"):
        find_image("o", store, image)
    images.write_text("[]")
    with pytest.raises(ContainerError, match=r"^o: .* is not in the image store"):
        find_image("o", store, image)


def test_an_image_has_its_files(tmp_path: Path) -> None:
    image, store = image_path(tmp_path / "image", small_tree()), tmp_path / "store"
    (stored,) = build_image_store(store, [image], mkcomposefs=None)
    (found,) = read_image_store(store)
    assert found.record.id == Digest.of(found.config).hex == stored.id
    assert Digest.of(found.manifest) in stored.digests
    assert found.data(str(image.document.config.digest)).decode() == image.document.config.text
    assert found.rootfs == image.rootfs
    assert (found.entry, found.erofs) == (store, None)
    assert found.tar_split.exists()
    with pytest.raises(StoreError, match="the image store is damaged"):
        found.data("nothing")
    erofs = store / "overlay" / stored.layer / "composefs-data/composefs.blob"
    erofs.parent.mkdir()
    erofs.touch()
    assert found.erofs == erofs


def test_a_self_contained_store_has_the_trees_themselves(tmp_path: Path) -> None:
    image, store = image_path(tmp_path / "image", small_tree()), tmp_path / "store"
    (stored,) = build_image_store(store, [image], mkcomposefs=None, self_contained=True)
    (found,) = read_image_store(store)
    assert found.rootfs == store / "overlay" / stored.layer / "diff"


def test_other_directories_are_no_image_stores(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    assert [is_image_store(tmp_path / name) for name in ("store", "image", "nothing")] == [True, False, False]
    with pytest.raises(StoreError, match="is not an image store"):
        read_image_store(tmp_path / "image")
    layers = tmp_path / "store/overlay-layers/layers.json"
    layers.chmod(0o644)
    layers.write_text("[]")
    with pytest.raises(StoreError, match="lacks its layer"):
        read_image_store(tmp_path / "store")
