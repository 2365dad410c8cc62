"""The README's recipe for plain podman, command by command, on a machine whose Nix has no flakes and no registry."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.process import FETCH
from tests.host.registry import Registry
from tests.nixpkgs import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair

FOLDER = "/root/recipe"
README_IMAGE = "docker.io/library/nginx:1.27"
PROFILE = "/nix/var/nix/profiles/nixoci"
NIXPKGS = """
{ system, config, overlays }: {
  nixoci = "/opt/nixoci";
  composefs = "/usr";
  oras = "/usr";
  cacert = "/etc/ssl";
}
"""
"""What the recipe builds with, in the place of nixpkgs."""

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks() -> list[list[str]]:
    """Return the commands of each console block of the recipe."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("\n## With plain podman\n") :]
    section = section[: section.index("\n## See it work\n")]
    return [
        [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
        for block in _BLOCK.findall(section)
    ]


class Recipe:
    """A machine where the recipe's commands are typed; the README's image comes from the machine's own registry."""

    def __init__(self, machine: Machine, reference: str) -> None:
        self.machine = machine
        self.reference = reference

    def type(self, command: str, *, check: bool = True) -> str:
        """Type a command in the recipe's directory."""
        typed = command.replace(README_IMAGE, self.reference)
        done = self.machine.run(["bash", "-c", typed], cwd=FOLDER, check=check, timeout=600)
        return done.stdout if check else done.stderr

    def page(self) -> str:
        """Fetch the page of the container."""
        return self.machine.run([*FETCH, "http://127.0.0.1:8080/"]).stdout

    def image(self) -> str:
        """Return the id of the image that the container runs."""
        return self.machine.run(["podman", "inspect", "--format={{.Image}}", "web"]).stdout.strip()

    def findings(self) -> list[dict[str, Any]]:
        """Return what `nixoci doctor` does not find ok."""
        found = json.loads(self.machine.run(["nixoci", "doctor", "--json"]).stdout)
        return [each for each in found if each["status"] != "ok"]


@pytest.fixture(scope="module")
def recipe(images: dict[str, Pair]) -> Iterator[Recipe]:
    with Machine(binds={images_dir(): INSIDE}) as machine, Registry(machine) as registry:
        conf = machine.run(["cat", "/etc/nix/nix.conf"]).stdout.replace(
            "experimental-features = nix-command flakes", ""
        )
        machine.run(["tee", "/etc/nix/nix.conf"], input=conf)
        machine.run(["systemctl", "restart", "nix-daemon"])
        clone(machine)
        yield Recipe(machine, registry.push(images["nginx"].old))


def clone(machine: Machine) -> None:
    """Put this checkout where the README clones it to, with a lock of the nixpkgs that is here."""
    folder = machine.root / FOLDER.lstrip("/")
    for name in ("nixoci", "nix"):
        shutil.copytree(CHECKOUT / name, folder / "nixoci" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("default.nix", "flake.nix", "flake.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder / "nixoci" / name)
    machine.run(["mkdir", "--parents", "/root/source"])
    machine.run(["tee", "/root/source/default.nix"], input=NIXPKGS)
    source = machine.run(["nix-store", "--add-fixed", "--recursive", "sha256", "/root/source"]).stdout.strip()
    machine.run(["nix-store", "--realise", source, "--add-root", "/root/nixpkgs"])  # cannot be fetched again
    nar = machine.run(["nix-hash", "--type", "sha256", "--base32", "/root/source"]).stdout.strip()
    lock = folder / "nixoci/flake.lock"
    document = json.loads(lock.read_text(encoding="utf-8"))
    document["nodes"]["nixpkgs"]["locked"]["narHash"] = f"sha256:{nar}"
    lock.write_text(json.dumps(document), encoding="utf-8")


def test_the_recipe(recipe: Recipe, images: dict[str, Pair]) -> None:
    pin, build, use, update, roll_back, collect = blocks()
    for command in (*pin, *build, *use):
        recipe.type(command)
    assert "nginx" in recipe.page()
    assert recipe.machine.run(["podman", "images", "--quiet", "--filter=readonly=false"]).stdout == ""
    assert [each["check"] for each in recipe.findings()] == ["gc roots of containers"]
    old = recipe.image()
    first = recipe.type(f"readlink --canonicalize {PROFILE}")

    copy = ["skopeo", "copy", "--quiet", images["nginx"].new.inside, f"docker://{recipe.reference}"]
    recipe.machine.run(copy, timeout=300)
    for command in update:
        recipe.type(command)
    new = recipe.image()
    assert new != old
    assert "nginx" in recipe.page()

    for command in roll_back:
        recipe.type(command)
    assert recipe.image() == old
    assert recipe.type(f"readlink --canonicalize {PROFILE}") == first

    for command in collect:
        recipe.type(command)
    assert "nginx" in recipe.page()
    assert recipe.findings() == []
    recipe.type("podman stop --time 0 web && podman start web")
    assert "nginx" in recipe.page()


def test_a_lock_that_changed_is_not_built_from_an_old_expression(recipe: Recipe) -> None:
    recipe.type(f"nixoci add {README_IMAGE} --name web")
    recipe.type("nixoci generate --nixoci nixoci --output default.nix")
    recipe.type(f"nixoci add {README_IMAGE} --name other")
    error = recipe.type("nix-build --no-out-link --attr imageStore", check=False)
    assert f"nixoci: {FOLDER}/nixoci.lock.json has changed since this file was made from it" in error
    recipe.type("rm nixoci.lock.json default.nix")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "error: nixoci: this file does not say where nixoci comes from"),
        ("--flake flake:nixoci", "nixoci: the tools come from a flake"),
    ],
)
def test_a_file_without_tools_says_the_way_out(recipe: Recipe, options: str, says: str) -> None:
    recipe.type(f"nixoci add {README_IMAGE} --name web")
    recipe.type(f"nixoci generate {options} --output default.nix")
    error = recipe.type("nix-build --no-out-link --attr imageStore", check=False)
    assert says in error
    assert "--argstr checkout PATH" in error
    recipe.type(f"nix-instantiate --attr imageStore --argstr checkout {FOLDER}/nixoci")
    wrong = recipe.type("nix-build --no-out-link --attr imageStore --argstr checkout /nowhere", check=False)
    assert "error: nixoci: /nowhere is not a checkout of nixoci" in wrong
    recipe.type("rm nixoci.lock.json default.nix")
