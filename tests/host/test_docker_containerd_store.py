"""Registered images in Docker with its containerd image store, which is the namespace moby of containerd."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.host.engines import install_runtime, make_entries, make_store, mount_images
from tests.host.machine import Machine
from tests.host.registry import Registry
from tests.host.small import small_layers
from tests.support.layers import file, layer
from tests.support.layout import write_docker_archive, write_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("docker.io/library/small:1", "docker.io/library/small:2")
DAEMON = {"features": {"containerd-snapshotter": True}, "iptables": False, "ip6tables": False, "bridge": "none"}
CREATED = "2024-05-06T07:08:09Z"
CONFIG = {
    "created": CREATED,
    "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin"]},
    "history": [{"created": CREATED, "created_by": text} for text in ("ADD base", "ADD version")],
}
DOCKERFILE = """\
FROM small:1
RUN echo built > /built && stat --format='%u %g %a' /var/mail > /mail
"""


class Docker:
    """A machine with Docker, and an image store of two versions of an image."""

    def __init__(self, machine: Machine, registry: Registry, store: str) -> None:
        self.machine = machine
        self.registry = registry
        self.store = store

    def __call__(self, *command: str, check: bool = True) -> str:
        return self.machine.run(["docker", *command], check=check, env={"DOCKER_BUILDKIT": "0"}).stdout.strip()

    def run(self, image: str, *command: str) -> str:
        return self("run", "--rm", "--network=none", image, *command)

    def images(self) -> list[str]:
        return sorted(self("images", "--format={{.Repository}}:{{.Tag}}").split())

    def register(self, *options: str) -> dict[str, str]:
        argv = ["nixoci", "register", "containerd", self.store, "--namespace", "moby", "--json", *options]
        outcome = json.loads(self.machine.run(argv).stdout)
        return {image["name"]: image["change"] for image in outcome["names"]}


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with Machine() as machine, Registry(machine) as registry:
        install_runtime(machine)
        layout = machine.root / "var/tmp/small"
        for version in ("1", "2"):
            write_layout(layout, small_layers(version), config=CONFIG, tag=version)
        sources = {name: f"oci:/var/tmp/small:{name[-1]}" for name in NAMES}
        store = make_store(machine, make_entries(machine, sources))
        mount_images(machine, store)
        machine.run(["mkdir", "--parents", "/etc/docker"])
        machine.run(["tee", "/etc/docker/daemon.json"], input=json.dumps(DAEMON))
        machine.run(["systemctl", "enable", "--now", "containerd", "docker"])
        machine.run(["mkdir", "/root/context"])
        machine.run(["tee", "/root/context/Dockerfile"], input=DOCKERFILE)
        docker = Docker(machine, registry, store)
        docker.register()
        yield docker


def test_docker_runs_images_in_place(docker: Docker) -> None:
    assert docker.images() == ["small:1", "small:2"]
    for tag in ("1", "2"):
        assert docker.run(f"small:{tag}", "cat", "/version") == f"small {tag}"
        assert docker.run(f"small:{tag}", "stat", "--format=%u %g %a", "/var/mail") == "0 8 2775"
    (shown,) = json.loads(docker("inspect", "small:1"))
    assert (shown["Config"]["Cmd"], shown["Created"]) == (["/bin/sh"], CREATED)
    assert len(shown["RootFS"]["Layers"]) == 1
    assert docker("history", "--format={{.CreatedBy}}", "small:1").split("\n") == ["ADD version", "ADD base"]
    assert docker.machine.used_space("/var/lib/containerd") < 1 << 20
    assert set(docker.register().values()) == {"kept"}


def test_containers_are_those_of_any_image(docker: Docker) -> None:
    docker("run", "--detach", "--name=web", "--network=none", "small:1", "sh", "-c", "echo up; sleep 1000")
    docker("exec", "web", "sh", "-c", "echo mine > /etc/mine; mkdir /etc/made")
    deadline = time.monotonic() + 60
    while not (log := docker("logs", "web")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert log == "up"
    assert sorted(docker("diff", "web").split("\n")) == ["A /etc/made", "A /etc/mine", "C /etc"]
    docker("commit", "web", "mine:1")
    assert docker.run("mine:1", "cat", "/etc/mine", "/version") == "mine\nsmall 1"
    docker("rm", "--force", "web")
    docker("rmi", "mine:1")
    assert docker.images() == ["small:1", "small:2"]


def test_builds_add_layers_to_a_registered_image(docker: Docker) -> None:
    docker("build", "--network=none", "--tag=built:1", "/root/context")
    assert docker.run("built:1", "cat", "/built", "/mail", "/version") == "built\n0 8 2775\nsmall 1"
    # what was built holds the image that it was built upon
    docker("rmi", "small:1")
    assert docker.run("built:1", "cat", "/version") == "small 1"
    assert docker.register()[NAMES[0]] == "added"
    docker("rmi", "built:1")
    assert docker.run("small:1", "cat", "/version") == "small 1"


def test_an_ordinary_image_beside_them(docker: Docker) -> None:
    archive = docker.machine.root / "root/other.tar"
    write_docker_archive(archive, [layer(file(b"hello", b"other\n"))], tags=["other:1"])
    docker("load", "--input=/root/other.tar")
    docker("create", "--name=other", "other:1", "none")
    assert docker.machine.run(["sh", "-c", "docker cp other:/hello - | tar --extract --to-stdout"]).stdout == "other\n"
    docker("rm", "other")
    assert set(docker.register().values()) == {"kept"}
    docker("rmi", "other:1")


def test_tags_of_the_user_stay_and_names_come_back(docker: Docker) -> None:
    docker("tag", "small:2", "mine:2")
    docker("tag", "small:1", "small:2")
    assert docker.register()[NAMES[1]] == "changed"
    assert docker.run("small:2", "cat", "/version") == "small 2"
    docker("rmi", "small:1", "small:2")
    assert docker.run("mine:2", "cat", "/version") == "small 2"
    assert set(docker.register().values()) == {"added"}
    assert docker.images() == ["mine:2", "small:1", "small:2"]
    docker("system", "prune", "--all", "--force")
    assert docker.images() == []
    assert docker.register() == dict.fromkeys(NAMES, "added")
    assert docker.run("small:1", "cat", "/version") == "small 1"


def test_push_leaves_the_layer_out(docker: Docker) -> None:
    """A limit: an empty layer arrives, which has not the diff id of the config, and Docker says nothing."""
    pushed = f"{docker.registry.host}/pushed:1"
    docker("tag", "small:1", pushed)
    docker("push", pushed)
    docker("rmi", pushed)
    copy = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{pushed}", "oci:/root/pushed:1"]
    docker.machine.run(copy)
    refused = docker.machine.run(["nixoci", "extract", "oci:/root/pushed:1", "/root/pushed-tree"], check=False)
    assert "the image is inconsistent" in refused.stderr


def test_save_and_sizes_leave_the_layer_out(docker: Docker) -> None:
    """Limits: Docker copies and counts the blob that stands in for the layer, and says nothing."""
    size = docker.machine.run(["sh", "-c", "docker save small:1 | wc --bytes"]).stdout
    assert int(size) < 20_000
    assert docker("images", "--format={{.Size}}", "small:1").endswith("kB")


def test_each_shape_has_a_limit(docker: Docker) -> None:
    """With one layer, there is no manifest with the registry's digest; with the registry's, nothing to build upon."""
    digest = json.loads((docker.machine.root / "var/tmp/small/index.json").read_bytes())["manifests"][0]["digest"]
    refused = docker.machine.run(["docker", "image", "inspect", f"small@{digest}"], check=False)
    assert "No such image" in refused.stderr
    changes = docker.register("--shape=registry")
    assert changes[f"docker.io/library/small@{digest}"] == "added"
    assert docker.run(f"small@{digest}", "cat", "/version") == "small 1"
    build = ["env", "DOCKER_BUILDKIT=0", "docker", "build", "--network=none", "/root/context"]
    assert docker.machine.run(build, check=False).returncode
    assert docker.register()[f"docker.io/library/small@{digest}"] == "removed"
    assert docker.run("small:1", "cat", "/version") == "small 1"


def test_restart_policies_over_a_daemon_s_restart_and_a_reboot(docker: Docker) -> None:
    docker(
        "run",
        "--detach",
        "--name=always",
        "--restart=always",
        "--stop-signal=KILL",
        "--network=none",
        "small:2",
        "sleep",
        "1000",
    )
    for again in (["systemctl", "restart", "containerd", "docker"], None):
        if again is None:
            docker.machine.reboot()
        else:
            docker.machine.run(again)
        deadline = time.monotonic() + 60
        while docker("inspect", "--format={{.State.Status}}", "always", check=False) != "running":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert docker("exec", "always", "cat", "/version") == "small 2"
    assert set(docker.register().values()) == {"kept"}
    docker("rm", "--force", "always")
    docker.machine.run(["nix-store", "--verify", "--check-contents"], timeout=300)
