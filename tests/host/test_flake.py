"""The flake, as far as it evaluates with nixpkgs' lib alone."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from nixoci.container.model import Deployment
from nixoci.document import dump
from nixoci.lock.model import EMPTY_LOCK
from nixoci.nix_language.default_nix import render_default_nix
from tests.host.test_delta import build_pair, fresh, valid
from tests.nix_language.locks import image, lock, platform
from tests.nixpkgs import CHECKOUT, nixpkgs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.machine import Machine

FILES = ("flake.nix", "flake.lock", "modules", "nix", "nixoci", "pyproject.toml", "LICENSE", "README.md")
LOCAL = ["--offline", "--no-write-lock-file", "--override-input", "nixpkgs", "path:/root/flake/nixpkgs"]
NIXPKGS = """
{
  outputs = _: {
    lib = import ./lib;
    # the packages that the outputs built here need
    legacyPackages.x86_64-linux.extend = _: rec {
      nixoci = "/opt/nixoci";
      stdenv.hostPlatform.system = "x86_64-linux";
      writeShellScript = name: text: derivation {
        inherit name text;
        system = "x86_64-linux";
        builder = "/usr/bin/bash";
        args = [ "-c" ''echo '#!/usr/bin/bash' > $out; printf %s "$text" >> $out; /usr/bin/chmod +x $out; exit'' ];
      };
    };
  };
}
"""
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
    (machine.root / "root/flake/nixpkgs/flake.nix").write_text(NIXPKGS, encoding="ascii")
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
    assert json.loads(names) == ["delta", "fromLock", "options"]
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


OUTPUTS = """
let
  lib = import /root/flake/nixpkgs/lib;
  package = name: { inherit name; type = "derivation"; };
  names = [
    "composefs" "erofs-utils" "cacert" "podman" "crun" "runc" "util-linux" "systemd" "bash" "coreutils"
    "containerd"
    "nixfmt-tree"
  ];
  pkgs = lib.genAttrs names package // {
    callPackage = _: _: package "nixoci";
    mkShell = _: package "shell";
    runCommand = name: _: _: package name;
    testers.runNixOSTest = test: package test.name;
    extend = overlay: pkgs // overlay pkgs pkgs;
  };
  nixpkgs = { inherit lib; legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: pkgs); };
  self = (import /root/flake/nixoci/flake.nix).outputs { inherit self nixpkgs; } // { outPath = "/root/flake/nixoci"; };
  shallow = value: if value.type or null == "derivation" then value.name else lib.attrNames value;
in
lib.mapAttrs (name: output: if lib.isAttrs output.x86_64-linux or null then
  { systems = lib.attrNames output; each = shallow output.x86_64-linux; } else lib.attrNames output)
  (builtins.removeAttrs self [ "outPath" ])
"""


def test_its_outputs_are_those_of_a_flake_with_modules(machine: Machine, with_lib: str) -> None:
    assert with_lib
    command = ["nix-instantiate", "--eval", "--strict", "--json", "-"]
    found = json.loads(machine.run(command, input=OUTPUTS).stdout)
    assert set(found) == {
        *("lib", "nixosModules", "homeModules", "homeManagerModules", "overlays", "templates"),
        *("apps", "packages", "checks", "formatter", "devShells"),
    }
    for name in ("apps", "packages", "checks", "formatter", "devShells"):
        assert found[name]["systems"] == ["aarch64-linux", "x86_64-linux"]
    assert set(found["checks"]["each"]) == {"nixoci", "nixos", "tests"}
    assert found["devShells"]["each"] == ["default"]
    assert found["formatter"]["each"] == "nixfmt-tree"
    assert {"default", "nixoci"} < set(found["packages"]["each"])


def test_its_module_may_be_imported_by_several_modules(machine: Machine, with_lib: str) -> None:
    assert with_lib
    expression = """
      let
        lib = import /root/flake/nixpkgs/lib;
        nixpkgs = { inherit lib; legacyPackages = { }; };
        nixoci = { type = "derivation"; outPath = "/opt/nixoci"; };
        self = (import /root/flake/nixoci/flake.nix).outputs { inherit self nixpkgs; }
          // { packages.x86_64-linux = { inherit nixoci; }; };
        packageOf = module: (lib.evalModules {
          specialArgs.pkgs.stdenv.hostPlatform.system = "x86_64-linux";
          modules = [ module { imports = [ module ]; } { _module.check = false; } ];
        }).config.virtualisation.nixoci.package.outPath;
      in
      map packageOf [ self.nixosModules.default self.homeModules.default ]
    """
    done = machine.run(["nix-instantiate", "--eval", "--strict", "--json", "-"], input=expression)
    assert json.loads(done.stdout) == ["/opt/nixoci", "/opt/nixoci"]


def test_its_packages_are_all_that_generated_files_take(machine: Machine, with_lib: str) -> None:
    assert with_lib
    command = ["nix-instantiate", "--eval", "--strict", "--json", "-"]
    found = json.loads(machine.run(command, input=OUTPUTS).stdout)
    text = render_default_nix(EMPTY_LOCK, deployment=Deployment())
    taken = set(re.findall(r"packages\.([a-z-]+),", text))
    assert {"nixoci", "podman", "systemd"} <= taken
    assert taken <= set(found["packages"]["each"])


def test_the_template_is_a_machine(machine: Machine, with_lib: str) -> None:
    """The files of `nix flake init -t`, with and without the container, evaluated with the module and nixpkgs' lib."""
    machine.run(["mkdir", "/root/flake/new"])
    machine.run(["nix", "flake", "init", "--offline", "--template", with_lib], cwd="/root/flake/new")
    assert machine.run(["ls", "/root/flake/new"]).stdout.split() == ["flake.nix", "nixoci.lock.json"]
    plain = template(machine)
    assert plain == {"enable": True, "images": [], "containers": [], "broken": []}
    text = machine.run(["cat", "/root/flake/new/flake.nix"]).stdout
    with_container = re.sub(r"# (containers\.web = \{|  image = |  ports = |\};)", r"\1", text)
    assert with_container != text
    machine.run(["tee", "/root/flake/new/flake.nix"], input=with_container)
    nginx = image("docker.io/library/nginx:1.27", amd64=platform("nginx", "base"))
    machine.run(["tee", "/root/flake/new/nixoci.lock.json"], input=dump(lock(nginx=nginx)))
    assert template(machine) == {"enable": True, "images": ["nginx"], "containers": ["web"], "broken": []}


