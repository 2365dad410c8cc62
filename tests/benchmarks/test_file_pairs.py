"""The files that differ, each with the old file that peers compare it with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.file_pairs import differing

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = f"{'a' * 32}-tool-1.0", f"{'b' * 32}-tool-1.1"


def tree(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def test_same_path_then_masked_digits_nearest_in_size_then_nothing(tmp_path: Path) -> None:
    old = tree(
        tmp_path / OLD,
        {"bin/tool": b"old", "lib/liba.so.1.2": b"one", "lib64/liba.so.1.3": b"much longer", "moved": b"same"},
    )
    new = tree(
        tmp_path / NEW, {"bin/tool": b"new", "lib/liba.so.1.4": b"two", "elsewhere": b"same", "added": b"new one"}
    )
    found = {str(file.relative_to(new)): before for before, file in differing([old], [new])}
    assert found == {
        "bin/tool": tmp_path / OLD / "bin/tool",
        "lib/liba.so.1.4": tmp_path / OLD / "lib/liba.so.1.2",
        "added": None,
    }


def test_equal_and_empty_files_do_not_differ(tmp_path: Path) -> None:
    old = tree(tmp_path / OLD, {"a": b"content"})
    new = tree(tmp_path / NEW, {"b": b"content", "empty": b""})
    assert differing([old], [new]) == []
