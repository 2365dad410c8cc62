from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nixoci.container.model import Deployment, Engine
from nixoci.container.rules import check
from nixoci.document import structure
from nixoci.errors import ContainerError
from nixoci.image_store.build import build_image_store
from nixoci.units.build import build_units
from nixoci.units.engines import engine_service
from nixoci.units.tools import Tools
from tests.image_store.trees import image_path, small_tree
from tests.units.samples import TOOLS, executable

STORE = Path("/nix/store/aaa-store")
REGISTER = "/n/bin/nixoci register"


def lines(engine: Engine) -> set[str]:
    return set(engine_service(engine, STORE, TOOLS).render().splitlines())


def test_docker_gets_its_images_before_it_starts() -> None:
    found = lines(Engine.DOCKER)
    assert {"Before=docker.service", "Wants=nixoci-images.service", "After=nixoci-images.service"} <= found
    assert f"ExecStart={REGISTER} docker {STORE}" in found
    assert not any("Requires=" in line for line in found)


@pytest.mark.parametrize(
    ("engine", "unit", "options"),
    [
        (Engine.CONTAINERD, "containerd.service", ""),
        (Engine.DOCKER_CONTAINERD, "containerd.service", " --namespace moby"),
        (Engine.KUBERNETES, "containerd.service", " --namespace k8s.io"),
        (Engine.K3S, "k3s.service", " --namespace k8s.io --address /run/k3s/containerd/containerd.sock"),
    ],
)
def test_containerd_gets_its_images_when_it_runs(engine: Engine, unit: str, options: str) -> None:
    found = lines(engine)
    assert {f"Requires={unit}", f"After={unit}", "After=nixoci-images.service"} <= found
    assert f"ExecStart={REGISTER} containerd {STORE}{options} --ctr /c/ctr" in found
    assert ("Before=kubelet.service" in found) == (engine is Engine.KUBERNETES)
    assert ("Before=docker.service" in found) == (engine is Engine.DOCKER_CONTAINERD)


def test_the_command_is_found_where_systemd_does_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nixoci.units.tools._SEARCH", "/nowhere")
    program = executable(tmp_path / "nixoci", "#!/bin/sh\n")
    for running, python in ((program, "/usr/bin/python3"), ("build.py", str(tmp_path / "python3"))):
        monkeypatch.setattr(sys, "argv", [running])
        monkeypatch.setattr(sys, "executable", python)
        assert Tools.find().nixoci == program
        assert Tools.find(nixoci="/n/nixoci").nixoci == "/n/nixoci"


def document(**more: object) -> Deployment:
    return structure(Deployment, more, what="d", strict=True)


def test_an_output_mounts_the_whole_store_for_engines(tmp_path: Path) -> None:
    build_image_store(tmp_path / "store", [image_path(tmp_path / "image", small_tree())], mkcomposefs=None)
    build_units(document(imageStore=str(tmp_path / "store"), engines=["docker", "k3s"]), tmp_path / "out", tools=TOOLS)
    units = tmp_path / "out/lib/systemd/system"
    made = {str(file.relative_to(units)) for file in units.rglob("*") if not file.is_dir()}
    services = {"nixoci-register-docker.service", "nixoci-register-k3s.service"}
    assert made == services | {f"multi-user.target.wants/{name}" for name in services} | {"nixoci-images.service"}
    assert (units / "multi-user.target.wants/nixoci-register-docker.service").is_file()
    assert f" {tmp_path}/store\n" in (units / "nixoci-images.service").read_text()


def test_an_image_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The services would fail at the boot, and podman's configuration would lack it without a word."""
    for given in ({"engines": ["docker"]}, {}):
        with pytest.raises(ContainerError, match=r"^imageStore: /nix/store/x-images is not an image store; name one"):
            build_units(document(imageStore="/nix/store/x-images", **given), tmp_path / "out", tools=TOOLS)
    assert not (tmp_path / "out").exists()


def test_engines_need_an_image_store_and_are_the_hosts_own(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r"^engines: they find the images of an image store; set imageStore"):
        build_units(document(engines=["docker"]), tmp_path / "out", tools=TOOLS)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ContainerError, match=r"^engines: these are the host's engines"):
        check(document(engines=["docker"]), user=True)
    with pytest.raises(ContainerError, match=r"^engines: docker is named twice"):
        check(document(engines=["docker", "docker"]))
    with pytest.raises(ContainerError, match=r"^engines: docker and docker-containerd, but dockerd keeps"):
        check(document(engines=["docker", "containerd", "docker-containerd"]))
    containers = {"nixoci-register-k3s": {"image": "i"}}
    with pytest.raises(ContainerError, match=r"like that of the engine k3s; rename one of them"):
        check(document(engines=["k3s"], images={"i": "/i"}, containers=containers))
