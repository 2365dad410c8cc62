"""Image paths, read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import DocumentError, StoreError, UnsupportedVersionError
from nixoci.image_path import DOCUMENT, ImagePath
from nixoci.oci.digest import Digest
from nixoci.tree.model import walk
from tests.image_store.trees import image_path, small_tree

if TYPE_CHECKING:
    from pathlib import Path


def change(path: Path, **values: Any) -> None:
    file = path / DOCUMENT
    value = json.loads(file.read_text(encoding="utf-8"))
    file.chmod(0o644)
    file.write_text(json.dumps(value | values), encoding="utf-8")


def refused(path: Path) -> StoreError:
    with pytest.raises(StoreError) as caught:
        ImagePath.open(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_config_and_the_tree_are_read(tmp_path: Path) -> None:
    tree = small_tree()
    image = ImagePath.open(image_path(tmp_path / "image", tree).path)
    assert image.config.rootfs.type == "layers"
    assert [path for path, _ in walk(image.tree())] == [path for path, _ in walk(tree.root)]


def test_what_is_not_an_image_path(tmp_path: Path) -> None:
    assert str(refused(tmp_path)).startswith(f"{tmp_path}: not an image path (made by `nixoci extract`): ")


def test_a_damaged_document_is_a_store_error(tmp_path: Path) -> None:
    path = image_path(tmp_path / "image", small_tree()).path
    change(path, name=1)
    assert str(refused(path)) == f"{path}/image.json: name: expected a string, got 1"
    (path / DOCUMENT).write_text("{", encoding="utf-8")
    assert str(refused(path)).startswith(f"{path}/image.json: not valid JSON: ")


def test_a_damaged_config_is_a_store_error(tmp_path: Path) -> None:
    path = image_path(tmp_path / "image", small_tree()).path
    change(path, config={"mediaType": "x", "digest": str(Digest.of(b'{"os":1}')), "text": '{"os":1}'})
    assert str(refused(path)) == f"{path}/image.json: config: os: expected a string, got 1"


@pytest.mark.parametrize("unknown", [{}, {"new": "key"}])
def test_another_format_version_is_named_whatever_else_it_brings(tmp_path: Path, unknown: dict[str, str]) -> None:
    path = image_path(tmp_path / "image", small_tree()).path
    change(path, version=99, **unknown)
    error = refused(path)
    assert isinstance(error, UnsupportedVersionError)
    assert isinstance(error, DocumentError)
    assert str(error) == f"{path}/image.json: version 99, this nixoci reads 1; extract the image again"


@pytest.mark.parametrize("field", ["config", "manifest"])
def test_a_text_that_is_not_the_digest_s_is_refused(tmp_path: Path, field: str) -> None:
    path = image_path(tmp_path / "image", small_tree()).path
    blob = json.loads((path / DOCUMENT).read_text(encoding="utf-8"))[field]
    change(path, **{field: blob | {"text": blob["text"] + "\n"}})
    assert str(refused(path)).startswith(f"{path}/image.json: {field}: its text has the digest sha256:")


@pytest.mark.parametrize("field", ["config", "manifest"])
@pytest.mark.parametrize("text", ["[]", "null", "{", '{"a":1,"a":2}'])
def test_a_text_that_is_no_object_is_refused(tmp_path: Path, field: str, text: str) -> None:
    path = image_path(tmp_path / "image", small_tree()).path
    change(path, **{field: {"mediaType": "x", "digest": str(Digest.of(text.encode())), "text": text}})
    assert str(refused(path)).startswith(f"{path}/image.json: {field}: ")


def test_a_line_of_the_dump_without_an_end(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    with image.metadata.open("ab") as file:
        file.truncate(file.tell() + (1 << 30))
    with pytest.raises(StoreError) as caught:
        image.tree()
    assert str(caught.value).startswith(f"{image.metadata}: line ")
    assert len(str(caught.value)) < 1000


def test_a_missing_dump(tmp_path: Path) -> None:
    image = image_path(tmp_path / "image", small_tree())
    image.metadata.unlink()
    with pytest.raises(StoreError, match=r"metadata.dump: cannot be read: .*; extract the image again$"):
        image.tree()
