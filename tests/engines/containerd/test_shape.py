from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from nixoci.engines.containerd.shape import EMPTY_LAYER, Shape, chain_id, default_shape, shape_image
from nixoci.errors import EngineError
from nixoci.image_path import ImagePath
from nixoci.image_store.build import build_image_store
from nixoci.image_store.contents import read_image_store
from nixoci.oci.digest import Digest
from tests.engines.containerd.samples import diff_ids, entry
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = "docker.io/library/sample"


def test_a_chain_id_is_that_of_the_specification() -> None:
    """image-spec config.md, Layer ChainID: of one layer its diff id, of more the digest of the chain below and it."""
    one, two, three = (f"sha256:{letter * 64}" for letter in "123")
    assert chain_id([one]) == one
    two_chain = "sha256:" + hashlib.sha256(f"{one} {two}".encode()).hexdigest()
    assert chain_id([one, two]) == two_chain
    assert chain_id([one, two, three]) == "sha256:" + hashlib.sha256(f"{two_chain} {three}".encode()).hexdigest()


def test_the_registry_s_shape_is_what_a_pull_has(tmp_path: Path) -> None:
    (image,) = read_image_store(entry(tmp_path, "x", f"{REPOSITORY}:1"))
    document = ImagePath.open(tmp_path / "x-image").document
    shaped = shape_image(image, Shape.REGISTRY, namespace="default")
    assert shaped.manifest.decode() == document.manifest.text
    assert shaped.config.decode() == document.config.text
    assert (shaped.digest, shaped.config_digest) == (str(document.manifest.digest), str(document.config.digest))
    assert shaped.media_type == document.manifest.media_type
    assert shaped.blobs == ()
    assert shaped.chain == chain_id(diff_ids("x"))
    # by the tag, the digest of the manifest, and the one that the registry has for the tag
    digests = (document.manifest.digest, document.digest)
    assert set(shaped.names) == {f"{REPOSITORY}:1", *(f"{REPOSITORY}@{digest}" for digest in digests)}
    assert (shaped.layer, shaped.entry) == (image.layer.id, tmp_path / "x")
    named = shape_image(image, Shape.REGISTRY, namespace="k8s.io").names
    # that one first: Kubernetes' plugin makes it when it sees another, and would be faster than the import
    assert named == (str(document.config.digest), *shaped.names)


def test_the_one_layer_shape_is_the_store_s_with_an_empty_tar(tmp_path: Path) -> None:
    (image,) = read_image_store(entry(tmp_path, "x", f"{REPOSITORY}:1"))
    shaped = shape_image(image, Shape.ONE_LAYER, namespace="moby")
    assert shaped.config == image.config
    assert shaped.chain == str(image.layer.diff_digest)
    (layer,) = json.loads(shaped.manifest)["layers"]
    assert (layer["digest"], layer["size"]) == (str(Digest.of(EMPTY_LAYER)), len(EMPTY_LAYER))
    assert layer["mediaType"] == json.loads(image.manifest)["layers"][0]["mediaType"]
    assert shaped.blobs == (EMPTY_LAYER,)
    assert shaped.names == (f"{REPOSITORY}:1",)


def test_an_image_with_a_digest_only_has_that_name(tmp_path: Path) -> None:
    digest = Digest.of(b"index")
    (image,) = read_image_store(entry(tmp_path, "x", f"{REPOSITORY}@{digest}"))
    assert f"{REPOSITORY}@{digest}" in shape_image(image, Shape.REGISTRY, namespace="default").names


def test_an_image_without_layers_has_no_chain_id(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree(), config={"rootfs": {"type": "layers", "diff_ids": []}})
    build_image_store(tmp_path / "store", [image], mkcomposefs=None)
    (stored,) = read_image_store(tmp_path / "store")
    with pytest.raises(EngineError, match=r"sample:1: the image has no layers.*register it with --shape one-layer"):
        shape_image(stored, Shape.REGISTRY, namespace="default")
    assert shape_image(stored, Shape.ONE_LAYER, namespace="default").chain == str(stored.layer.diff_digest)


def test_docker_builds_and_kubernetes_goes_by_digests() -> None:
    assert default_shape("moby") is Shape.ONE_LAYER
    assert default_shape("k8s.io") is default_shape("default") is Shape.REGISTRY
