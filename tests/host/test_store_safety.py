"""No container writes to the store: not as root, not where it may mount, not when it crashes or is killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import BACKENDS, Host
from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTACK = """
import json, os, pathlib, subprocess, time

def write(path):
    try:
        pathlib.Path(path).write_text("written")
        return True
    except OSError:
        return False

def try_all():
    return [write(path) for path in ("/etc/passwd", "/usr/bin/env", "/new", "/etc/hosts", "/etc/hostname")]

plain = try_all()
for line in open("/proc/self/mounts").read().splitlines():
    target = line.split()[1]
    for options in ("remount,rw", "remount,bind,rw"):
        subprocess.run(["mount", "-o", options, target], stderr=subprocess.DEVNULL)
    write(target + "/written")
os.chmod("/etc", 0o700) if plain[0] else None
print("SEEN", json.dumps([plain, try_all()]), flush=True)
time.sleep(600)
"""
"""Writes where it can, then makes all mounts writable that it can, and writes again."""

SYS_ADMIN = {"capabilities": {"SYS_ADMIN": True}}
WAYS: dict[str, dict[str, Any]] = {
    **{backend: {"backend": backend} for backend in BACKENDS},
    **{f"{backend}-read-only": {"backend": backend, "readOnly": True} for backend in BACKENDS},
    "podman-privileged": {"backend": "podman", "privileged": True},
    "rootfs-privileged": {"backend": "rootfs", "privileged": True},
    "podman-privileged-read-only": {"backend": "podman", "privileged": True, "readOnly": True},
    "rootfs-privileged-read-only": {"backend": "rootfs", "privileged": True, "readOnly": True},
    "bundle-mounts": {"backend": "bundle"} | SYS_ADMIN,
    "bundle-mounts-read-only": {"backend": "bundle", "readOnly": True} | SYS_ADMIN,
    "bundle-persistent": {"backend": "bundle", "writableLayer": "persistent"} | SYS_ADMIN,
    "runc": {"backend": "bundle", "runtime": "runc"},
    "runc-mounts-read-only": {"backend": "bundle", "runtime": "runc", "readOnly": True} | SYS_ADMIN,
}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with sample_host("python", apart=True) as host:
        # an overlay's upper directory is not on an overlay, which this machine's root is
        host.machine.run(["mkdir", "--parents", "/var/tmp/state", "/var/lib/nixoci"])  # noqa: S108
        host.machine.run(["mount", "--bind", "/var/tmp/state", "/var/lib/nixoci"])  # noqa: S108
        options = {"image": "python", "networks": ["none"], "restart": "no", "entrypoint": ["python3", "-c", ATTACK]}
        host.deploy("/var/attack", {name: options | way for name, way in WAYS.items()})
        yield host


@pytest.mark.parametrize("name", WAYS)
def test_a_container_that_writes_all_it_can_and_is_killed_leaves_the_store_alone(host: Host, name: str) -> None:
    host.systemctl("start", f"{name}.service")
    before, _ = host.said(name)
    # what is written stays above the store, so that there is something to show
    assert before[:3] == [not WAYS[name].get("readOnly", False)] * 3
    # all of the unit's at once: the container, and whatever of podman's or the runtime's is there
    host.systemctl("kill", "--kill-whom=all", "--signal=KILL", f"{name}.service")
    deadline = time.monotonic() + 60
    show = ["systemctl", "show", "--value", "--property=ActiveState", f"{name}.service"]
    while host.machine.run(show).stdout.strip() not in {"failed", "inactive"} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert host.machine.run(show).stdout.strip() in {"failed", "inactive"}
    assert host.measure() == host.hashes
    # a killed unit can be started again, and stopped
    host.systemctl("start", f"{name}.service")
    host.systemctl("kill", "--kill-whom=main", "--signal=KILL", f"{name}.service")
    host.systemctl("stop", f"{name}.service")
    assert host.measure() == host.hashes


def test_a_persistent_layer_outlives_its_container(host: Host) -> None:
    count = (
        "import json, pathlib, time; p = pathlib.Path('/etc/count'); n = len(p.read_text()) if p.exists() else 0;"
        " p.write_text('x' * (n + 1)); print('SEEN', json.dumps(n), flush=True); time.sleep(600)"
    )
    container = {
        "image": "python",
        "backend": "bundle",
        "networks": ["none"],
        "entrypoint": ["python3", "-c", count],
    } | {"stopTimeout": 0}
    layers = {"kept": "persistent", "lost": "volatile"}
    host.deploy("/var/layers", {name: container | {"writableLayer": layer} for name, layer in layers.items()})
    for name, expected in (("kept", ["SEEN 0", "SEEN 1", "SEEN 2"]), ("lost", ["SEEN 0", "SEEN 0", "SEEN 0"])):
        for number in range(3):
            host.systemctl("restart", f"{name}.service")
            host.wait_for_log(f"{name}.service", expected[number])
            deadline = time.monotonic() + 60
            while len(seen := _seen(host, name)) <= number and time.monotonic() < deadline:
                time.sleep(0.1)
            assert seen == expected[: number + 1]
        host.systemctl("stop", f"{name}.service")
    assert host.measure() == host.hashes


def _seen(host: Host, name: str) -> list[str]:
    return [line for line in host.machine.journal(f"{name}.service").splitlines() if line.startswith("SEEN")]
