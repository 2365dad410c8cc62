"""The flake, as far as it evaluates with nixpkgs' lib alone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.nixpkgs import CHECKOUT, nixpkgs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.machine import Machine

FILES = ("flake.nix", "flake.lock", "modules", "nix", "nixoci", "pyproject.toml", "LICENSE", "README.md")
LOCAL = ["--offline", "--no-write-lock-file", "--override-input", "nixpkgs", "path:/root/flake/nixpkgs"]
LOCK = '{"version": 1, "images": {}}'


@pytest.fixture(scope="module")
def flake(machine: Machine) -> Iterator[str]:
    folder = machine.root / "root/flake"
    folder.mkdir()
    for name in FILES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / "nixoci" / name)
        elif (CHECKOUT / name).exists():
            (folder / "nixoci").mkdir(exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / "nixoci" / name)
    (folder / "nixoci.lock.json").write_text(LOCK, encoding="ascii")
    yield "path:/root/flake/nixoci"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def with_lib(machine: Machine, flake: str) -> str:
    place = nixpkgs()
    shutil.copytree(place / "lib", machine.root / "root/flake/nixpkgs/lib")
    (machine.root / "root/flake/nixpkgs/flake.nix").write_text(
        "{ outputs = _: { lib = import ./lib; }; }\n", encoding="ascii"
    )
    return flake


@pytest.mark.parametrize(
    "file", ["flake.nix", "nix/package.nix", "nix/default.nix", "modules/test.nix", "nix/template/flake.nix"]
)
def test_it_parses(machine: Machine, flake: str, file: str) -> None:
    machine.run(["nix-instantiate", "--parse", f"{flake.removeprefix('path:')}/{file}"])


def test_the_lock_pins_its_one_input(machine: Machine, flake: str) -> None:
    # --no-update-lock-file refuses a lock that is not complete for flake.nix
    metadata = machine.run(["nix", "flake", "metadata", "--offline", "--no-update-lock-file", "--json", flake]).stdout
    nodes = json.loads(metadata)["locks"]["nodes"]
    assert set(nodes) == {"root", "nixpkgs"}
    assert {"rev", "narHash", "lastModified"} <= set(nodes["nixpkgs"]["locked"])


def test_its_outputs_that_need_no_package(machine: Machine, with_lib: str) -> None:
    names = machine.run(["nix", "eval", *LOCAL, "--json", f"{with_lib}#lib", "--apply", "builtins.attrNames"]).stdout
    assert json.loads(names) == ["fromLock", "options"]
    kind = machine.run(["nix", "eval", *LOCAL, "--raw", f"{with_lib}#overlays.default", "--apply", "builtins.typeOf"])
    assert kind.stdout == "lambda"


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("nixosModules", ["default", "nixoci"]),
        ("homeModules", ["default"]),
        ("homeManagerModules", ["default"]),
        ("templates", ["default"]),
    ],
)
def test_its_modules_and_template(machine: Machine, with_lib: str, output: str, names: list[str]) -> None:
    found = machine.run(["nix", "eval", *LOCAL, "--json", f"{with_lib}#{output}", "--apply", "builtins.attrNames"])
    assert json.loads(found.stdout) == names


def test_the_option_reference_is_that_of_the_modules(machine: Machine, with_lib: str) -> None:
    rendered = machine.run(["nix", "eval", *LOCAL, "--raw", f"{with_lib}#lib.options"]).stdout
    assert (CHECKOUT / "docs/options.md").read_text("utf-8") == rendered, "run: nix eval --raw .#lib.options"


def test_from_lock_takes_the_tools_that_are_passed(machine: Machine, with_lib: str) -> None:
    tools = 'nixoci = "/opt/nixoci"; composefs = "/usr"; oras = "/usr"; cacert = "/etc/ssl";'
    arguments = f'lock = /root/flake/nixoci.lock.json; system = "x86_64-linux"; {tools}'
    apply = f"lib: (lib.fromLock {{ {arguments} }}).imageStore.name"
    found = machine.run(["nix", "eval", *LOCAL, "--impure", "--raw", f"{with_lib}#lib", "--apply", apply])
    assert found.stdout == "nixoci-image-store"
