"""An image store under the storage library that CRI-O has: through buildah and skopeo, and in CRI-O itself.

No Debian has CRI-O: `NIXOCI_CRIO` names a folder with its programs `crio` and `pinns`, and with `crictl`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.engines import install_runtime
from tests.host.machine import Machine
from tests.host.small import small_images

if TYPE_CHECKING:
    from collections.abc import Iterator

CRIO = os.environ.get("NIXOCI_CRIO")
PROGRAMS = "/opt/crio"
REFERENCE = "docker.io/library/small:1"
SCRIPT = "cat /version && stat -c %G:%a /var/mail && echo mine > /file && cat /file"
SHOWN = "small 1\nmail:2775\nmine\n"

CONFIG = """
[crio]
  log_dir = "/var/log/crio"

[crio.runtime]
  cgroup_manager = "cgroupfs"
  conmon_cgroup = "pod"
  default_runtime = "test"
  pinns_path = "%s/pinns"
  selinux = false

[crio.runtime.runtimes.test]
  runtime_path = "%s"
  monitor_path = "/usr/bin/conmon"
  monitor_cgroup = "pod"

[crio.image]
  pause_image = "docker.io/library/small:1"
  pinned_images = ["docker.io/library/small*"]

[crio.metrics]
  enable_metrics = false
"""
NODE = {"security_context": {"namespace_options": {"network": 2, "pid": 1}}}
"""The host's network, and a process namespace for each container: the pod then needs no process of its own."""

POD = {"metadata": {"name": "pod", "uid": "1", "namespace": "default"}, "log_directory": "/var/log/pod", "linux": NODE}
CONTAINER = {
    "metadata": {"name": "container"},
    "image": {"image": REFERENCE},
    "command": ["sh", "-c", f"{SCRIPT}; sleep 600"],
    "log_path": "container.log",
    "linux": NODE,
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine whose storage.conf names an image store, which nothing has used yet."""
    image = small_images().old
    binds = {image.layout: "/small"} | ({Path(CRIO): PROGRAMS} if CRIO else {})
    with Machine(binds=binds) as booted:
        booted.run(["nixoci", "extract", f"oci:/small:{image.tag}", "/nix/small", "--reference", REFERENCE])
        conf = ["--storage-conf", "/etc/containers/storage.conf"]
        booted.run(["nixoci", "image-store", "/nix/image-store", "/nix/small", *conf])
        booted.run(["chmod", "--recursive", "a-w", "/nix/image-store"])
        yield booted


def test_buildah_finds_the_image_and_mounts_it(machine: Machine) -> None:
    (image,) = json.loads(machine.run(["buildah", "images", "--json"]).stdout)
    assert image["names"] == [REFERENCE]
    container = machine.run(["buildah", "from", "--pull=never", REFERENCE]).stdout.strip()
    mounted = machine.run(["buildah", "mount", container]).stdout.strip()
    assert machine.run(["cat", f"{mounted}/version"]).stdout == "small 1\n"
    machine.run(["buildah", "rm", container])


def test_skopeo_copies_the_image_out_of_the_store(machine: Machine) -> None:
    named = f"containers-storage:{REFERENCE}"
    machine.run(["skopeo", "copy", "--quiet", named, "oci:/home/copied:1"])
    machine.run(["umoci", "unpack", "--image", "/home/copied:1", "/home/unpacked"])
    assert machine.run(["cat", "/home/unpacked/rootfs/version"]).stdout == "small 1\n"


@pytest.mark.skipif(not CRIO, reason="NIXOCI_CRIO names no folder with CRI-O")
def test_a_pod_of_cri_o_runs_the_image_in_place(machine: Machine) -> None:
    machine.run(["mkdir", "--parents", "/etc/crio/crio.conf.d", "/var/log/pod"])
    machine.run(["touch", "/etc/resolv.conf"])
    machine.run(["tee", "/etc/crio/crio.conf.d/10-test.conf"], input=CONFIG % (PROGRAMS, install_runtime(machine)))
    machine.run(["tee", "/etc/crictl.yaml"], input="runtime-endpoint: unix:///run/crio/crio.sock\ntimeout: 60\n")
    for name, value in (("pod", POD), ("container", CONTAINER)):
        machine.run(["tee", f"/root/{name}.json"], input=json.dumps(value))
    machine.run(["systemd-run", "--quiet", "--unit=crio", "--service-type=notify", f"{PROGRAMS}/crio"])
    own = ["du", "--summarize", "--bytes", "--one-file-system", "/var/lib/containers"]
    before = int(machine.run(own).stdout.split()[0])
    (image,) = images(machine)
    assert (image["repoTags"], image["pinned"]) == ([REFERENCE], True)
    pod = crictl(machine, "runp", "/root/pod.json")
    container = crictl(machine, "create", pod, "/root/container.json", "/root/pod.json")
    crictl(machine, "start", container)
    assert crictl(machine, "exec", container, "cat", "/version") == "small 1"
    deadline = time.monotonic() + 60
    while crictl(machine, "logs", container) != SHOWN.rstrip() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert crictl(machine, "logs", container) == SHOWN.rstrip()
    assert int(machine.run(own).stdout.split()[0]) - before < 2**20
    crictl(machine, "stop", "--timeout=0", container)
    crictl(machine, "rmp", "--force", pod)
    crictl(machine, "rmi", REFERENCE)
    machine.run(["systemctl", "restart", "crio"])
    assert images(machine) == [image], "a removed image is there again"


def crictl(machine: Machine, *arguments: str) -> str:
    return machine.run([f"{PROGRAMS}/crictl", *arguments]).stdout.strip()


def images(machine: Machine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(crictl(machine, "images", "--output=json"))["images"]
    return found
