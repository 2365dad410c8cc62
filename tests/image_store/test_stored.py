from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.errors import ContainerError, DocumentError
from nixoci.image_store.records import EPOCH, ImageRecord, records_text
from nixoci.image_store.stored import find_image
from tests.container.samples import make_image

if TYPE_CHECKING:
    from pathlib import Path


def test_an_image_store_is_asked_by_the_registrys_manifest(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image").image
    with pytest.raises(ContainerError, match=r"^imageStore: .* is not an image store"):
        find_image("o", tmp_path, image)
    folder = tmp_path / "overlay-images"
    folder.mkdir()
    digest = image.document.manifest.digest
    record = ImageRecord(
        id="x",
        digest=digest,
        layer="l",
        big_data_names=["manifest"],
        big_data_sizes={"manifest": 2},
        big_data_digests={"manifest": digest},
        created=EPOCH,
    )
    (folder / "images.json").write_text(records_text([record]))
    assert find_image("o", tmp_path, image).id == "x"
    assert find_image("o", tmp_path, image).erofs is None
    erofs = tmp_path / "overlay/l/composefs-data/composefs.blob"
    erofs.parent.mkdir(parents=True)
    erofs.touch()
    assert find_image("o", tmp_path, image).erofs == erofs
    (folder / "images.json").write_text("[{}]")
    with pytest.raises(DocumentError, match=r"images\.json"):
        find_image("o", tmp_path, image)
    (folder / "images.json").write_text("[]")
    with pytest.raises(ContainerError, match=r"^o: .* is not in the image store"):
        find_image("o", tmp_path, image)
