"""Containers of several engines that run from an image which no generation has any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.host.engines import ctr_output, install_runtime, make_entries, make_store
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.small import small_images

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, NEW = "docker.io/library/small:1", "docker.io/library/small:2"
GENERATION = "/nix/var/nix/gcroots/generation"
BUNDLES = [f"bundle{number}" for number in range(10)]
READ = "cat /etc/passwd /usr/bin/* /usr/lib/*/* > /dev/null && cat /version"
SLEEP = ("sleep", "100000")
UNITS = ("nixoci-images", "nixoci-register-docker", "nixoci-register-containerd")


class Host:
    """A machine with Docker, containerd and bundles, and outputs for two images and for the newer one alone."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        pair = small_images()
        self.old, self.new = make_entries(machine, {OLD: pair.old.inside, NEW: pair.new.inside})
        both, left = make_store(machine, [self.old, self.new]), make_store(machine, [self.new])
        self.stores = {"both": both, "left": left}
        for name, store in self.stores.items():
            container = {
                "image": "small",
                "backend": "bundle",
                "networks": ["host"],
                "cmd": [*SLEEP],
                "stopSignal": "KILL",
                "settings": {"unit": {"Unit": {"StartLimitIntervalSec": "0"}}},
            }
            document = {
                "images": {"small": self.image_path(self.new)},
                "imageStore": store,
                "engines": ["docker", "containerd"],
                "containers": dict.fromkeys(BUNDLES, container),
            }
            machine.run(["tee", f"/root/{name}.json"], input=json.dumps(document))
            machine.run(["nixoci", "units", f"/root/{name}.json", f"/nix/{name}"])

    def image_path(self, entry: str) -> str:
        (tree,) = self.machine.run(["sh", "-c", f"readlink {entry}/overlay/*/diff"]).stdout.split()
        return tree.removesuffix("/rootfs")

    def switch(self, name: str) -> None:
        """Go to a generation, as a profile would have it: its image store has a root."""
        self.stop_docker()
        self.machine.run(["ln", "--symbolic", "--force", "--no-dereference", self.stores[name], GENERATION])
        self.machine.run(["nixoci", "switch", f"/nix/{name}"])
        self.start_docker()

    def stop_docker(self) -> None:
        self.machine.run(["systemctl", "stop", "docker.socket", "docker.service"])

    def start_docker(self) -> None:
        self.machine.run(["systemctl", "reset-failed", "docker.socket", "docker.service"])
        self.machine.run(["systemctl", "start", "docker.service"])

    def collect(self) -> None:
        self.machine.run(["nixoci", "gc-roots"])
        self.machine.run(["nix-store", "--gc", "--quiet"], timeout=300)

    def read(self) -> list[str]:
        """Read all files in the container of each engine."""
        docker = self.machine.run(["docker", "exec", "docker", "sh", "-c", READ]).stdout
        ctr = ctr_output(self.machine, ["ctr", "tasks", "exec", "--exec-id=read"], "ctr", "sh", "-c", READ)
        return [docker.strip(), ctr]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        install_runtime(machine)
        host = Host(machine)
        machine.run(["systemctl", "enable", "--now", "containerd"])
        machine.run(["systemctl", "enable", "docker"])
        host.switch("both")
        yield host


def test_bundles_start_while_their_image_is_mounted_again(host: Host) -> None:
    again = "for i in 1 2 3 4 5 6; do systemctl restart nixoci-images || exit; done"
    starts = " ".join(f"systemctl restart {name} &" for name in BUNDLES)
    host.machine.run(["sh", "-c", f"{starts} {again}; wait"], timeout=120)
    for name in BUNDLES:
        assert host.machine.run(["crun", "exec", name, "cat", "/version"]).stdout == "small 2\n"


def test_what_runs_keeps_all_files_of_its_image(host: Host) -> None:
    machine = host.machine
    options = ["--name=docker", "--restart=always", "--stop-signal=KILL", "--network=none"]
    machine.run(["docker", "run", "--detach", *options, "small:1", *SLEEP])
    machine.run(["ctr", "run", "--detach", OLD, "ctr", *SLEEP])
    host.switch("left")
    machine.run(["systemctl", "restart", "nixoci-images"])
    host.collect()
    assert host.read() == ["small 1", "small 1"]

    machine.run(["docker", "system", "prune", "--all", "--force"])
    assert machine.run(["docker", "images", "--quiet", "small:2"]).stdout == ""
    machine.reboot()
    machine.wait_for_unit("docker.service")
    host.collect()
    # what a user has pruned comes back with the boot
    assert machine.run(["docker", "run", "--rm", "--network=none", "small:2", "cat", "/version"]).stdout == "small 2\n"
    machine.run(["ctr", "tasks", "start", "--detach", "ctr"])
    assert host.read() == ["small 1", "small 1"]
    for unit in UNITS:
        machine.wait_for_unit(f"{unit}.service")

    machine.run(["docker", "rm", "--force", "docker"])
    machine.run(["ctr", "tasks", "kill", "--signal=KILL", "ctr"])
    machine.run(["sh", "-c", "until ctr containers rm ctr; do sleep 0.1; done 2> /dev/null"])
    host.stop_docker()
    machine.run(["systemctl", "restart", "nixoci-register-docker"])
    host.start_docker()
    host.collect()
    assert machine.run(["test", "-e", host.old], check=False).returncode == 1
    assert machine.run(["test", "-e", host.new], check=False).returncode == 0
