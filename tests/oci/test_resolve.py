from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nixoci.errors import DocumentError, ImageError, PlatformError
from nixoci.oci.digest import Digest
from nixoci.oci.layout import Layout
from nixoci.oci.media_types import DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from nixoci.oci.model import Platform
from nixoci.oci.resolve import document_type, list_platforms, resolve_image, resolve_image_platforms
from tests.support.layout import (
    add_blob,
    blob_path,
    config_value,
    describe,
    encode,
    tag_blob,
    tar_stream,
    write_index,
    write_layout,
    write_platforms,
)

if TYPE_CHECKING:
    from pathlib import Path

    from nixoci.oci.image import Image

AMD64 = Platform.parse("linux/amd64")
LAYER = tar_stream({"a": b"1"})
LAYER_DIGEST = Digest.of(LAYER)


def image(layout: Path, platform: str = "linux/amd64") -> Image:
    return resolve_image(Layout.open(layout, None, name="L"), Platform.parse(platform))


def refused(layout: Path, platform: str = "linux/amd64", error: type[Exception] = ImageError) -> str:
    with pytest.raises(error) as caught:
        image(layout, platform)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_manifest(layout: Path, media_type: str = OCI_MANIFEST, **changes: Any) -> str:
    """Tag a manifest of one uncompressed layer with some fields changed, absent where None; return its digest."""
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": add_blob(layout, encode(config_value([LAYER])), OCI_CONFIG),
        "layers": [add_blob(layout, LAYER, OCI_LAYER)],
    }
    value = {name: field for name, field in (value | changes).items() if field is not None}
    descriptor = add_blob(layout, encode(value), media_type)
    tag_blob(layout, descriptor, "latest")
    return str(descriptor["digest"])


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("media_types", ["oci", "docker"])
def test_an_image_without_an_index(tmp_path: Path, compression: Any, media_types: Any) -> None:
    layers = [LAYER, tar_stream({"b": b"2"}), LAYER]
    digest = write_layout(tmp_path, layers, compression=compression, media_types=media_types)
    found = image(tmp_path)
    assert found.digest == found.manifest.descriptor.digest == digest
    assert found.platform == AMD64
    assert [layer.diff_id for layer in found.layers] == [Digest.of(layer) for layer in layers]
    assert Digest.of(found.config.text) == found.config.descriptor.digest


def test_an_image_without_layers(tmp_path: Path) -> None:
    write_layout(tmp_path, [])
    assert image(tmp_path).layers == ()


def test_the_index_is_what_the_image_is_known_by(tmp_path: Path) -> None:
    manifests = write_platforms(tmp_path, "linux/amd64", "linux/arm64/v8", "linux/arm/v7")
    source = Layout.open(tmp_path, None, name="L")
    found = resolve_image_platforms(source, [Platform.parse(text) for text in manifests])
    assert {str(one.platform) for one in found.values()} == {"linux/amd64", "linux/arm64", "linux/arm/v7"}
    assert [one.manifest.descriptor.digest for one in found.values()] == list(manifests.values())
    assert {one.digest for one in found.values()} == {source.root.digest}
    assert list(map(str, list_platforms(source))) == ["linux/amd64", "linux/arm64", "linux/arm/v7"]


def test_a_docker_manifest_list(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, [LAYER], tag=None, media_types="docker")
    write_index(tmp_path, [describe(tmp_path, digest, "linux/amd64", DOCKER_MANIFEST)], media_types="docker")
    assert image(tmp_path).manifest.descriptor.digest == digest


def test_a_platform_that_is_not_there(tmp_path: Path) -> None:
    write_platforms(tmp_path, "linux/amd64", "linux/arm/v7", "linux/amd64")
    message = refused(tmp_path, "linux/s390x", PlatformError)
    expected = "L: no image for linux/s390x; choose with --platform from what there is: linux/amd64, linux/arm/v7"
    assert message == expected


