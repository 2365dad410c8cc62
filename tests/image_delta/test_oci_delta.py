"""Artifacts of containers/oci-delta: made, read, and their layers extracted."""

from __future__ import annotations

import gzip
import json
import random
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.compression import compress
from nixoci.delta.effort import Effort
from nixoci.errors import BlobError, DeltaError
from nixoci.extraction import extract
from nixoci.image_delta import oci_delta, tar_diff
from nixoci.image_delta.artifact import ArtifactManifest
from nixoci.image_delta.bounds import plausible_size
from nixoci.image_delta.layout import ArtifactLayout
from nixoci.image_delta.make import make_oci_delta
from nixoci.image_delta.oci_delta import OldFiles, described_layers, layer_streams
from nixoci.image_path import ImagePath
from nixoci.oci.digest import Digest
from nixoci.oci.model import Platform
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import open_source
from tests.image_delta.test_contents import nar_of
from tests.support.layers import directory, file, layer
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from nixoci.oci.image import ImageSource
    from nixoci.oci.model import Descriptor

RANDOM = random.Random(3)  # noqa: S311 - the same bytes each time
PROGRAM = RANDOM.randbytes(30_000)
COMMON = layer(directory(b"etc"), file(b"etc/os", b"base"))
OLD = layer(directory(b"usr"), file(b"usr/app", PROGRAM), file(b"usr/gone", b"gone"))
NEW = layer(directory(b"usr"), file(b"usr/app", PROGRAM[:10_000] + b"new" + PROGRAM[10_000:]))
OTHER = layer(file(b"other", b""))
"""Smaller as gzip than as a tar-diff."""


SIZES: dict[Digest, int] = {}
"""Of small layers, which may all have the least that is plausible."""


class Without:
    """A source that lacks some blobs, as a registry that is not asked for them."""

    def __init__(self, source: ImageSource, missing: set[Digest]) -> None:
        self.source, self.missing = source, missing

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        if descriptor.digest in self.missing:
            raise BlobError(f"{descriptor.digest} was asked for")
        return self.source.open_blob(descriptor)


def extracted(layout: Path, dest: Path) -> ImagePath:
    with open_source(f"oci:{layout}") as source:
        extract(resolve_image(source, Platform.parse("linux/amd64")), source, dest, name="web")
    return ImagePath.open(dest)


@pytest.fixture
def old(tmp_path: Path) -> ImagePath:
    write_layout(tmp_path / "old-layout", [COMMON, OLD])
    return extracted(tmp_path / "old-layout", tmp_path / "old")


@pytest.fixture
def source(tmp_path: Path) -> Iterator[ImageSource]:
    write_layout(tmp_path / "new-layout", [COMMON, NEW, OTHER])
    with open_source(f"oci:{tmp_path / 'new-layout'}") as opened:
        yield opened


@pytest.fixture
def made(tmp_path: Path, source: ImageSource, old: ImagePath) -> tuple[ArtifactManifest, ArtifactLayout]:
    layout = ArtifactLayout(tmp_path / "artifact")
    described = make_oci_delta(resolve_image(source), source, Effort.DEFAULT)(layout, old)
    return ArtifactManifest.parse(layout.read(described, what="x"), what="x"), layout


def test_the_artifact_has_what_the_format_promises(
    made: tuple[ArtifactManifest, ArtifactLayout], source: ImageSource, old: ImagePath
) -> None:
    manifest, layout = made
    image = resolve_image(source)
    common, new, other = image.layers
    assert manifest.artifact_type == "application/vnd.io.github.containers.oci-delta.v1"
    assert manifest.subject.digest == image.manifest.descriptor.digest
    assert manifest.config.media_type == "application/vnd.oci.empty.v1+json"
    prefix = "io.github.containers.delta."
    assert manifest.annotations == {
        f"{prefix}target": str(image.manifest.descriptor.digest),
        f"{prefix}source": str(old.document.manifest.digest),
        f"{prefix}source-config": str(old.document.config.digest),
        f"{prefix}reused": json.dumps([str(common.descriptor.digest)]),
        f"{prefix}reused-diff-id": json.dumps([str(common.diff_id)]),
    }
    roles = [(blob.annotations[f"{prefix}content"], blob.annotations.get(f"{prefix}to")) for blob in manifest.layers]
    assert roles == [
        ("image-manifest", None),
        ("image-config", None),
        ("image-layer", str(new.descriptor.digest)),
        ("image-layer", str(other.descriptor.digest)),
    ]
    assert [blob.media_type for blob in manifest.layers[2:]] == [
        "application/vnd.tar-diff",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ]
    assert [layout.blob(blob.digest).read_bytes() for blob in manifest.layers[:2]] == [
        image.manifest.text,
        image.config.text,
    ]
    assert manifest.layers[2].size < 500
    for blob in (manifest.config, *manifest.layers):
        content = layout.blob(blob.digest).read_bytes()
        assert (Digest.of(content), len(content)) == (blob.digest, blob.size)


