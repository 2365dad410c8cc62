"""Every long work shows a total on a terminal, and ends with all of it done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.lock.names import blob_name
from tests.gc_roots.test_podman import stand_in, write
from tests.image_store.trees import image_path, small_tree
from tests.support.layers import file, layer
from tests.support.layout import write_layout, write_platforms
from tests.support.skopeo import install_program, install_skopeo
from tests.support.terminal import drawn_bars

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

    Run = Callable[..., Result]

LAYERS = [layer(file(b"data", b"x" * 70_001)), layer(file(b"more", b"y" * 12_345))]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")


def percentages(nixoci: Run, *arguments: str) -> dict[str, int | None]:
    """Run a command on a terminal, and return the last percentage of each bar."""
    codes: list[int] = []
    bars = drawn_bars(lambda: codes.append(nixoci(*arguments).code))
    assert codes == [0]
    return {label: percent for label, (percent, _) in bars.items()}


def test_extract(tmp_path: Path, nixoci: Run) -> None:
    write_layout(tmp_path / "web", LAYERS)
    assert percentages(nixoci, "extract", "oci:web", "image", "--platform", "linux/amd64") == {"extracting web": 100}


def test_image_store(tmp_path: Path, nixoci: Run) -> None:
    image_path(tmp_path / "image", small_tree())
    assert percentages(nixoci, "image-store", "store", "image", "--no-erofs") == {"hashing sample": 100}


def test_the_lock(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_platforms(tmp_path / "layout", "linux/amd64", "linux/arm64", tag="1.0")
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout", tags=["1.0", "1.1"])
    reference = "example.org/web:1.0"
    platforms = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    assert percentages(nixoci, "add", reference, *platforms) == {f"reading {reference}": 100}
    nixoci("add", "oci:layout:1.0", "--name", "local", "--platform", "linux/amd64")
    assert percentages(nixoci, "update") == {"updating": 100}
    assert percentages(nixoci, "verify") == {"verifying": 100}
    assert percentages(nixoci, "verify", "local", "--offline") == {"verifying": 100}
    assert percentages(nixoci, "outdated") == {"looking for newer images": 100}


NIX_STORE = """\
#!/bin/sh
case $1 in
--check-validity) shift 2; for path; do [ -e "$path" ] || echo "$path"; done ;;
esac
"""
NIX_PREFETCH_URL = """\
#!/bin/sh
cp "${{5#file://}}" "{store}/$4"
"""


@pytest.mark.parametrize("local", [True, False])
def test_prefetch(tmp_path: Path, nixoci: Run, monkeypatch: pytest.MonkeyPatch, local: bool) -> None:
    write_layout(tmp_path / "layout", LAYERS, tag="1.0")
    install_skopeo(monkeypatch, tmp_path, tmp_path / "layout")
    (tmp_path / "store").mkdir()
    monkeypatch.setattr("nixoci.lock.prefetch.blob_path", lambda digest: tmp_path / "store" / blob_name(digest))
    for name, script in (("nix-store", NIX_STORE), ("nix-prefetch-url", NIX_PREFETCH_URL)):
        install_program(monkeypatch, tmp_path, name, script.format(store=tmp_path / "store"))
    install_program(monkeypatch, tmp_path, "nix-hash", f"#!/bin/sh\necho {'0' * 64}\n")
    reference = "oci:layout:1.0" if local else "example.org/web:1.0"
    nixoci("add", reference, "--name", "web", "--platform", "linux/amd64")
    arguments = ("prefetch", "--no-image-paths")
    bars = percentages(nixoci, *arguments)
    assert bars == {"fetching and extracting": 100}
    assert percentages(nixoci, "prefetch", "--no-nar-hash") == {"downloading": 100}


def test_gc_roots(tmp_path: Path, nixoci: Run) -> None:
    write(tmp_path, "containers.json", [{"id": "a", "image": "1"}, {"id": "b", "image": ""}])
    command = ("gc-roots", "--podman", str(stand_in(tmp_path)), "--directory", str(tmp_path / "roots"), "--dry-run")
    assert percentages(nixoci, *command) == {"finding the images of containers": 100}