def test_attestations_artifacts_and_the_unknown_are_passed_over(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, [], tag=None)
    entry = describe(tmp_path, digest)
    others = [
        entry | {"platform": {"os": "unknown", "architecture": "unknown"}},
        entry | {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        describe(tmp_path, _artifact(tmp_path)) | {"artifactType": "application/spdx+json"},
        entry | {"mediaType": "application/vnd.example+json"},
    ]
    write_index(tmp_path, others)
    assert refused(tmp_path) == "L: has no image, for any platform; name another reference"
    write_index(tmp_path, [*others, describe(tmp_path, digest, "linux/amd64")])
    assert image(tmp_path).manifest.descriptor.digest == digest


def _artifact(layout: Path) -> Digest:
    config = add_blob(layout, b"{}", "application/vnd.oci.empty.v1+json")
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    return Digest.parse(add_blob(layout, encode(value), OCI_MANIFEST)["digest"])


@pytest.mark.parametrize("platform", [None, "linux/amd64"])
def test_an_entry_with_an_artifact_type_is_an_image_if_its_config_is_one(tmp_path: Path, platform: str | None) -> None:
    digest = write_layout(tmp_path, [], tag=None)
    typed = {"artifactType": "application/vnd.example.app"}
    artifact = describe(tmp_path, _artifact(tmp_path), "linux/amd64") | typed
    write_index(tmp_path, [artifact, describe(tmp_path, digest, platform) | typed])
    assert image(tmp_path).manifest.descriptor.digest == digest


def test_nested_indexes(tmp_path: Path) -> None:
    write_platforms(tmp_path, "linux/arm64")
    digest = write_index(tmp_path, [describe(tmp_path, write_layout(tmp_path, [], tag=None), "linux/amd64")], tag=None)
    for _ in range(2):
        digest = write_index(tmp_path, [describe(tmp_path, digest, media_type=OCI_INDEX)])
    assert image(tmp_path).platform == AMD64
    deepest = write_index(tmp_path, [describe(tmp_path, digest, media_type=OCI_INDEX)])
    assert deepest != digest
    assert refused(tmp_path).endswith(" is nested more than 3 deep, the limit")


def test_an_index_of_a_thousand_indexes(tmp_path: Path) -> None:
    inner = describe(tmp_path, write_index(tmp_path, [], tag=None), media_type=OCI_INDEX)
    write_index(tmp_path, [inner] * 1000)
    assert refused(tmp_path) == "L: more than 64 indexes and manifests to search"


def test_an_entry_without_a_platform_is_for_its_configs(tmp_path: Path) -> None:
    digests = [write_layout(tmp_path, [], tag=None, platform=("linux", name)) for name in ("arm64", "amd64")]
    write_index(tmp_path, [describe(tmp_path, digest) for digest in digests])
    assert image(tmp_path).manifest.descriptor.digest == digests[1]


def test_a_single_image_is_for_its_configs_platform(tmp_path: Path) -> None:
    write_layout(tmp_path, [], platform=("linux", "arm", "v6"))
    assert str(image(tmp_path, "linux/arm/v7").platform) == "linux/arm/v6"
    assert refused(tmp_path).endswith(
        "no image for linux/amd64; choose with --platform from what there is: linux/arm/v6"
    )


def test_a_config_that_leaves_the_variant_out_is_for_any(tmp_path: Path) -> None:
    write_layout(tmp_path, [], platform=("linux", "arm"))
    assert str(image(tmp_path, "linux/arm/v6").platform) == "linux/arm/v6"


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"os": "", "architecture": ""},
        {"os": None, "architecture": None},
        {"os": "linux"},
        {"os": "Linux", "architecture": "x86_64"},
        {"architecture": "x86-64", "variant": "v1"},
        {"os": "linux", "architecture": "AMD64", "variant": "1"},
    ],
)
def test_a_single_image_may_leave_its_platform_out_or_spell_it_otherwise(tmp_path: Path, said: dict[str, Any]) -> None:
    config = {"rootfs": {"type": "layers", "diff_ids": [str(LAYER_DIGEST)]}} | said
    write_manifest(tmp_path, config=add_blob(tmp_path, encode(config), OCI_CONFIG))
    assert image(tmp_path).platform == AMD64


def test_of_an_index_an_image_without_any_platform_comes_last(tmp_path: Path) -> None:
    config = add_blob(tmp_path, encode({"rootfs": {"type": "layers"}}), OCI_CONFIG)
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    unsaid = add_blob(tmp_path, encode(value), OCI_MANIFEST)
    digest = write_layout(tmp_path, [], tag=None)
    write_index(tmp_path, [unsaid, describe(tmp_path, digest, "linux/amd64")])
    assert image(tmp_path).manifest.descriptor.digest == digest
    assert str(image(tmp_path, "linux/s390x").manifest.descriptor.digest) == unsaid["digest"]


@pytest.mark.parametrize("layers", [[], "absent", "null"])
@pytest.mark.parametrize("rootfs", [{"type": "layers"}, {"type": "layers", "diff_ids": None}, {}, None])
def test_without_layers_go_writes_null_or_nothing(tmp_path: Path, layers: Any, rootfs: Any) -> None:
    text = encode({"os": "linux", "architecture": "amd64", "rootfs": rootfs, "history": None})
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": add_blob(tmp_path, text, OCI_CONFIG)}
    if layers != "absent":
        value["layers"] = None if layers == "null" else layers
    tag_blob(tmp_path, add_blob(tmp_path, encode(value), OCI_MANIFEST), "latest")
    assert image(tmp_path).layers == ()


