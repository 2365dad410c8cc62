"""Links that Nix can make, and those that it would refuse; tests/host has tests with the real one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nixoci.errors import StoreError
from nixoci.nix_store.links import check_gc_root, check_profile

if TYPE_CHECKING:
    from pathlib import Path

STORE_PATH = f"/nix/store/{'a' * 32}-app"


def test_a_root_may_be_new_or_replace_a_link_into_the_store(tmp_path: Path) -> None:
    check_gc_root(tmp_path / "root")
    check_gc_root(tmp_path / "new/directories/root")
    (tmp_path / "root").symlink_to(STORE_PATH)
    check_gc_root(tmp_path / "root")


def test_a_root_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "beside").symlink_to(f"/nix/store2/{'a' * 32}-app")
    for name in ("file", "folder", "link", "dangling", "beside"):
        with pytest.raises(StoreError, match=f"{name}: exists already and is no link into the Nix store; remove it"):
            check_gc_root(tmp_path / name)


def test_a_root_lies_in_a_directory_outside_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file is no directory"):
        check_gc_root(tmp_path / "file/root")
    for place in (f"{STORE_PATH}/root", f"{tmp_path}{'/..' * len(tmp_path.parts)}/nix/store/root"):
        with pytest.raises(StoreError, match="lies in the Nix store"):
            check_gc_root(tmp_path / place)


def test_a_profile_is_a_link_in_a_directory_that_is_there(tmp_path: Path) -> None:
    check_profile(tmp_path / "profile")
    (tmp_path / "profile").symlink_to("profile-1-link")
    check_profile(tmp_path / "profile")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file: exists already and is no profile"):
        check_profile(tmp_path / "file")
    with pytest.raises(StoreError, match="its parent directory does not exist; make it first"):
        check_profile(tmp_path / "missing/profile")


def test_a_file_system_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No owner of the directory could write there either."""
    found = os.statvfs(tmp_path)
    read_only = os.statvfs_result((*found[:8], found.f_flag | os.ST_RDONLY, *found[9:]))
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    for check in (check_gc_root, check_profile):
        with pytest.raises(StoreError, match=f"{tmp_path} is on a read-only file system; choose another place$"):
            check(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_link_lies_where_the_user_may_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    for check in (check_gc_root, check_profile):
        with pytest.raises(StoreError, match="may not write"):
            check(tmp_path / "link")
