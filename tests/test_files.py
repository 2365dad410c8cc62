from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixoci.output import write_if_changed

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_gets_the_usual_mode(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    assert write_if_changed(tmp_path / "new", "é\n")
    assert (tmp_path / "new").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "new").stat().st_mode == usual.stat().st_mode


def test_a_changed_file_keeps_its_mode_and_its_symlink(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old", encoding="utf-8")
    target.chmod(0o640)
    link.symlink_to("target")
    assert write_if_changed(link, "new")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"target", "link"}


def test_the_same_text_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("same", encoding="utf-8")
    before = file.stat()
    assert not write_if_changed(file, "same")
    assert (before.st_ino, before.st_mtime_ns) == (file.stat().st_ino, file.stat().st_mtime_ns)


def test_a_missing_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_if_changed(tmp_path / "missing" / "file", "text")
    assert list(tmp_path.iterdir()) == []