@pytest.mark.parametrize(
    "changes", [{"mediaType": ""}, {"mediaType": None}, {"annotations": {"a": None}}, {"manifests": None}]
)
def test_what_go_takes_for_unset_is_no_contradiction(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = add_blob(tmp_path, encode(config_value([]) | {"config": {"Labels": {"a": None}}}), OCI_CONFIG)
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []} | changes
    tag_blob(tmp_path, add_blob(tmp_path, encode(value), OCI_MANIFEST), "latest")
    assert image(tmp_path).layers == ()


@pytest.mark.parametrize("field", ["config", "layers", "fsLayers", "history"])
def test_an_index_that_could_be_a_manifest(tmp_path: Path, field: str) -> None:
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], field: []}
    descriptor = add_blob(tmp_path, encode(value), OCI_INDEX)
    tag_blob(tmp_path, descriptor, "latest")
    what = f"L: index {descriptor['digest']}"
    assert (
        refused(tmp_path) == f"{what}: it has {field!r}, so it can be taken for another kind of document; do not use it"
    )


@pytest.mark.parametrize("field", ["manifests", "fsLayers", "history"])
def test_a_manifest_that_could_be_an_index(tmp_path: Path, field: str) -> None:
    changes: dict[str, Any] = {field: []}
    digest = write_manifest(tmp_path, **changes)
    what = f"L: manifest {digest}"
    assert (
        refused(tmp_path) == f"{what}: it has {field!r}, so it can be taken for another kind of document; do not use it"
    )


def test_a_manifest_that_is_not_what_its_descriptor_says(tmp_path: Path) -> None:
    digest = write_manifest(tmp_path, mediaType=OCI_INDEX)
    assert refused(tmp_path) == (
        f"L: manifest {digest}: its own media type is {OCI_INDEX!r}, its descriptor says {OCI_MANIFEST!r}; do"
        " not use it"
    )


def test_a_manifest_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    write_manifest(tmp_path, mediaType=None)
    assert len(image(tmp_path).layers) == 1


SCHEMA_1 = "Docker schema 1, which is obsolete and not supported; push the image again with a current tool"


@pytest.mark.parametrize("suffix", ["json", "prettyjws"])
def test_schema_1_by_its_type(tmp_path: Path, suffix: str) -> None:
    digest = write_manifest(tmp_path, f"application/vnd.docker.distribution.manifest.v1+{suffix}")
    assert refused(tmp_path) == f"L: manifest {digest}: {SCHEMA_1}"


def test_schema_1_in_disguise(tmp_path: Path) -> None:
    digest = write_manifest(tmp_path, schemaVersion=1)
    assert refused(tmp_path) == f"L: manifest {digest}: {SCHEMA_1}"


def test_another_schema_version(tmp_path: Path) -> None:
    digest = write_manifest(tmp_path, schemaVersion=3)
    assert refused(tmp_path) == f"L: manifest {digest}: schemaVersion is 3, expected 2"


def test_a_root_of_another_kind(tmp_path: Path) -> None:
    digest = write_manifest(tmp_path, "application/json")
    assert refused(tmp_path) == f"L: manifest {digest}: its media type 'application/json' is not that of an image"


def test_an_artifact(tmp_path: Path) -> None:
    helm = add_blob(tmp_path, b"{}", "application/vnd.cncf.helm.config.v1+json")
    write_manifest(tmp_path, config=helm)
    says = "the manifest belongs to an artifact of type {!r}, not to a container image"
    what = f"L: config {helm['digest']}: "
    assert refused(tmp_path) == what + says.format(helm["mediaType"])
    write_manifest(tmp_path, config=helm, artifactType="application/vnd.example")
    assert refused(tmp_path) == what + says.format("application/vnd.example")


def layer(media_type: str, size: int = len(LAYER)) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(LAYER_DIGEST), "size": size}