def test_the_image_path_is_that_of_the_layers(
    made: tuple[ArtifactManifest, ArtifactLayout], source: ImageSource, old: ImagePath, tmp_path: Path
) -> None:
    manifest, layout = made
    image = resolve_image(source)
    without = Without(source, {each.descriptor.digest for each in image.layers[1:]})
    with OldFiles(old.rootfs) as files:
        streams = layer_streams(manifest, layout, files, SIZES, what="x")
        extract(image, without, tmp_path / "rebuilt", name="web", streams=streams)
    assert nar_of(tmp_path / "rebuilt") == nar_of(extracted(tmp_path / "new-layout", tmp_path / "new").path)


def refused(manifest: ArtifactManifest, layout: ArtifactLayout, source: ImageSource, old: ImagePath, dest: Path) -> str:
    with OldFiles(old.rootfs) as files:
        streams = layer_streams(manifest, layout, files, SIZES, what="x")
        with pytest.raises((BlobError, DeltaError)) as caught:
            extract(resolve_image(source), source, dest, name="web", streams=streams)
    assert not dest.exists()
    return str(caught.value)


def test_another_base_gives_another_diff_id(
    made: tuple[ArtifactManifest, ArtifactLayout], source: ImageSource, old: ImagePath, tmp_path: Path
) -> None:
    (old.rootfs / "usr/app").write_bytes(bytes(len(PROGRAM)))
    said = refused(*made, source, old, tmp_path / "rebuilt")
    layer_digest = resolve_image(source).layers[1].descriptor.digest
    assert said.startswith(f"layer {layer_digest}: what it was made from gives a tar stream of digest sha256:")


def test_a_shorter_base_is_named(
    made: tuple[ArtifactManifest, ArtifactLayout], source: ImageSource, old: ImagePath, tmp_path: Path
) -> None:
    (old.rootfs / "usr/app").write_bytes(b"short")
    assert refused(*made, source, old, tmp_path / "rebuilt") == "x: reads beyond the end of the old file 'usr/app'"


def test_a_damaged_layer_is_named(
    made: tuple[ArtifactManifest, ArtifactLayout], source: ImageSource, old: ImagePath, tmp_path: Path
) -> None:
    manifest, layout = made
    whole = manifest.layers[-1]
    layout.blob(whole.digest).write_bytes(gzip.compress(bytes(5000))[:-9])
    said = refused(manifest, layout, source, old, tmp_path / "rebuilt")
    assert said.startswith(f"x: its layer {whole.digest} cannot be decompressed")


def zeros(layout: ArtifactLayout, size: int) -> ArtifactManifest:
    """Return an artifact with a tar-diff and a whole layer, each of which makes so many zeros."""
    old_file, copies = b"usr/app", size // len(PROGRAM) + 1
    opened = bytes([tar_diff.Op.OPEN, len(old_file)]) + old_file
    again = bytes([tar_diff.Op.SEEK, 0, tar_diff.Op.COPY]) + bytes([len(PROGRAM) & 0x7F | 0x80, 0x80 | 0x6A, 1])
    kinds = {
        tar_diff.MEDIA_TYPE: tar_diff.MAGIC + compress(opened + again * copies),
        "application/vnd.oci.image.layer.v1.tar+gzip": gzip.compress(bytes(size)),
    }
    layers = [
        replace(
            layout.add(data, kind),
            annotations={oci_delta.CONTENT: oci_delta.IMAGE_LAYER, oci_delta.TO: str(Digest.of(kind.encode()))},
        )
        for kind, data in kinds.items()
    ]
    subject = layout.add(b"{}", "application/x")
    return ArtifactManifest(
        schema_version=2, config=subject, layers=layers, subject=subject, artifact_type=oci_delta.ARTIFACT_TYPE
    )


def test_a_layer_has_no_more_than_its_blob_lets_it(tmp_path: Path, old: ImagePath) -> None:
    """Its diff id is known at the end, and until then it fills the disk."""
    layout = ArtifactLayout(tmp_path / "bomb")
    least = plausible_size([])
    manifest = zeros(layout, least + 1)
    blob = least // 128 + 1000
    with OldFiles(old.rootfs) as files:
        for made, stream in layer_streams(manifest, layout, files, SIZES, what="x").items():
            with pytest.raises(DeltaError, match=f"^x: makes more than {least} bytes, which the image's layers hardly"):
                deque(stream(), maxlen=0)
            allowed = layer_streams(manifest, layout, files, {made: blob}, what="x")[made]
            assert least < sum(map(len, allowed())) <= plausible_size([blob])


def test_layers_with_another_role_are_skipped(made: tuple[ArtifactManifest, ArtifactLayout]) -> None:
    """Parsers skip what they do not know (oci-delta's README.md, Delta manifest layers)."""
    manifest, _ = made
    signature = replace(manifest.layers[0], annotations={oci_delta.CONTENT: "cosign-signature"})
    nowhere = replace(manifest.layers[2], annotations={oci_delta.CONTENT: oci_delta.IMAGE_LAYER})
    no_digest = replace(
        nowhere, media_type=tar_diff.MEDIA_TYPE, annotations={**nowhere.annotations, oci_delta.TO: "sha256:x"}
    )
    more = replace(manifest, layers=[signature, nowhere, no_digest, *manifest.layers])
    assert described_layers(more) == described_layers(manifest)
    assert len(described_layers(manifest)) == 2
