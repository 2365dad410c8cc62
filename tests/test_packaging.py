from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def test_nix_packages_what_the_project_depends_on() -> None:
    package = (CHECKOUT / "nix/package.nix").read_text("utf-8")
    packaged = re.findall(r"python3Packages\.([a-z0-9-]+)\b", package)
    packaged += re.findall(r"python3Packages\.callPackage \./([a-z0-9-]+)\.nix", package)
    needs = {Requirement(need).name.replace(".", "-") for need in PYPROJECT["project"]["dependencies"]}
    assert set(packaged) - {"hatchling"} == needs