def template(machine: Machine) -> Any:
    """Return what the template's machine declares; the modules of the flake and of NixOS are those of the tests."""
    folder = machine.root / "root/flake/nixoci/tests/host"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(CHECKOUT / "tests/host/modules.nix", folder)
    system = (
        "{ modules }: import /root/flake/nixoci/tests/host/modules.nix { inherit lib; checkout = /root/flake/nixoci;"
        " modules = modules ++ [ { options.nixpkgs.hostPlatform = lib.mkOption { type = lib.types.str; }; } ]; }"
    )
    given = f"nixpkgs.lib.nixosSystem = {system}; nixoci.nixosModules.default = {{ }};"
    select = (
        "{ inherit (cfg) enable; images = lib.attrNames cfg.images; containers = lib.attrNames cfg.containers;"
        " broken = map (each: each.message) (lib.filter (each: !each.assertion) machine.config.assertions); }"
    )
    expression = (
        "let lib = import /root/flake/nixpkgs/lib;"
        f" flake = (import /root/flake/new/flake.nix).outputs {{ {given} }};"
        " machine = flake.nixosConfigurations.machine; cfg = machine.config.virtualisation.nixoci;"
        f" in {select}"
    )
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "-"]
    return json.loads(machine.run(command, input=expression).stdout)


def test_the_option_reference_is_that_of_the_modules(machine: Machine, with_lib: str) -> None:
    rendered = machine.run(["nix", "eval", *LOCAL, "--raw", f"{with_lib}#lib.options"]).stdout
    assert (CHECKOUT / "docs/options.md").read_text("utf-8") == rendered, "run: nix eval --raw .#lib.options"


def test_from_lock_takes_the_tools_that_are_passed(machine: Machine, with_lib: str) -> None:
    tools = 'nixoci = "/opt/nixoci"; composefs = "/usr"; cacert = "/etc/ssl";'
    arguments = f'lock = /root/flake/nixoci.lock.json; system = "x86_64-linux"; {tools}'
    apply = f"lib: (lib.fromLock {{ {arguments} }}).imageStore.name"
    found = machine.run(["nix", "eval", *LOCAL, "--impure", "--raw", f"{with_lib}#lib", "--apply", apply])
    assert found.stdout == "nixoci-image-store"


@pytest.fixture(scope="module")
def closures(machine: Machine, with_lib: str) -> tuple[str, str]:
    del with_lib
    return build_pair(machine)


def received(machine: Machine, delta: str, closures: tuple[str, str]) -> None:
    """Check that a delta makes the new closure where the old one is."""
    old, new = closures
    store = fresh(machine, "/root/flake-store", old)
    machine.run(["nixoci", "receive", delta, "--store", store])
    assert new in valid(machine, store)


def test_its_delta_is_built_and_published_in_a_binary_cache(
    machine: Machine, with_lib: str, closures: tuple[str, str]
) -> None:
    old, new = closures
    arguments = 'system = "x86_64-linux"; nixoci = "/opt/nixoci"; effort = "fast"; name = "app-1-to-2";'
    paths = f"from = [ (builtins.storePath {old}) ]; to = builtins.storePath {new};"
    expression = f'(builtins.getFlake "{with_lib}").lib.delta {{ {arguments} {paths} }}'
    command = ["nix", "build", *LOCAL, "--impure", "--no-link", "--print-out-paths", "--expr", expression]
    delta = machine.run(command).stdout.strip()
    assert delta.endswith("-app-1-to-2")
    machine.run(["nix", "copy", "--to", "file:///root/flake/cache", delta])
    machine.run(["nix", "copy", "--no-check-sigs", "--from", "file:///root/flake/cache", "--to", "/root/got", delta])
    received(machine, f"/root/got{delta}", closures)


def test_its_app_builds_the_delta_of_two_paths(machine: Machine, with_lib: str, closures: tuple[str, str]) -> None:
    old, new = closures
    run = ["nix", "run", *LOCAL, f"{with_lib}#delta", "--"]
    delta = machine.run([*run, old, new]).stdout.strip()
    received(machine, delta, closures)
    machine.run(["ln", "--symbolic", new, "/root/flake/result"])
    fast = machine.run([*run, old, "/root/flake/result", "--argstr", "effort", "fast"]).stdout.strip()
    assert fast != delta
    received(machine, fast, closures)
    wrong = machine.run([*run, old], check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[-1].startswith("usage: delta FROM TO")
