from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixoci.errors import BlobError, ImageError, InvalidReferenceError, NixociError
from nixoci.oci.digest import Digest
from nixoci.oci.layer_stream import layer_chunks
from nixoci.oci.model import Platform
from nixoci.oci.reference import Reference
from nixoci.oci.resolve import resolve_image
from nixoci.oci.sources import BlobsSource, LocalSource, open_source, parse_source
from tests.support.layout import blob_path, tar_stream, write_layout, write_oci_archive

DIGEST = Digest.of(b"")
COPY = (
    "copy the image with `skopeo copy dir:app oci:DIR:TAG` and use oci:DIR:TAG, or write docker://dir:app if it is a"
    " repository's name"
)
AMD64 = Platform.parse("linux/amd64")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx:1.27", Reference.parse("nginx:1.27")),
        ("docker://nginx:1.27", Reference.parse("nginx:1.27")),
        ("oci:dir", LocalSource(transport="oci", path=Path("dir"))),
        ("oci:/a/b:1.0", LocalSource(transport="oci", path=Path("/a/b"), tag="1.0")),
        ("oci:a@b:1.0", LocalSource(transport="oci", path=Path("a@b"), tag="1.0")),
        (f"oci:dir@{DIGEST}", LocalSource(transport="oci", path=Path("dir"), digest=DIGEST)),
        (f"oci-archive:a@b@{DIGEST}", LocalSource(transport="oci-archive", path=Path("a@b"), digest=DIGEST)),
        ("oci-archive:a.tar", LocalSource(transport="oci-archive", path=Path("a.tar"))),
        (
            "docker-archive:a.tar:docker.io/library/nginx:1.27",
            LocalSource(transport="docker-archive", path=Path("a.tar"), tag="docker.io/library/nginx:1.27"),
        ),
        (f"blobs:{DIGEST}", BlobsSource(DIGEST)),
    ],
)
def test_a_source_is_one_text(text: str, expected: object) -> None:
    assert parse_source(text) == expected
    assert parse_source(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oci:", "source 'oci:': the path is missing; expected oci:PATH[:TAG]"),
        (
            "dir:app",
            f"source 'dir:app': nixoci does not read dir:; {COPY}",
        ),
        (
            "https://host/nginx",
            (
                "source 'https://host/nginx': this is a web address; expected a reference such as docker.io/library/"
                "nginx:1.27"
            ),
        ),
        (
            "oci:b\udcff:1",
            "source 'oci:b\\udcff:1': its name is not UTF-8, as lock files and image.json are; rename it",
        ),
    ],
)
def test_what_is_no_source(text: str, says: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_source(text)
    assert str(caught.value) == says


@given(st.text(alphabet="oci-arhvedkb:/.@1 \n", max_size=30))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        source = parse_source(text)
    except NixociError:
        return
    assert parse_source(str(source)) == source


@pytest.mark.parametrize("kind", ["layout", "archive", "blobs"])
def test_the_same_image_from_everywhere(tmp_path: Path, kind: str) -> None:
    layer = tar_stream({"a": b"1"})
    layout = tmp_path / "layout"
    digest = write_layout(layout, [layer], tag="1.0")
    texts = {
        "layout": f"oci:{layout}:1.0",
        "archive": f"oci-archive:{write_oci_archive(tmp_path / 'a.tar', layout)}:1.0",
        "blobs": f"blobs:{digest}",
    }
    files = {Digest("sha256", path.name): path for path in (layout / "blobs/sha256").iterdir()}
    with open_source(texts[kind], blobs=files) as source:
        image = resolve_image(source, AMD64)
        assert image.digest == digest
        assert b"".join(layer_chunks(source, image.layers[0])) == layer


def test_a_blob_for_which_no_file_is_given(tmp_path: Path) -> None:
    digest = write_layout(tmp_path, [])
    files = {digest: blob_path(tmp_path, digest)}
    with open_source(f"blobs:{digest}", blobs=files) as source, pytest.raises(BlobError) as caught:
        resolve_image(source, AMD64)
    assert str(caught.value).startswith(f"blobs:{digest}: no file is given for blob sha256:")
    says = rf"^blobs:{DIGEST}: no file is given for blob {DIGEST}; add --blob {DIGEST}=FILE$"
    with pytest.raises(BlobError, match=says), open_source(f"blobs:{DIGEST}"):
        pass


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oci:nowhere:1", "oci:nowhere:1: there is no directory nowhere; check the path"),
        ("oci-archive:nowhere", "oci-archive:nowhere: there is no file nowhere; check the path"),
        ("docker-archive:nowhere", "docker-archive:nowhere: there is no file nowhere; check the path"),
        ("oci:file", "oci:file: file is a file; give oci-archive:file or docker-archive:file"),
        ("oci-archive:layout:1", "oci-archive:layout:1: layout is a directory; an OCI layout is oci:layout"),
        ("docker-archive:pipe", "docker-archive:pipe: pipe is no regular file"),
    ],
)
def test_a_path_that_is_not_of_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("layout").mkdir()
    os.mkfifo("pipe")
    with pytest.raises(ImageError) as caught, open_source(text):
        pass
    assert str(caught.value) == says
