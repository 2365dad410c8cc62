"""Blobs that builds read from a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.errors import BlobError
from nixoci.oci.fetch import fetch_blob, registry_of_build
from nixoci.oci.layout import Layout
from nixoci.oci.reference import Reference
from nixoci.oci.remote import Remote
from tests.nix_language.locks import digest
from tests.support.http_registry import Behavior, serve
from tests.support.layers import file, layer
from tests.support.layout import write_layout

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write_layout(tmp_path / "layout", [layer(file(b"data", b"x" * 1000))])
    return tmp_path / "layout"


def test_each_kind_of_blob_is_fetched(layout: Path, tmp_path: Path) -> None:
    root = Layout.open(layout, "latest", name="layout").root.digest
    with serve(layout) as served:
        for number, blob in enumerate((layout / "blobs/sha256").iterdir()):
            dest = tmp_path / str(number)
            is_manifest = blob.name == root.hex
            with registry_of_build(served.repository, image="web", way_out="x") as remote:
                fetch_blob(remote, root.parse(f"sha256:{blob.name}"), dest, manifest=is_manifest)
            assert dest.read_bytes() == blob.read_bytes()
            assert served.requests[-1][0].split("/")[-2] == ("manifests" if is_manifest else "blobs")


def test_a_failure_says_why_and_the_way_out(layout: Path, tmp_path: Path) -> None:
    with (
        serve(layout, Behavior(statuses=[401])) as served,
        pytest.raises(BlobError) as caught,
        registry_of_build(served.repository, image="web", way_out="nixoci prefetch web") as remote,
    ):
        fetch_blob(remote, digest("layer"), tmp_path / "out", manifest=False)
    assert str(caught.value) == (
        f"image web: cannot be fetched from {served.repository}: {served.host} wants a login; if the registry wants a"
        " login or is not reached from Nix builds, run `nixoci prefetch web`"
    )
    assert not (tmp_path / "out").exists()


def test_other_bytes_are_refused(layout: Path, tmp_path: Path) -> None:
    root = Layout.open(layout, "latest", name="layout").root.digest
    with serve(layout, Behavior(wrong=b"x")) as served:
        remote = Remote(Reference.parse(served.repository))
        with pytest.raises(BlobError, match=r"blob sha256:[0-9a-f]{64} has the digest sha256:[0-9a-f]{64} there"):
            fetch_blob(remote, root, tmp_path / "out", manifest=True)
    assert not (tmp_path / "out").exists()


def test_local_files_are_for_prefetch() -> None:
    with (
        pytest.raises(BlobError) as caught,
        registry_of_build(None, image="web", way_out="nixoci prefetch web"),
    ):
        pass
    assert str(caught.value) == (
        "image web: pinned from local files, which a Nix build cannot read; run `nixoci prefetch web` where they are"
    )
