from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

import pytest

from nixoci.doctor import gather
from nixoci.doctor.gather import free_ids, subordinate_ids
from tests.support.skopeo import install_program

if TYPE_CHECKING:
    from pathlib import Path


def test_subordinate_ids_are_those_of_all_lines_of_a_user() -> None:
    lines = ["alice:100000:65536", "bob:165536:10", "1000:300000:4\n", "# comment", "alice:1", ""]
    assert subordinate_ids(lines, "alice", 1000) == 65540
    assert subordinate_ids(lines, "carol", 1002) == 0


@pytest.mark.parametrize("count", ["", "many", "-1", "1_0", "²", "0x10"])
def test_a_line_of_subordinate_ids_that_is_none_counts_for_nothing(count: str) -> None:
    assert subordinate_ids([f"alice:100000:{count}", "alice:200000:5"], "alice", 1000) == 5


def test_free_ids_are_nobodys() -> None:
    """Containers of two users that share ids can write each other's files."""
    assert (
        free_ids(["alice:100000:65536", "bob:300000:10\n", "# comment", "carol:400000:many", "dave:200000:5"]) == 300010
    )
    assert free_ids(["alice:1000:5"]) == free_ids([]) == 100000


def test_a_nix_that_cannot_use_its_store_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_program(monkeypatch, tmp_path, "nix", '#!/bin/sh\n[ "$1" = --version ] || { echo error: x >&2; exit 1; }\n')
    assert gather.gather("no-such-podman").nix_error == "x"
    install_program(monkeypatch, tmp_path, "nix", "#!/bin/sh\nexit 0\n")
    assert gather.gather("no-such-podman").nix_error == ""


def test_a_user_need_not_be_in_etc_passwd(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = next(uid for uid in range(60_000, 70_000) if uid not in {entry.pw_uid for entry in pwd.getpwall()})
    monkeypatch.setattr("os.geteuid", lambda: unknown)
    facts = gather.gather("no-such-podman")
    assert (facts.uid, facts.user, facts.rootless) == (unknown, str(unknown), True)


def test_a_store_that_cannot_be_read_is_told_apart_from_one_that_is_none(tmp_path: Path) -> None:
    def error(path: Path) -> str:
        return gather._image_store(path, tmp_path, query=False).error

    loop, empty, damaged = (tmp_path / name for name in ("loop", "empty", "damaged"))
    loop.symlink_to("loop")
    empty.mkdir()
    (damaged / "overlay-images/images.json").mkdir(parents=True)
    (tmp_path / "dangling").symlink_to("gone")
    assert error(tmp_path / "gone") == "does not exist"
    assert error(tmp_path / "dangling") == "is a link to gone, which does not exist"
    assert error(tmp_path / "a\0b") == "cannot be a path: it has a NUL character"
    assert error(loop) == f"cannot be read: {loop}: Too many levels of symbolic links"
    assert error(empty) == f"is not an image store: it has no {empty}/overlay-images/images.json"
    assert error(damaged) == f"cannot be read: {damaged}/overlay-images/images.json: Is a directory"


def test_images_with_and_without_a_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "overlay-images").mkdir()
    listed = '[{"id": "aa", "names": ["a:1", "a:2"]}, {"id": "bb", "names": []}, {"id": "cc"}]'
    (tmp_path / "overlay-images/images.json").write_text(listed, encoding="ascii")
    facts = gather._image_store(tmp_path, tmp_path / "conf", query=False)
    assert (facts.images, facts.nameless) == ({"a:1": "aa", "a:2": "aa"}, 2)


def test_a_store_with_its_own_trees_lacks_none(tmp_path: Path) -> None:
    for made in ("overlay-images", "overlay/layer/diff", "overlay/layer/composefs-data", "overlay/l"):
        (tmp_path / made).mkdir(parents=True)
    (tmp_path / "overlay-images/images.json").write_text("[]", encoding="ascii")
    (tmp_path / "overlay/layer/composefs-data/composefs.blob").touch()
    facts = gather._image_store(tmp_path, tmp_path / "conf", query=False)
    assert (facts.error, facts.erofs, facts.missing_trees) == ("", True, ())
