"""A thousand damaged and hundreds of hostile deltas, into real stores."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.delta.attack import ONE_LINE
from tests.delta.forgery import damaged
from tests.host.machine import Machine
from tests.host.test_delta import build_pair, fresh, valid, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

DELTAS = ("/root/fast", "/root/default")
PEAK = 900 << 20
"""Limit of memory in bytes: enough to unpack documents of 256 MiB twice."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as booted:
        yield booted


@pytest.fixture(scope="module")
def old(machine: Machine) -> str:
    """The base of the deltas; the main store has it, and lacks the paths that they make."""
    old, new = build_pair(machine)
    for delta in DELTAS:
        machine.run(["nixoci", "send", "--from", old, "--to", new, "-o", delta, f"--effort={delta[6:]}"])
    made = machine.run(["nix-store", "--query", "--requisites", new]).stdout.split()
    machine.run(["nix-store", "--delete", *made])
    return old


@pytest.fixture(scope="module")
def base(machine: Machine) -> str:
    machine.run(["sh", "-c", "mkdir base; printf content > base/file; ln -s /etc base/out"])
    return machine.run(["nix-store", "--add", "/root/base"]).stdout.strip()


def attack(machine: Machine, kind: str, store: str, base: str, *deltas: str) -> subprocess.Popen[str]:
    folder = f"/root/attack-{kind}-{store.replace('/', '-')}"
    machine.run(["mkdir", "--parents", f"{folder}/temporary"])
    command = ["/opt/nixoci/bin/python3", "-m", "tests.delta.attack", kind, folder, store, *deltas]
    argv = machine.command(command, env={"PYTHONPATH": "/src", "PYTHONDONTWRITEBYTECODE": "1", "BASE": base})
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    found: dict[str, Any] = json.loads(out)
    assert not found["wrong"], json.dumps(found["wrong"], indent=1)
    assert found["peak"] < PEAK
    return found


def test_each_is_refused_with_one_line_and_leaves_nothing(machine: Machine, old: str, base: str) -> None:
    store = fresh(machine, "/root/attacked", old)
    machine.run(["nix", "copy", "--no-check-sigs", "--to", store, base])
    before = valid(machine, store), valid(machine, "daemon")
    running = [attack(machine, "forged", "", base), attack(machine, "damaged", store, base, *DELTAS)]
    forged, broken = (outcome(process) for process in running)
    assert forged["count"] >= 600
    assert broken["count"] == 1000
    assert (valid(machine, store), valid(machine, "daemon")) == before
    verify(machine, store)
    verify(machine, "daemon")


def test_damaged_deltas_into_the_main_store_by_the_real_command(machine: Machine, old: str) -> None:
    before = valid(machine, "daemon")
    folders = ["ls", "-A", "/tmp", "/var/tmp", "/nix/store"]  # noqa: S108
    left = machine.run(folders).stdout
    streams = [(machine.root / file.lstrip("/")).read_bytes() for file in DELTAS]
    for name, stream in damaged(streams, 28, seed=5):
        (machine.root / "root/damaged").write_bytes(stream)
        done = machine.run(["nixoci", "receive", "/root/damaged"], check=False)
        assert (done.returncode, done.stdout) == (1, ""), name
        assert ONE_LINE.fullmatch(done.stderr), name
    assert machine.run(folders).stdout == left
    assert valid(machine, "daemon") == before
    assert old in before


def test_the_deltas_as_they_were_are_received(machine: Machine, old: str) -> None:
    for delta in DELTAS:
        store = fresh(machine, "/root/undamaged", old)
        done = json.loads(machine.run(["nixoci", "receive", delta, "--store", store, "--json"]).stdout)
        assert len(done["added"]) == 2
        verify(machine, store)
