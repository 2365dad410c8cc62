"""Images that follow no specification to the letter, but that podman runs: pinned, extracted and put in a store."""

from __future__ import annotations

import bz2
import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.compression import compress
from nixoci.oci.digest import Digest
from nixoci.oci.media_types import DOCKER_MANIFEST, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from tests.support.layers import (
    file,
    header,
    layer,
    pax,
)
from tests.support.layout import (
    add_blob,
    encode,
    tag_blob,
    write_docker_archive,
    write_layout,
)
from tests.support.odd_images import LEFT_OUT, LOWER, ODD_DOCUMENTS, ODD_LAYERS, ONE, write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result


def paths(nixoci: Callable[..., Result], tmp_path: Path, source: str) -> list[str]:
    """Pin and extract an image and put it in a store; return the paths of its tree."""
    pinned = nixoci("add", source, "--name", "odd", "--platform", "linux/amd64")
    assert (pinned.code, pinned.err) == (0, "")
    extracted = nixoci("extract", source, "image", "--platform", "linux/amd64")
    assert extracted.code == 0, extracted.err
    stored = nixoci("image-store", "store", "image", "--no-erofs")
    assert stored.code == 0, stored.err
    return [line.split(" ")[0] for line in (tmp_path / "image/metadata.dump").read_text().splitlines()[1:]]


def config_in_store(tmp_path: Path) -> dict[str, Any]:
    """Return the config of the store's only image."""
    (record,) = json.loads((tmp_path / "store/overlay-images/images.json").read_bytes())
    found = [json.loads(item.read_bytes()) for item in (tmp_path / "store/overlay-images" / record["id"]).glob("=*")]
    (config,) = (
        value for value in found if Digest.of(json.dumps(value, separators=(",", ":")).encode()).hex == record["id"]
    )
    assert isinstance(config, dict)
    return config


@pytest.mark.parametrize("changes", ODD_DOCUMENTS.values(), ids=ODD_DOCUMENTS)
def test_a_config_or_manifest_that_podman_takes(
    nixoci: Callable[..., Result], tmp_path: Path, changes: dict[str, Any]
) -> None:
    write_image(tmp_path / "layout", [ONE], **changes)
    assert paths(nixoci, tmp_path, "oci:layout:t") == ["/x"]


@pytest.mark.parametrize("media_type", ["", None, LEFT_OUT])
def test_descriptors_without_a_media_type(nixoci: Callable[..., Result], tmp_path: Path, media_type: Any) -> None:
    layout = tmp_path / "layout"
    untyped = {"mediaType": media_type} if media_type is not LEFT_OUT else {}
    blob = add_blob(layout, ONE, OCI_LAYER)
    del blob["mediaType"]
    write_image(layout, [ONE], manifest_layers=[blob | untyped])
    index = json.loads((layout / "index.json").read_bytes())
    del index["manifests"][0]["mediaType"]
    index["manifests"][0] |= untyped
    (layout / "index.json").write_bytes(encode(index))
    assert paths(nixoci, tmp_path, "oci:layout:t") == ["/x"]


@pytest.mark.parametrize("rootfs", [{"type": "layers"}, {"type": "layers", "diff_ids": None}, None, LEFT_OUT])
@pytest.mark.parametrize("layers", [[], None, LEFT_OUT])
def test_an_image_without_layers(nixoci: Callable[..., Result], tmp_path: Path, rootfs: Any, layers: Any) -> None:
    write_image(tmp_path / "layout", [], config_rootfs=rootfs, manifest_layers=layers)
    assert paths(nixoci, tmp_path, "oci:layout:t") == []


@pytest.mark.parametrize("media_type", [OCI_LAYER, OCI_LAYER + "+gzip", OCI_LAYER + "+zstd"])
@pytest.mark.parametrize("pack", [bytes, compress, bz2.compress, lzma.compress])
def test_a_layer_that_is_packed_otherwise_than_its_media_type_says(
    nixoci: Callable[..., Result], tmp_path: Path, media_type: str, pack: Callable[[bytes], bytes]
) -> None:
    layout = tmp_path / "layout"
    write_image(layout, [ONE], manifest_layers=[add_blob(layout, pack(ONE), media_type)])
    assert paths(nixoci, tmp_path, "oci:layout:t") == ["/x"]


