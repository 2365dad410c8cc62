"""podman before 5.8, which Debian 13 has: it reads no drop-ins, and uses image stores by its main file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.host.apt import debootstrap
from tests.host.cache import cached, key
from tests.host.engines import shipped_stores
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.small import small_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.images import Image

SUITE = "trixie"
NAME = "localhost/small:1"
INSTALL = """
cp /older/usr/bin/podman /usr/bin/podman
ldd /usr/bin/podman | sed -n 's/ => not found//p' | while read -r library; do
  cp --dereference /older/usr/lib/*-linux-gnu/$library /usr/lib/
done
ldconfig
"""
"""Replaces the machine's podman, with the libraries that the machine has no longer."""


def _older() -> Path:
    def make(folder: Path) -> None:
        debootstrap(folder, SUITE, ["podman"], variant="extract")

    return cached(f"podman-{SUITE}-{key(Path(__file__))}", make)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE, _older(): "/older"}) as booted:
        booted.run(["sh", "-ec", INSTALL])
        yield booted


def _image_store(machine: Machine, image: Image) -> str:
    folder = f"/var/tmp/{image.tag}"  # noqa: S108
    machine.run(["nixoci", "extract", image.inside, folder, "--name", "small", "--reference", NAME])
    path = machine.run(["nix-store", "--add", folder]).stdout.strip()
    (store,) = shipped_stores(machine, [path])
    return store


def _version(machine: Machine) -> str:
    return machine.run(["podman", "run", "--rm", "--network=none", "--pull=never", NAME, "cat", "/version"]).stdout


def _problems(machine: Machine) -> list[tuple[str, str]]:
    found = json.loads(machine.run(["nixoci", "doctor", "--json"], check=False).stdout)
    return [(each["check"], each["advice"]) for each in found if each["status"] == "problem"]


def test_a_link_to_the_profile_is_enough(machine: Machine) -> None:
    """Also for the next generation, for commits, and for the roots of containers."""
    assert machine.run(["podman", "--version"]).stdout.startswith("podman version 5.4")
    pair = small_images()
    old, new = (_image_store(machine, image) for image in (pair.old, pair.new))
    said = machine.run(["nixoci", "switch", old]).stderr
    way = re.search(r"podman 5\.4\.[0-9]+ does not read it, as 5\.8 does; run `([^`]*)`", said)
    assert way is not None, said
    ((check, advice),) = _problems(machine)
    assert check == "/etc/containers/storage.rootful.conf.d/50-nixoci.conf"
    assert advice.endswith("as /etc/containers/storage.conf")

    machine.run(way[1].split())
    assert machine.run(["nixoci", "switch", old]).stderr == ""
    assert _version(machine) == "small 1\n"
    assert _problems(machine) == []
    machine.run(["podman", "run", "--detach", "--name=web", "--network=none", NAME, "sleep", "100000"])
    (root,) = json.loads(machine.run(["nixoci", "gc-roots", "--json"]).stdout)
    assert (root["container"], root["imageKept"]) == ("web", False)

    machine.run(["podman", "exec", "web", "touch", "/version"])  # which copies what is known of the file alone
    machine.run(["podman", "commit", "--quiet", "web", "localhost/committed"])
    read = ["podman", "run", "--rm", "--network=none", "localhost/committed", "cat", "/version"]
    assert machine.run(read).stdout == "small 1\n"

    machine.run(["nixoci", "switch", new])
    assert _version(machine) == "small 2\n"
    machine.run(["nixoci", "switch", "--rollback"])
    assert _version(machine) == "small 1\n"

    machine.run(["podman", "rm", "--force", "--time=0", "web"])
    machine.run(["podman", "rmi", "localhost/committed"])
    machine.run(["nixoci", "switch", "--uninstall"])
    # a link to nothing is as none
    assert machine.run(["podman", "images", "--quiet"]).stdout == ""
