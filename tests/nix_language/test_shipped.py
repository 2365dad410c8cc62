from __future__ import annotations

from importlib.resources import files

from nixoci.image_path import FORMAT_VERSION
from nixoci.nix_language.default_nix import EXPRESSIONS, UNITS
from nixoci.nix_language.shipped import shipped


def test_nix_and_python_say_the_same_format_version() -> None:
    assert shipped("format-version.nix") == str(FORMAT_VERSION)


def test_every_expression_is_embedded_or_the_format_version() -> None:
    there = {file.name for file in (files("nixoci.nix_language") / "expressions").iterdir()}
    assert there == {*EXPRESSIONS.values(), *UNITS.values(), "format-version.nix"}
