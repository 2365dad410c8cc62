from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import StoreError
from nixoci.layer_cache.layout import entry_path, read_entries
from nixoci.oci.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_entry_is_where_containerd_looks_for_it(algorithm: str) -> None:
    """containerd, internal/erofsutils/mount.go, CacheBlobPath."""
    diff_id = Digest.of(b"layer", algorithm)
    assert str(entry_path(diff_id)) == f"{algorithm}/{diff_id.hex[:2]}/{diff_id.hex}.erofs"


def test_entries_are_found_behind_their_links(tmp_path: Path) -> None:
    first, second = Digest.of(b"1"), Digest.of(b"2", "sha512")
    (tmp_path / "file").write_bytes(b"")
    for diff_id in (first, second):
        file = tmp_path / "cache" / entry_path(diff_id)
        file.parent.mkdir(parents=True)
        file.symlink_to(tmp_path / "file")
    assert read_entries(tmp_path / "cache") == dict.fromkeys((first, second), (tmp_path / "file").resolve())


@pytest.mark.parametrize(
    "name",
    [
        "sha256/aa/" + "a" * 64,
        "sha256/ab/" + "a" * 64 + ".erofs",
        "sha256/" + "a" * 64 + ".erofs",
        "sha256/aa/" + "a" * 63 + ".erofs",
        "md5/aa/" + "a" * 32 + ".erofs",
        "a.erofs",
        "rootfs/etc/passwd",
    ],
)
def test_another_file_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    message = f"{file}: no file of a layer cache; give caches that `nixoci layer-cache` made"
    with pytest.raises(StoreError, match=f"^{re.escape(message)}$"):
        read_entries(tmp_path)


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    file = tmp_path / entry_path(Digest.of(b""))
    file.parent.mkdir(parents=True)
    file.symlink_to("/nowhere")
    with pytest.raises(StoreError, match=r"the file that it links is gone; make the layer cache .* again$"):
        read_entries(tmp_path)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_entries(tmp_path / "cache")


@pytest.mark.parametrize("name", [str(entry_path(Digest.of(b""))), "sha256/aa"])
@pytest.mark.parametrize("link", [True, False])
def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str, *, link: bool) -> None:
    """A cache that is joined without the layer would look whole."""
    place, other = tmp_path / "cache" / name, tmp_path / "other"
    place.parent.mkdir(parents=True)
    other.mkdir()
    if link:
        place.symlink_to(other)
    else:
        place.mkdir()
    if name == "sha256/aa" and not link:
        assert read_entries(tmp_path / "cache") == {}
        return
    with pytest.raises(StoreError, match=f"^{re.escape(str(place))}: no file of a layer cache"):
        read_entries(tmp_path / "cache")
