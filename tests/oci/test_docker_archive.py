from __future__ import annotations

import bz2
import hashlib
import lzma
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.compression import compress
from nixoci.errors import BlobError, NixociError
from nixoci.oci.archive import Archive
from nixoci.oci.digest import Digest
from nixoci.oci.docker_archive import DockerArchive
from nixoci.oci.layer_stream import layer_chunks
from nixoci.oci.media_types import DOCKER_MANIFEST, OCI_LAYER
from nixoci.oci.model import Descriptor, Platform
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import open_source
from tests.support.layout import config_value, encode, tar_stream, write_docker_archive, write_tar

if TYPE_CHECKING:
    from nixoci.oci.image import Image

AMD64 = Platform.parse("linux/amd64")
LAYERS = [tar_stream({"a": b"1"}), tar_stream({"b": b"2"}), tar_stream({"a": b"1"})]
CONFIG = encode(config_value([LAYERS[0]]))


def read(file: Path, reference: str = "") -> tuple[Image, list[bytes]]:
    """Return the image in an archive and its layers' tar streams, verified."""
    with open_source(f"docker-archive:{file}{reference}") as source:
        image = resolve_image(source, AMD64)
        return image, [b"".join(layer_chunks(source, layer)) for layer in image.layers]


def refused(file: Path, reference: str | None = None) -> str:
    with Archive.open_file(file, name="A") as archive, pytest.raises(NixociError) as caught:
        DockerArchive.open(archive, reference, name="A")
    return str(caught.value)


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_layers_are_taken_as_they_are_stored(tmp_path: Path, compression: Any) -> None:
    file = write_docker_archive(tmp_path / "a.tar", LAYERS, compression=compression)
    image, streams = read(file)
    assert streams == LAYERS
    assert image.manifest.descriptor.media_type == DOCKER_MANIFEST
    assert image.digest == image.manifest.descriptor.digest
    assert read(file)[0].digest == image.digest, "the same archive is the same image"


@given(st.lists(st.binary(max_size=600), max_size=4), st.sampled_from([None, "gzip", "zstd"]))
def test_any_layers(contents: list[bytes], compression: Any) -> None:
    layers = [tar_stream({"file": content}) for content in contents]
    with tempfile.TemporaryDirectory() as folder:
        file = write_docker_archive(Path(folder) / "a.tar", layers, compression=compression)
        assert read(file)[1] == layers


def test_layers_named_by_their_digest_as_docker_does_since_25(tmp_path: Path) -> None:
    text, layer = encode(config_value([LAYERS[0]])), LAYERS[0]
    config, blob = (f"blobs/sha256/{hashlib.sha256(data).hexdigest()}" for data in (text, layer))
    table = encode([{"Config": config, "RepoTags": None, "Layers": [blob]}])
    file = write_tar(tmp_path / "a.tar", {config: text, blob: layer, "manifest.json": table})
    assert read(file)[1] == [layer]


@pytest.mark.parametrize("reference", [":nginx", ":nginx:latest", ":docker.io/library/nginx:latest"])
def test_a_reference_may_be_spelled_in_any_way(tmp_path: Path, reference: str) -> None:
    file = write_docker_archive(tmp_path / "a.tar", LAYERS, tags=["nginx:latest", "nginx:1.27"])
    assert read(file, reference)[1] == LAYERS


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    file = write_docker_archive(tmp_path / "a.tar", LAYERS, tags=["nginx:latest"])
    assert refused(file, "redis") == "A: no image is called docker.io/library/redis:latest; there is nginx:latest"


def test_several_images(tmp_path: Path) -> None:
    items = [{"Config": "c.json", "RepoTags": [f"app:{number}"], "Layers": []} for number in (1, 2)]
    file = write_tar(tmp_path / "a.tar", {"manifest.json": encode(items), "c.json": encode(config_value([]))})
    assert refused(file) == "A: the archive has 2 images; add :REFERENCE, there is app:1, app:2"
    assert read(file, ":app:2")[1] == []


def test_a_name_of_two_images_is_refused(tmp_path: Path) -> None:
    items = [{"Config": f"{each}.json", "RepoTags": ["app:1"], "Layers": []} for each in ("a", "b")]
    configs = {f"{each}.json": encode(config_value([])) for each in ("a", "b")}
    file = write_tar(tmp_path / "a.tar", {"manifest.json": encode(items), **configs})
    says = "A: 2 images are called docker.io/library/app:1 in manifest.json; save the one that you want alone"
    assert refused(file, "app:1") == says
    file = write_tar(tmp_path / "b.tar", {"manifest.json": encode([items[0], items[0]]), **configs})
    assert read(file, ":app:1")[1] == []


def test_a_flipped_byte_in_a_layer_is_found(tmp_path: Path) -> None:
    file = write_docker_archive(tmp_path / "a.tar", [tar_stream({"a": b"content"})])
    file.write_bytes(file.read_bytes().replace(b"content", b"CONTENT"))
    with pytest.raises(BlobError, match="the blob is damaged"):
        read(file)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({}, "A: not a docker archive: it has no manifest.json; an OCI layout in an archive is oci-archive:FILE"),
        ({"manifest.json": b"{}"}, "A: manifest.json: expected a list"),
        ({"manifest.json": b"[{}]"}, "A: manifest.json: [0]: Config: is missing"),
        (
            {"manifest.json": b'[{"Config": "c.json"}]'},
            "A: c.json is missing in the archive; save the image again",
        ),
        (
            {"manifest.json": b'[{"Config": "c.json"}]', "c.json": CONFIG},
            "A: manifest.json has 0 layers, the config has 1 diff ids; the archive is inconsistent, do not use it",
        ),
        (
            {"manifest.json": b'[{"Config": "c.json", "Layers": ["l.tar"]}]', "c.json": CONFIG},
            "A: layer l.tar is missing in the archive; save the image again",
        ),
        (
            {"manifest.json": b" " * ((4 << 20) + 1)},
            "A: manifest.json has 4194305 bytes, more than 4194304, the limit",
        ),
    ],
)
def test_what_is_no_docker_archive(tmp_path: Path, members: dict[str, bytes], says: str) -> None:
    assert refused(write_tar(tmp_path / "a.tar", members)) == says


def test_a_blob_of_another_image(tmp_path: Path) -> None:
    with open_source(f"docker-archive:{write_docker_archive(tmp_path / 'a.tar', [])}") as source:
        other = Descriptor(media_type=OCI_LAYER, digest=Digest.of(b""), size=0)
        with pytest.raises(BlobError, match=rf"blob {Digest.of(b'')} is not in the archive$"):
            source.open_blob(other)


def test_a_compressed_layer_is_hashed_once_however_often_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[object] = []
    digest = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        hashed.append(file)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    file = write_docker_archive(tmp_path / "a.tar", [LAYERS[0]] * 20, compression="gzip")
    assert read(file)[1] == [LAYERS[0]] * 20
    assert len(hashed) == 1


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress, compress])
def test_layers_and_archives_of_any_compression_are_read(tmp_path: Path, pack: Any) -> None:
    config = encode(config_value([LAYERS[0]]))
    table = encode([{"Config": "c.json", "Layers": ["l.tar"]}])
    file = write_tar(tmp_path / "a.tar", {"c.json": config, "l.tar": pack(LAYERS[0]), "manifest.json": table})
    assert read(file)[1] == [LAYERS[0]]
    file.write_bytes(pack(file.read_bytes()))
    assert read(file)[1] == [LAYERS[0]]
