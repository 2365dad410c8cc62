"""The lock that the flake's template starts with."""

from __future__ import annotations

from pathlib import Path

from nixoci.lock.file import read_lock

TEMPLATE = Path(__file__).parents[2] / "nix/template/nixoci.lock.json"


def test_the_template_starts_with_an_empty_lock() -> None:
    assert read_lock(TEMPLATE).images == {}
