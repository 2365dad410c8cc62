"""Figures that are measured once per pair, method and version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.cost import NotMeasuredError
from benchmarks.figures import Row, remembered

if TYPE_CHECKING:
    from pathlib import Path


class Method:
    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> Row:
        self.runs += 1
        return {"method": "bsdiff", "size": self.runs}


def test_the_same_parts_are_measured_once(tmp_path: Path) -> None:
    method = Method()
    rows = [remembered(tmp_path, ["old", "new", "bsdiff 4.3"], method) for _ in range(2)]
    assert [row["size"] for row in rows] == [1, 1]
    assert method.runs == 1


def test_another_version_or_pair_is_measured_again(tmp_path: Path) -> None:
    method = Method()
    for parts in (["old", "new", "bsdiff 4.3"], ["old", "new", "bsdiff 4.4"], ["old", "newer", "bsdiff 4.3"]):
        remembered(tmp_path, parts, method)
    assert method.runs == 3


def test_without_a_folder_each_is_measured() -> None:
    method = Method()
    assert [remembered(None, ["old"], method)["size"] for _ in range(2)] == [1, 2]


def test_what_cannot_be_measured_leaves_nothing(tmp_path: Path) -> None:
    def missing() -> Row:
        raise NotMeasuredError("tar-diff is not installed")

    with pytest.raises(NotMeasuredError):
        remembered(tmp_path, ["old"], missing)
    assert not list(tmp_path.iterdir())
