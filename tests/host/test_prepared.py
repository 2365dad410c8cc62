from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.host.prepared import altered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one file, as Nix leaves it."""
    path = tmp_path / "store/hash-image"
    path.mkdir(parents=True)
    file = path / "file"
    file.write_bytes(b"x")
    file.chmod(0o444)
    (path / "link").symlink_to("file")
    path.chmod(0o555)
    for made in (file, path):
        os.utime(made, (1, 1))
    return path.parent


def test_a_store_as_it_was_made_is_used_again(store: Path) -> None:
    assert altered(store) == ""


@pytest.mark.parametrize(
    "alter",
    [lambda file: file.write_bytes(b"y"), lambda file: file.chmod(0o644)],
    ids=["written", "writable"],
)
def test_a_store_that_a_test_wrote_to_is_not(store: Path, alter: Callable[[Path], object]) -> None:
    alter(store / "hash-image/file")
    assert altered(store) != ""
