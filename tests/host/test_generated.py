"""Nix text that Python writes for a deployment, built in Nix's sandbox: every way gives the same units."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixoci.container.model import Backend, Container, Deployment, Volume
from nixoci.document import dump
from nixoci.nix_language.module import render_module
from tests.host.test_modules import ENABLE, FOLDER, LOCK, SECCOMP, Modules, evaluator, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair
    from tests.host.machine import Machine
    from tests.host.registry import Registry

PROJECT = f"{FOLDER}/project"
_BUNDLE = re.compile(r"/nix/store/[0-9a-z]{32}-nixoci-bundle")
UNITS = "it.config.virtualisation.nixoci.units"
TOOLS = {
    "nixoci": "/opt/nixoci",
    "cacert": "/etc/ssl",
    "seccomp": "/usr/share/containers/seccomp.json",
    **dict.fromkeys(
        (
            *("composefs", "erofs-utils", "podman", "crun", "runc", "util-linux", "systemd", "bash"),
            *("coreutils", "containerd"),
        ),
        "/usr",
    ),
}
ARGUMENTS = [part for name, place in TOOLS.items() for part in ("--argstr", name, place)]
THREE = Deployment(
    containers={
        "web": Container(image="nginx", ports=["8080:80"], depends_on=["cache"], volumes=["pages:/srv:ro"]),
        "cache": Container(image="redis", backend=Backend.ROOTFS, ports=["127.0.0.1:6379:6379"]),
        "app": Container(
            image="python",
            backend=Backend.BUNDLE,
            networks=["host"],
            entrypoint=["/bin/sleep"],
            cmd=["infinity"],
            environment={"HOSTILE": "a\"b'c $HOME %n ${x} grüße"},
        ),
    },
    volumes={"pages": Volume(labels={"of": 'the "web"'})},
)

TWO = replace(THREE, containers={name: THREE.containers[name] for name in ("web", "cache")})
"""Without the bundle, which a user cannot have."""


@pytest.fixture(scope="module")
def project(machine: Machine, registry: Registry, images: dict[str, Pair]) -> Iterator[Modules]:
    with evaluator(machine) as modules:
        write_project(machine, registry, images)
        for name, deployment in (("system", THREE), ("user", TWO)):
            machine.run(["tee", f"{PROJECT}/{name}.json"], input=dump(deployment))
            machine.run(["nixoci", "module", f"{name}.json", "--output", f"{name}-module.nix"], cwd=PROJECT)
            generate = ["nixoci", "generate", "--containers", f"{name}.json", "--output", f"{name}.nix"]
            machine.run(generate, cwd=PROJECT)
        yield modules


def build(project: Modules, attribute: str, *options: str, name: str = "system") -> str:
    command = ["nix-build", f"{PROJECT}/{name}.nix", "--no-out-link", "--attr", attribute, *ARGUMENTS, *options]
    return project.machine.run(command, timeout=600).stdout.strip()


_BUNDLE = re.compile(r"/nix/store/[a-z0-9]{32}-nixoci-bundle")


def content(machine: Machine, path: str) -> dict[str, str]:
    """Return every file below a store path by its text, and every relative link.

    The path is itself written as OUT, and those of bundles as BUNDLE: they differ in what their errors say.
    """
    listed = machine.run(["find", path, "-mindepth", "1", "-not", "-type", "d", "-printf", "%P\\t%l\\n"]).stdout
    found = {}
    for line in listed.splitlines():
        name, target = line.split("\t")
        relative = target and not target.startswith("/")
        # a layer of an image is a directory
        is_text = not relative and not name.startswith("share/nixoci/images/")
        text = machine.run(["cat", f"{path}/{name}"]).stdout if is_text else target
        found[name] = _BUNDLE.sub("BUNDLE", text.replace(path, "OUT"))
    return found


@pytest.mark.parametrize("name", ["system", "user"])
def test_an_expression_and_a_module_make_the_same_units(project: Modules, name: str) -> None:
    user = name == "user"
    made = content(project.machine, build(project, "units", *["--arg", "user", "true"] * user, name=name))
    module = f"imports = [ {PROJECT}/{name}-module.nix ];"
    _, units, _ = project.build(module, SECCOMP, select=UNITS, home=user)
    by_module = content(project.machine, units)
    assert made == by_module
    containers = (TWO if user else THREE).containers
    assert {f"lib/systemd/{name}/{unit}.service" for unit in (*containers, "pages-volume")} <= set(made)


def test_an_expression_has_the_lock_s_images_and_their_store(project: Modules) -> None:
    _, store, _ = project.build(ENABLE, LOCK, select="it.config.virtualisation.nixoci.imageStore")
    assert build(project, "imageStore") == store
    _, image, _ = project.build(ENABLE, LOCK, select="it.config.virtualisation.nixoci.images.nginx")
    assert build(project, "images.nginx") == image


def test_a_module_s_containers_are_those_that_python_declared(project: Modules) -> None:
    select = "{ inherit (it.config.virtualisation.nixoci) containers volumes enable; }"
    found = project.value(f"imports = [ {PROJECT}/system-module.nix ];", select=select)
    assert found["enable"] is True
    assert found["containers"]["app"]["environment"] == THREE.containers["app"].environment
    assert found["containers"]["web"]["dependsOn"] == ["cache"]
    assert found["volumes"]["pages"]["labels"] == {"of": 'the "web"'}
    assert project.broken(f"imports = [ {PROJECT}/system-module.nix ];") == []


def test_a_module_of_image_paths_evaluates_purely_and_builds(project: Modules) -> None:
    machine = project.machine
    image = build(project, "images.nginx")
    text = render_module(Deployment(images={"nginx": image}, containers={"web": Container(image="nginx")}))
    pure = ["nix", "eval", "--json", "--expr", f"({text}).virtualisation.nixoci.images"]
    assert json.loads(machine.run(pure).stdout) == {"nginx": image}
    machine.run(["tee", f"{PROJECT}/built.nix"], input=text)
    _, units, _ = project.build(f"imports = [ {PROJECT}/built.nix ];", select=UNITS)
    assert f"X-Image={image}\n" in machine.run(["cat", f"{units}/lib/systemd/system/web.service"]).stdout
    kept = machine.run(["nix-store", "--query", "--requisites", units]).stdout.split()
    assert image in kept
