"""An updated image goes from one machine to another as a delta, and runs there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixoci.image_store.storage_conf import render_storage_conf
from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.network import allow_ssh, join
from tests.host.registry import Registry
from tests.host.test_delta import infos, interface
from tests.host.test_nix import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Pair

COUNT = """#!/bin/bash
# what the far nixoci reads, byte for byte
set -o pipefail
tee >(wc --bytes > /root/read) | /opt/nixoci/bin/nixoci "$@"
"""
FETCH = r"""
for attempt in $(seq 600); do
  if exec 3<>/dev/tcp/127.0.0.1/80; then printf 'GET / HTTP/1.0\r\n\r\n' >&3; head -1 <&3; exit; fi
  sleep 0.1
done
exit 1
"""
FRAMING = 1.03
"""Overhead of ssh, TCP and IP: below 3 % for packets of 1500 bytes."""
HANDSHAKE = 40_000
"""Bytes of two ssh connections' key exchange, and of the question which paths are there."""


@pytest.fixture(scope="module")
def near() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE}) as machine:
        yield machine


@pytest.fixture(scope="module")
def far(near: Machine) -> Iterator[tuple[Machine, str]]:
    with Machine() as machine:
        _, address = join(near, machine)
        allow_ssh(machine, by=near)
        machine.run(["tee", "/usr/local/bin/nixoci"], input=COUNT)
        machine.run(["chmod", "+x", "/usr/local/bin/nixoci"])
        yield machine, address


@pytest.fixture(scope="module")
def stores(near: Machine, images: dict[str, Pair]) -> tuple[str, str]:
    """The image store with nginx before and after its update, both built by Nix in the near machine's store."""
    built = []
    with Registry(near) as registry:
        for version in (images["nginx"].old, images["nginx"].new):
            folder = f"/root/{version.tag}"
            write_lock(near, folder, {"nginx": locked(version, registry.push(version))})
            built += build(near, folder, "imageStore")
    return built[0], built[1]


def copy(near: Machine, address: str, *arguments: str) -> dict[str, int]:
    command = ["nixoci", "copy", "--to", f"ssh://{address}", *arguments, "--json"]
    summary: dict[str, int] = json.loads(near.run(command, timeout=300).stdout)
    return summary


def test_the_updated_container_runs_on_the_other_machine(
    near: Machine, far: tuple[Machine, str], stores: tuple[str, str], images: dict[str, Pair]
) -> None:
    old, new = stores
    there, address = far
    near.run(["nix", "copy", "--to", f"ssh://{address}", "--no-check-sigs", old], timeout=300)
    before = there.run(["nix", "path-info", "--all"]).stdout
    link = interface(near, address)

    dry = copy(near, address, new, "--dry-run")
    assert there.run(["nix", "path-info", "--all"]).stdout == before

    sent = -counted(near, link)
    summary = copy(near, address, new)
    sent += counted(near, link)
    assert summary == dry
    assert int(there.run(["cat", "/root/read"]).stdout) == summary["deltaSize"]
    assert summary["deltaSize"] < sent < FRAMING * summary["deltaSize"] + HANDSHAKE
    layers = sum(layer.size for layer in locked(images["nginx"].new, "x").platforms["linux/amd64"].layers)
    assert layers > 15 * sent

    assert infos(there, new) == infos(near, new)
    there.run(["nix-store", "--verify", "--check-contents"], timeout=300)
    there.run(["tee", "/root/storage.conf"], input=render_storage_conf(Path(new)))
    [image] = json.loads(podman(there, "images", "--format=json"))
    assert image["ReadOnly"]
    assert image["Names"][0].endswith(f":{images['nginx'].new.tag}")
    podman(there, "run", "--detach", "--name=web", "--network=none", "--pull=never", image["Id"])
    assert "200 OK" in podman(there, "exec", "web", "bash", "-c", FETCH)
    podman(there, "rm", "--force", "--time=2", "web")
    there.run(["nix-store", "--verify", "--check-contents"], timeout=300)


def podman(machine: Machine, *arguments: str) -> str:
    env = {"CONTAINERS_STORAGE_CONF": "/root/storage.conf"}
    return machine.run(["podman", *arguments], env=env, timeout=120).stdout


def counted(machine: Machine, link: str) -> int:
    return int(machine.run(["cat", f"/sys/class/net/{link}/statistics/tx_bytes"]).stdout)
