"""Checkouts for tests that evaluate nixpkgs' `lib`; the whole of nixpkgs is not available without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def nixpkgs() -> Path:
    """Return a folder that holds `lib`: nixpkgs, or nixpkgs.lib published alone. Skip the test if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nixoci/nixpkgs"
    named = os.environ.get("NIXOCI_NIXPKGS")
    for place in (Path(named) if named else None, cache, _search_path(), _locked_input()):
        if place and (place / "lib/default.nix").is_file():
            return place
    pytest.skip(
        "nixpkgs' lib NOT found, so nothing that needs it was tested: set NIXOCI_NIXPKGS to a checkout of nixpkgs"
        f" or of nixpkgs.lib, or put one at {cache}"
    )


def oci_containers() -> Path:
    """Return the file of NixOS's module `virtualisation.oci-containers`. Skip the test if there is none."""
    file = nixpkgs() / "nixos/modules/virtualisation/oci-containers.nix"
    if not file.is_file():
        pytest.skip(f"{file} NOT found, so images were not run by it: set NIXOCI_NIXPKGS to a checkout of nixpkgs")
    return file


def quadlet_nix() -> Path:
    """Return a checkout of mirkolenz/quadlet-nix, whose modules need only `lib`. Skip the test if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nixoci/quadlet-nix"
    place = Path(os.environ.get("NIXOCI_QUADLET_NIX") or cache)
    if not (place / "modules/nixos.nix").is_file():
        pytest.skip(
            "quadlet-nix NOT found, so images were not run by it: set NIXOCI_QUADLET_NIX to a checkout of"
            f" mirkolenz/quadlet-nix, or put one at {cache}"
        )
    return place


def _search_path() -> Path | None:
    return _ask("nix-instantiate", "--find-file", "nixpkgs")


def _locked_input() -> Path | None:
    flake = f'(builtins.getFlake "path:{CHECKOUT}").inputs.nixpkgs.outPath'
    features = ("--extra-experimental-features", "nix-command flakes")
    return _ask("nix", "eval", *features, "--impure", "--raw", "--expr", flake)


def _ask(*command: str) -> Path | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()) if done.returncode == 0 else None
