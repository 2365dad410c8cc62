"""The messages on the page about podman's errors, made with a real podman."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.host.engines import make_entries
from tests.host.machine import Machine
from tests.host.small import small_images
from tests.support.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs/podman-errors.md"
IMAGE = "docker.io/library/small:1"
CONFIG = '[storage]\ndriver = "{driver}"\n[storage.options]\nadditionalimagestores = [{stores}]\n'
UNIT = "[Container]\nImage={image}\nAutoUpdate=local\nNetwork=none\nExec=sleep infinity\nStopSignal=SIGKILL\n"
UPDATED = "/etc/containers/systemd/updated.container"

AS_ROOT = {
    "configure storage": "use gone; podman images",
    "REFERENCE": f"podman run --pull=never {IMAGE}0",
    "Trying to pull": f"podman run {IMAGE}0",
    "short-name": "podman run small",
    "cannot remove": f"podman rmi --force {IMAGE}",
    "layer not known": f"podman image mount {IMAGE}",
    "internal error": "systemctl daemon-reload; systemctl start updated; podman auto-update; systemctl stop updated",
    "mounting image volume": f"podman run --rm --mount=type=image,source={IMAGE},destination=/x {IMAGE} true",
    "unable to start": f"podman create --name=old --network=none {IMAGE} true; use none; podman start old",
    "Image …": f"podman tag {IMAGE} localhost/named:1; use none; podman run --pull=never localhost/named:1 true",
    "User-selected": "use vfs; podman images",
    "mounting storage": f"use overlaid; podman run --rm --network=none {IMAGE} true",
}
"""Commands that end with a message, by its start; `use` chooses a storage.conf."""

AS_USER = {"failed to create erofs": f"podman run --rm --network=none {IMAGE} true"}

ELSEWHERE = {"error: the files' attributes": "test_rootless.py: an owner that the user has no id for"}
"""The tests of the other messages."""


def messages() -> list[str]:
    """Return the messages of the page: what is code in the first cell of each row."""
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [re.findall(r"`([^`]+)`", row)[0] for row in rows]


def pattern(message: str) -> str:
    """Return a message as a regular expression, with any text where the page shortens it."""
    return re.sub("…|REFERENCE|nginx", ".*", re.escape(message))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(binds={small_images().old.layout: "/var/small"}) as machine:
        (store,) = make_entries(machine, {IMAGE: "oci:/var/small:1"})
        confs = {"here": ("overlay", f'"{store}"'), "none": ("overlay", ""), "vfs": ("vfs", "")}
        confs["gone"] = ("overlay", '"/nix/store/00000000000000000000000000000000-image-store"')
        # this place is on the machine's overlay
        machine.run(["cp", "--archive", store, "/root/store"])
        confs["overlaid"] = ("overlay", '"/root/store"')
        machine.run(["mkdir", "--parents", "/etc/storage", "/etc/containers/systemd"])
        for name, (driver, stores) in confs.items():
            machine.run(["tee", f"/etc/storage/{name}"], input=CONFIG.format(driver=driver, stores=stores))
        machine.run(["cp", "/etc/storage/here", "/etc/containers/storage.conf"])
        machine.run(["tee", UPDATED], input=UNIT.format(image=IMAGE))
        machine.run(["podman", "images"])
        machine.linger("alice")
        yield machine


@pytest.mark.parametrize("start", [*AS_ROOT, *AS_USER])
def test_podman_says_what_the_page_says(machine: Machine, start: str) -> None:
    (message,) = (each for each in messages() if each.startswith(start))
    use = 'use() { export CONTAINERS_STORAGE_CONF="/etc/storage/$1"; }'
    if start in AS_USER:
        done = machine.run(["sh", "-c", AS_USER[start]], user="alice", check=False)
    else:
        done = machine.run(["sh", "-c", f"{use}; {AS_ROOT[start]}"], check=False)
    said = (done.stdout + done.stderr).replace('\\"', '"')
    assert re.search(pattern(message), said), said


def test_a_name_with_its_tag_needs_no_registry(machine: Machine) -> None:
    run = ["podman", "run", "--rm", "--network=none", "small:1", "cat", "/version"]
    assert machine.run(run).stdout == "small 1\n"


def test_every_message_is_made() -> None:
    starts = [*AS_ROOT, *AS_USER, *ELSEWHERE]
    assert [sum(message.startswith(start) for start in starts) for message in messages()] == [1] * len(messages())
