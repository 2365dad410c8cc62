from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import BlobError, ImageError
from nixoci.oci.digest import Digest
from nixoci.oci.layout import Layout
from nixoci.oci.media_types import OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from nixoci.oci.model import Descriptor, Platform
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import open_source
from tests.support.layout import (
    REF_NAME,
    blob_path,
    describe,
    encode,
    tar_stream,
    write_index,
    write_layout,
    write_oci_archive,
)

if TYPE_CHECKING:
    from pathlib import Path

AMD64 = Platform.parse("linux/amd64")
LAYER = tar_stream({"a": b"1"})


def write_entries(layout: Path, entries: list[dict[str, object]]) -> None:
    (layout / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": entries}))


def refused(layout: Path, tag: str | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        Layout.open(layout, tag, name="L")
    return str(caught.value)


def test_the_only_image_needs_no_tag(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, [LAYER], tag="1.0")
    layout = Layout.open(tmp_path, None, name="L")
    assert (layout.root.digest, layout.root.media_type) == (digest, OCI_MANIFEST)
    assert Layout.open(tmp_path, "1.0", name="L").root == layout.root


def test_of_several_the_tag_decides(tmp_path: Path) -> None:
    digests = {tag: write_layout(tmp_path, [tar_stream({tag: b""})], tag=tag) for tag in ("1.0", "2.0")}
    for tag, digest in digests.items():
        assert Layout.open(tmp_path, tag, name="L").root.digest == digest
    assert refused(tmp_path) == "L: the layout has 2 images; add :TAG or @DIGEST, there is 1.0, 2.0"
    assert refused(tmp_path, "3.0") == "L: no image has the tag '3.0'; there is 1.0, 2.0"


def test_one_image_under_two_tags_is_the_only_one(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, [LAYER], tag="1.0")
    assert write_layout(tmp_path, [LAYER], tag="latest") == digest
    assert Layout.open(tmp_path, None, name="L").root.digest == digest


def test_a_tag_that_names_two_images_is_refused(tmp_path: Path) -> None:
    digests = [write_layout(tmp_path, [tar_stream({text: b""})], tag=text) for text in ("one", "two")]
    index = json.loads((tmp_path / "index.json").read_bytes())
    for entry in index["manifests"]:
        entry["annotations"] = {"org.opencontainers.image.ref.name": "same"}
    write_entries(tmp_path, index["manifests"])
    there = f"{digests[0]}, {digests[1]}"
    says = f"L: the tag 'same' names 2 images in index.json; add @DIGEST in its place, there is {there}"
    assert refused(tmp_path, "same") == says
    assert [Layout.open(tmp_path, digest, name="L").root.digest for digest in digests] == digests


def test_the_layouts_own_index_may_be_the_images(tmp_path: Path) -> None:
    write_layout(tmp_path, [])
    platforms = ("linux/amd64", "linux/arm64")
    digests = [write_layout(tmp_path, [], tag=None, platform=tuple(text.split("/"))) for text in platforms]
    write_entries(tmp_path, [describe(tmp_path, digest, text) for digest, text in zip(digests, platforms, strict=True)])
    layout = Layout.open(tmp_path, None, name="L")
    assert layout.root.media_type == OCI_INDEX
    assert layout.root.digest == Digest.of((tmp_path / "index.json").read_bytes())
    assert resolve_image(layout, Platform.parse("linux/arm64")).manifest.descriptor.digest == digests[1]


def test_a_layout_without_images(tmp_path: Path) -> None:
    write_layout(tmp_path, [])
    write_entries(tmp_path, [])
    assert refused(tmp_path) == "L: the layout has no image"


@pytest.mark.parametrize("missing", ["oci-layout", "index.json"])
def test_what_is_no_layout(tmp_path: Path, missing: str) -> None:
    write_layout(tmp_path, [])
    (tmp_path / missing).unlink()
    says = "L: not an OCI layout: it has no oci-layout and index.json; name the directory that has them"
    assert refused(tmp_path) == says


def test_an_index_beyond_the_limit(tmp_path: Path) -> None:
    write_layout(tmp_path, [])
    (tmp_path / "index.json").write_bytes(b" " * (4 << 20) + b"{}")
    assert refused(tmp_path) == "L: index.json has more than 4194304 bytes, the limit"


def test_a_missing_blob_is_named(tmp_path: Path) -> None:
    write_layout(tmp_path, [])
    digest = Digest.of(b"?")
    with pytest.raises(BlobError) as caught:
        Layout.open(tmp_path, None, name="L").open_blob(Descriptor(media_type=OCI_LAYER, digest=digest, size=1))
    assert (
        str(caught.value) == f"L: blob {digest} is missing: there is no blobs/sha256/{digest.hex}; copy the image again"
    )


def test_a_fifo_in_place_of_a_blob_does_not_block(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, [])
    blob_path(tmp_path, digest).unlink()
    os.mkfifo(blob_path(tmp_path, digest))
    layout = Layout.open(tmp_path, None, name="L")
    with pytest.raises(BlobError, match="is missing"):
        layout.open_blob(layout.root)


def test_a_digest_chooses_an_image_with_or_without_a_tag(tmp_path: Path) -> None:
    digests = [write_layout(tmp_path, [], config={"author": name}, tag=name) for name in ("one", "two")]
    entries = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    for entry in entries:
        del entry["annotations"]
    (tmp_path / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": entries}))
    archive = write_oci_archive(tmp_path.with_suffix(".tar"), tmp_path)
    for digest in digests:
        for text in (f"oci:{tmp_path}@{digest}", f"oci-archive:{archive}@{digest}"):
            with open_source(text) as source:
                assert (source.root.digest, source.name) == (digest, text)
    with pytest.raises(ImageError) as caught:
        Layout.open(tmp_path, Digest.of(b""), name="L")
    there = ", ".join(map(str, digests))
    assert str(caught.value) == f"L: no image has this digest in index.json; there is {there}"


def test_entries_with_digests_of_other_algorithms_matter_only_where_they_are_picked(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, [], tag="one")
    file = tmp_path / "index.json"
    index = json.loads(file.read_bytes())
    foreign = {"mediaType": OCI_MANIFEST, "digest": f"blake3:{'0' * 64}", "size": 5} | {"annotations": {REF_NAME: "b3"}}
    file.write_bytes(encode(index | {"manifests": [foreign, *index["manifests"]]}))
    assert Layout.open(tmp_path, "one", name="L").root.digest == digest
    assert Layout.open(tmp_path, None, name="L").root.digest == digest
    inner = write_index(tmp_path, [foreign, describe(tmp_path, digest, "linux/amd64")], tag="two")
    assert resolve_image(Layout.open(tmp_path, inner, name="L"), AMD64).manifest.descriptor.digest == digest
    file.write_bytes(encode(index | {"manifests": [foreign]}))
    with pytest.raises(ImageError, match="its digests are of an algorithm that nixoci does not read, such as blake3"):
        Layout.open(tmp_path, None, name="L")
