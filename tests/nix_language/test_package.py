from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from nixoci.nix_language.generate import EXPRESSIONS, UNITS

CHECKOUT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def test_nix_packages_what_the_project_depends_on() -> None:
    package = (CHECKOUT / "nix/package.nix").read_text("utf-8")
    packaged = re.findall(r"python3Packages\.([a-z0-9-]+)\b", package)
    packaged += re.findall(r"python3Packages\.callPackage \./([a-z0-9-]+)\.nix", package)
    needs = {Requirement(need).name.replace(".", "-") for need in PYPROJECT["project"]["dependencies"]}
    assert set(packaged) - {"hatchling"} == needs


def test_the_wheel_holds_the_expressions_that_are_embedded() -> None:
    shipped = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    files = sorted((EXPRESSIONS | UNITS).values())
    assert shipped == {f"nix/{file}": f"nixoci/nix_language/expressions/{file}" for file in files}