@pytest.mark.parametrize("pack", [bytes, compress, bz2.compress, lzma.compress])
def test_a_docker_archive_of_any_compression(
    nixoci: Callable[..., Result], tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    archive = write_docker_archive(tmp_path / "a.tar", [ONE])
    archive.write_bytes(pack(archive.read_bytes()))
    assert paths(nixoci, tmp_path, "docker-archive:a.tar") == ["/x"]
    if pack is not bytes:
        refused = nixoci("extract", "docker-archive:a.tar", "other", "--max-size", "2000")
        assert refused.code == 1
        assert "more than 2000 bytes when decompressed, the limit; raise it with --max-size" in refused.err


def test_an_index_entry_that_repeats_the_artifact_type(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    write_image(layout, [ONE], manifest_artifactType="application/vnd.example.app")
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    entry |= {"artifactType": "application/vnd.example.app", "platform": {"os": "linux", "architecture": "amd64"}}
    foreign = {"mediaType": OCI_MANIFEST, "digest": f"blake3:{'0' * 64}", "size": 7}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [foreign, entry]}
    tag_blob(layout, add_blob(layout, encode(index), OCI_INDEX), "t")
    assert paths(nixoci, tmp_path, "oci:layout:t") == ["/x"]


def test_an_untagged_image_by_its_digest(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    write_layout(layout, [layer(file(b"other"))], tag="other")
    digest = write_layout(layout, [ONE], tag="t")
    index = json.loads((layout / "index.json").read_bytes())
    for entry in index["manifests"]:
        del entry["annotations"]
    (layout / "index.json").write_bytes(encode(index))
    assert paths(nixoci, tmp_path, f"oci:layout@{digest}") == ["/x"]
    lock = json.loads((tmp_path / "nixoci.lock.json").read_bytes())
    assert lock["images"]["odd"]["reference"] == f"oci:layout@{digest}"
    assert nixoci("update").code == nixoci("verify").code == 0


@pytest.mark.parametrize(("members", "expected"), ODD_LAYERS.values(), ids=ODD_LAYERS)
def test_a_layer_that_podman_and_umoci_read(
    nixoci: Callable[..., Result], tmp_path: Path, members: list[bytes], expected: list[str]
) -> None:
    write_image(tmp_path / "layout", [LOWER, layer(*members)])
    assert paths(nixoci, tmp_path, "oci:layout:t") == expected


def test_an_entry_that_the_archive_ends_with_unpadded(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    write_image(tmp_path / "layout", [header(b"x", size=4) + b"data"])
    assert paths(nixoci, tmp_path, "oci:layout:t") == ["/x"]


def test_a_store_has_no_time_that_podman_cannot_read(nixoci: Callable[..., Result], tmp_path: Path) -> None:
    write_image(tmp_path / "layout", [ONE], config_created="2024-01-02T03:04:05", config_history=[{"created": "?"}])
    assert paths(nixoci, tmp_path, "oci:layout:t") == ["/x"]
    config = config_in_store(tmp_path)
    assert (config["created"], config["history"]) == ("2024-01-02T03:04:05Z", [{}])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"config_history": [{"created": 5}]}, "history[0].created: expected a string, found a number"),
        ({"config_config": {"Volumes": ["/data"]}}, "config.volumes: expected an object"),
        ({"config_config": {"ArgsEscaped": "no"}}, "config.ArgsEscaped: expected true or false, found a string"),
        ({"manifest_mediaType": DOCKER_MANIFEST, "config_config": {"OnBuild": "x"}}, "config.OnBuild: expected a list"),
    ],
)
@pytest.mark.parametrize("verb", ["add", "extract"])
def test_a_config_that_podman_cannot_decode_is_refused_by_its_field(
    nixoci: Callable[..., Result], tmp_path: Path, changes: dict[str, Any], says: str, verb: str
) -> None:
    write_image(tmp_path / "layout", [ONE], **changes)
    done = nixoci(verb, "oci:layout:t", *(["out"] if verb == "extract" else []), "--platform", "linux/amd64")
    assert done.code == 1
    assert says.lower() in done.err.lower()
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


@pytest.mark.parametrize("size", [32_741, 65_535])
def test_xattrs_that_no_erofs_file_can_have_are_refused(
    nixoci: Callable[..., Result], tmp_path: Path, size: int
) -> None:
    write_image(tmp_path / "layout", [layer(pax({b"SCHILY.xattr.user.big": b"v" * size}), file(b"f"))])
    done = nixoci("extract", "oci:layout:t", "out", "--platform", "linux/amd64")
    assert done.code == 1
    assert f"entry 'f': its xattrs have {size + 15} bytes in all; at most 32755 are possible" in done.err
