"""A verb that writes a directory to a full disk says so in one line, and leaves the disk as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.host.small import small_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.host.machine import Machine

FOLDER = "/root/full-disk"
DISK = "/mnt/full-disk"
DEPLOYMENT = {
    "images": {"small": f"{FOLDER}/path"},
    "containers": {
        name: {"image": "small", "backend": "bundle", "cmd": ["/bin/true"], "networks": ["none"]} for name in "abcdefgh"
    },
}

VERBS = {
    "man": ("60k", ["man", f"{DISK}/new/man1"]),
    "man over old pages": ("60k", ["man", f"{DISK}/old"]),
    "extract": ("200k", ["extract", "{image}", f"{DISK}/out"]),
    "image-store": ("8k", ["image-store", f"{DISK}/out", f"{FOLDER}/path", "--mkcomposefs=/usr/bin/mkcomposefs"]),
    "drop-in": ("4k", ["image-store", f"{FOLDER}/out", f"{FOLDER}/path", "--no-erofs", f"--drop-in={DISK}/new/a.conf"]),
    "layer-cache": ("200k", ["layer-cache", f"{DISK}/out", "{image}"]),
    "bundle": ("8k", ["bundle", f"{FOLDER}/path", f"{DISK}/new/out"]),
    "units": ("60k", ["units", f"{FOLDER}/deployment.json", f"{DISK}/new/out"]),
}
"""The size of a disk on which there is no room for all that a verb writes, and the verb's arguments."""


@pytest.fixture(scope="module")
def host(machine: Machine) -> Iterator[Machine]:
    """A machine with an image path and a deployment."""
    machine.run(["mkdir", FOLDER, DISK])
    machine.run(["nixoci", "extract", small_images().old.inside, f"{FOLDER}/path", "--name=small"])
    machine.run(["tee", f"{FOLDER}/deployment.json"], input=json.dumps(DEPLOYMENT))
    yield machine
    machine.run(["rm", "--recursive", "--force", FOLDER, DISK])


@pytest.mark.parametrize("name", VERBS)
def test_a_full_disk_is_one_line_and_stays_as_it_was(host: Machine, name: str) -> None:
    size, arguments = VERBS[name]
    arguments = [small_images().old.inside if each == "{image}" else each for each in arguments]
    host.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", DISK])
    try:
        host.run(["mkdir", f"{DISK}/old"])
        host.run(["tee", f"{DISK}/old/nixoci.1"], input="old\n")
        done = host.run(["nixoci", *arguments], check=False)
        assert (done.returncode, done.stdout) == (1, "")
        line = done.stderr.removesuffix("\n")
        assert line.startswith(f"error: {DISK}/")
        assert "No space left on device; free some and run again" in line
        assert "\n" not in line
        assert host.run(["find", DISK, "-mindepth", "1"]).stdout.split() == [f"{DISK}/old", f"{DISK}/old/nixoci.1"]
        assert host.run(["ls", FOLDER]).stdout.split() == ["deployment.json", "path"]
        assert host.run(["cat", f"{DISK}/old/nixoci.1"]).stdout == "old\n"
    finally:
        host.run(["umount", DISK])