ENCRYPTED = f"{OCI_LAYER}+gzip+encrypted"
SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"
DECRYPT = "skopeo copy --decryption-key"
NO_LAYER = "which is not that of a container image's layer"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (layer(ENCRYPTED), f"is encrypted ({ENCRYPTED}); decrypt the image first, for example with `{{}}`"),
        (layer(SIGNATURE), f"has the media type {SIGNATURE!r}, {NO_LAYER}"),
        (layer(f"{OCI_LAYER}+xz"), f"has the media type '{OCI_LAYER}+xz', {NO_LAYER}"),
        (layer(OCI_LAYER, -1), "has the size -1"),
    ],
)
def test_a_layer_that_nixoci_does_not_read(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    digest = write_manifest(tmp_path, layers=[changed])
    assert refused(tmp_path) == f"L: manifest {digest}: layer {LAYER_DIGEST} {says.format(DECRYPT)}"


@pytest.mark.parametrize("kind", ["oci.image.layer.nondistributable.v1.tar", "docker.image.rootfs.foreign.diff.tar"])
def test_layers_that_may_not_be_passed_on_are_layers(tmp_path: Path, kind: str) -> None:
    write_manifest(tmp_path, layers=[layer(f"application/vnd.{kind}")])
    assert len(image(tmp_path).layers) == 1


def test_as_many_diff_ids_as_layers(tmp_path: Path) -> None:
    digest = write_manifest(tmp_path, layers=[layer(OCI_LAYER)] * 2)
    assert refused(tmp_path) == (
        f"L: manifest {digest}: it has 2 layers, its config has 1 diff ids; the image is inconsistent, do not use it"
    )


def test_a_rootfs_of_another_type(tmp_path: Path) -> None:
    value = config_value([LAYER])
    value["rootfs"]["type"] = "layers+base"
    config = add_blob(tmp_path, encode(value), OCI_CONFIG)
    write_manifest(tmp_path, config=config)
    assert refused(tmp_path) == f"L: config {config['digest']}: rootfs.type is 'layers+base', expected 'layers'"


def test_a_config_without_diff_ids(tmp_path: Path) -> None:
    config = add_blob(tmp_path, encode({"os": "linux", "architecture": "amd64", "rootfs": {}}), OCI_CONFIG)
    write_manifest(tmp_path, config=config)
    assert refused(tmp_path).endswith(
        "it has 1 layers, its config has 0 diff ids; the image is inconsistent, do not use it"
    )


def test_a_digest_that_would_leave_the_layout(tmp_path: Path) -> None:
    evil = {"mediaType": OCI_CONFIG, "digest": "sha256:../../../etc/passwd", "size": 1}
    digest = write_manifest(tmp_path, config=evil)
    assert refused(tmp_path, error=DocumentError) == (
        f"L: manifest {digest}: config.digest: digest 'sha256:../../../etc/passwd': expected sha256:<64 hex digits> or"
        " sha512:<128 hex digits>"
    )


def test_a_damaged_config(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    config = Digest.of(encode(config_value([LAYER])))
    text = blob_path(tmp_path, config).read_bytes()
    blob_path(tmp_path, config).write_bytes(text.replace(b"linux", b"Linux"))
    assert refused(tmp_path).startswith(f"L: config {config}: the blob's digest is sha256:")


def test_a_config_beyond_the_limit(tmp_path: Path) -> None:
    config = {"mediaType": OCI_CONFIG, "digest": str(LAYER_DIGEST), "size": 1 << 40}
    write_manifest(tmp_path, config=config)
    assert refused(tmp_path) == (
        f"L: config {LAYER_DIGEST}: its descriptor says {1 << 40} bytes, expected 0 to 4194304; do not use it"
    )


def test_a_manifest_that_is_no_object(tmp_path: Path) -> None:
    descriptor = add_blob(tmp_path, b"[]", OCI_MANIFEST)
    tag_blob(tmp_path, descriptor, "latest")
    assert refused(tmp_path) == f"L: manifest {descriptor['digest']}: expected a JSON object"


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    descriptor = add_blob(tmp_path, b'{"schemaVersion": 2, "layers": [], "layers": []}', OCI_MANIFEST)
    tag_blob(tmp_path, descriptor, "latest")
    says = f"L: manifest {descriptor['digest']}: not valid JSON: key 'layers' appears twice"
    assert refused(tmp_path, error=DocumentError) == says


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"mediaType": DOCKER_MANIFEST}, DOCKER_MANIFEST),
        ({"schemaVersion": 2, "layers": []}, OCI_MANIFEST),
        ({"schemaVersion": 2, "manifests": []}, OCI_INDEX),
        ({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+json"),
    ],
)
def test_a_document_that_nothing_describes(value: dict[str, Any], expected: str) -> None:
    assert document_type(encode(value), what="D") == expected


def test_a_document_that_is_neither() -> None:
    with pytest.raises(ImageError, match=r"^D: neither an image manifest nor an index$"):
        document_type(b"{}", what="D")
