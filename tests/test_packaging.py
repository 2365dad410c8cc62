from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

import nixoci
from nixoci.cli import cli

CHECKOUT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))


def test_nix_packages_what_the_project_depends_on() -> None:
    package = (CHECKOUT / "nix/package.nix").read_text("utf-8")
    packaged = re.findall(r"python3Packages\.([a-z0-9-]+)\b", package)
    packaged += re.findall(r"python3Packages\.callPackage \./([a-z0-9-]+)\.nix", package)
    needs = {Requirement(need).name.replace(".", "-") for need in PYPROJECT["project"]["dependencies"]}
    assert set(packaged) - {"hatchling"} == needs


def test_all_say_the_same_of_the_project() -> None:
    description = PYPROJECT["project"]["description"]
    assert f'description = "{description}"' in (CHECKOUT / "flake.nix").read_text("utf-8")
    for text in (nixoci.__doc__, cli.help):
        assert text is not None
        assert text.startswith(f"{description}.\n")


def test_nix_installs_manual_pages_and_completions(tmp_path: Path) -> None:
    """The commands of the package's postInstall, run as stdenv runs them."""
    package = (CHECKOUT / "nix/package.nix").read_text("utf-8")
    script = re.search(r"postInstall = [^;]*?''\n(.*?)\n  '';", package, re.DOTALL)
    assert script is not None
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/nixoci"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m nixoci "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = {"out": str(tmp_path), "PATH": os.environ["PATH"], "HOME": "/homeless-shelter"}
    environment["PYTHONPATH"] = str(CHECKOUT)
    subprocess.run(["bash", "-euo", "pipefail", "-c", script[1]], env=environment, check=True, cwd=tmp_path)
    share = tmp_path / "share"
    assert (share / "man/man1/nixoci.1").read_text("utf-8").startswith(".TH NIXOCI 1")
    assert (share / "man/man1/nixoci-add.1").exists()
    for place, says in {
        "bash-completion/completions/nixoci": "complete -o nosort",
        "zsh/site-functions/_nixoci": "#compdef nixoci",
        "fish/vendor_completions.d/nixoci.fish": "complete --no-files",
    }.items():
        assert says in (share / place).read_text("utf-8")
