"""Images that are only declared, run with pull = never by the modules of nixpkgs and of quadlet-nix.

Their real code says what runs; the text of a unit around it, which NixOS's systemd module writes, is written here.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.process import FETCH
from tests.host.test_modules import ENABLE, FOLDER, LOCK, Modules, evaluator, named_store, write_project
from tests.nixpkgs import oci_containers, quadlet_nix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair
    from tests.host.machine import Machine
    from tests.host.registry import Registry

PEERS = f"{FOLDER}/checkout/tests/host/peers.nix"


@pytest.fixture(scope="module")
def project(machine: Machine, registry: Registry, images: dict[str, Pair]) -> Iterator[Modules]:
    with evaluator(machine) as modules:
        write_project(machine, registry, images)
        yield modules


@pytest.fixture
def store(project: Modules) -> Iterator[str]:
    """Have podman know the image store, and nothing else: the registry has what was pulled under another name."""
    _, place, _ = project.build(ENABLE, LOCK, select="it.config.virtualisation.nixoci.imageStore")
    with named_store(project.machine, place):
        yield place


@pytest.fixture
def reference(images: dict[str, Pair], registry: Registry) -> str:
    return f"{registry.host}/nginx:{images['nginx'].new.tag}"


def built_text(project: Modules, *modules: str, select: str) -> str:
    """Return the selected text, once all that it refers to is built."""
    arguments = 'args = [ "-c" "printf %s \\"$text\\" > $out" ]; builder = "/bin/sh";'
    derivation = f'derivation {{ name = "text"; system = builtins.currentSystem; {arguments} text = {select}; }}'
    _, place, _ = project.build(*modules, select=derivation)
    return project.machine.run(["cat", place]).stdout


def answers(machine: Machine, port: int) -> bool:
    return machine.run([*FETCH, f"http://127.0.0.1:{port}/"], check=False).returncode == 0


def image_of(machine: Machine, container: str) -> dict[str, Any]:
    image = machine.run(["podman", "container", "inspect", "--format={{.Image}}", container]).stdout.strip()
    listed = json.loads(machine.run(["podman", "images", "--all", "--no-trunc", "--format=json"]).stdout)
    (found,) = (each for each in listed if each["Id"] == image)
    return dict(found)


def start(machine: Machine, name: str, timeout: float = 60) -> None:
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "start", f"{name}.service"], timeout=timeout)


def test_oci_containers_runs_them(project: Modules, store: str, reference: str, registry: Registry) -> None:
    machine = project.machine
    assert store
    shutil.copy(oci_containers(), machine.root / FOLDER.lstrip("/") / "oci-containers.nix")
    container = f'{{ image = "{reference}"; pull = "never"; ports = [ "8085:80" ]; environment.A = "a \'b\' $c"; }}'
    given = (
        ENABLE,
        LOCK,
        f"imports = [ {PEERS} {FOLDER}/oci-containers.nix ];",
        f"virtualisation.oci-containers.containers.theirs = {container};",
    )
    assert project.broken(*given) == []
    select = "builtins.toJSON it.config.systemd.services.podman-theirs"
    service = json.loads(built_text(project, *given, select=select))
    (prestart,) = service["serviceConfig"].pop("ExecStartPre")
    assert "--pull never" in service["script"]
    scripts = {"ExecStart": "script", "ExecStop": "preStop", "ExecStopPost": "postStop"}
    lines = [f"{key}={value}" for key, value in service["serviceConfig"].items()]
    lines.append(f"ExecStartPre={prestart}")
    for key, attribute in scripts.items():
        file = f"/run/theirs-{attribute}"
        machine.run(["tee", file], input=f"#!/bin/sh -e\n{service[attribute]}\n")
        machine.run(["chmod", "+x", file])
        lines.append(f"{key}={file}")
    machine.run(["tee", "/run/systemd/system/podman-theirs.service"], input="[Service]\n" + "\n".join(lines) + "\n")
    registry.clear()
    try:
        start(machine, "podman-theirs")
        assert answers(machine, 8085)
        assert image_of(machine, "theirs")["ReadOnly"] is True
        assert machine.run(["podman", "exec", "theirs", "printenv", "A"]).stdout == "a 'b' $c\n"
        assert registry.requests() == []
    finally:
        machine.run(["systemctl", "stop", "podman-theirs.service"], check=False)
        machine.run(["rm", "/run/systemd/system/podman-theirs.service"])
        machine.run(["systemctl", "daemon-reload"])


def test_quadlet_nix_runs_them(project: Modules, store: str, reference: str, registry: Registry) -> None:
    machine = project.machine
    assert store
    place = machine.root / FOLDER.lstrip("/") / "quadlet-nix"
    shutil.copytree(quadlet_nix(), place, dirs_exist_ok=True)
    container = f'{{ Image = "{reference}"; Pull = "never"; PublishPort = [ "8086:80" ]; }}'
    given = (
        ENABLE,
        LOCK,
        f"imports = [ {PEERS} {FOLDER}/quadlet-nix/modules/nixos.nix ];",
        "virtualisation.quadlet.enable = true;",
        f"virtualisation.quadlet.containers.quadlet-theirs.containerConfig = {container};",
    )
    assert project.broken(*given) == []
    theirs = "it.config.virtualisation.quadlet.containers.quadlet-theirs"
    text = built_text(project, *given, select=f"{theirs}.text")
    assert "Pull=never\n" in text
    machine.run(["mkdir", "--parents", "/run/containers/systemd"])
    machine.run(["tee", "/run/containers/systemd/quadlet-theirs.container"], input=text)
    registry.clear()
    try:
        start(machine, "quadlet-theirs")
        assert answers(machine, 8086)
        assert image_of(machine, "systemd-quadlet-theirs")["ReadOnly"] is True
        assert registry.requests() == []
    finally:
        machine.run(["systemctl", "stop", "quadlet-theirs.service"], check=False)
        machine.run(["rm", "/run/containers/systemd/quadlet-theirs.container"])
        machine.run(["systemctl", "daemon-reload"])
