"""Time from start to ready of one container by each backend, and of a service without a container."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from tests.host.containers import Host, sample_sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.machine import Machine

ROUNDS = 30
UNITS = ("systemd", "bundle", "podman", "nothing")

# Starts and stops the units in turn, so that other work of the machine affects all of them. For each start it prints,
# in microseconds, the time of `systemctl start` and systemd's time from the unit's start until it was ready.
MEASURE = """
import json, subprocess, sys, time
rounds, *units = sys.argv[1:]
show = ["systemctl", "show", "--property=InactiveExitTimestampMonotonic", "--property=ActiveEnterTimestampMonotonic"]
taken = {unit: [] for unit in units}
for _ in range(int(rounds)):
    for unit in units:
        before = time.perf_counter()
        subprocess.run(["systemctl", "start", unit], check=True)
        client = time.perf_counter() - before
        text = subprocess.run([*show, unit], check=True, capture_output=True, text=True).stdout
        at = {key: int(value) for key, _, value in (line.partition("=") for line in text.split())}
        ready = at["ActiveEnterTimestampMonotonic"] - at["InactiveExitTimestampMonotonic"]
        taken[unit].append([ready, round(client * 1e6)])
        subprocess.run(["systemctl", "stop", unit], check=True)
        time.sleep(0.2)  # a cgroup that was just removed, and podman's cleanup, would delay the next start
print(json.dumps(taken))
"""

NOTHING = """[Unit]
StartLimitIntervalSec=0
[Service]
Type=exec
ExecStart=/usr/bin/sleep infinity
"""
"""A service that only starts a program: the lower bound of any start by systemd."""


@pytest.fixture(scope="module")
def starts(machine: Machine) -> dict[str, list[tuple[int, int]]]:
    """Start the same container by each backend, many times."""
    host = Host.build(machine, sample_sources())
    container: dict[str, Any] = {
        "image": "nginx",
        "networks": ["host"],
        "entrypoint": ["/bin/sleep"],
        "cmd": ["infinity"],
        "stopSignal": "SIGKILL",
        "settings": {"unit": {"Unit": {"StartLimitIntervalSec": 0}}},
    }
    host.deploy("/var/starts", {name: container | {"backend": name} for name in ("systemd", "bundle", "podman")})
    machine.run(["tee", "/etc/systemd/system/nothing.service"], input=NOTHING)
    machine.run(["systemctl", "daemon-reload"])
    measure = ["python3", "-c", MEASURE]
    machine.run([*measure, "3", *UNITS], timeout=600)  # into the page cache
    taken: dict[str, list[tuple[int, int]]] = json.loads(
        machine.run([*measure, str(ROUNDS), *UNITS], timeout=600).stdout
    )
    return taken


def test_start(starts: dict[str, list[tuple[int, int]]], report: Callable[[str], None]) -> None:
    report(f"{'start to ready, ms':18} {'best':>7} {'ratio':>6} {'median':>7} {'ratio':>6}   with systemctl")
    for name in starts:
        row = f"{name:18}"
        for column in (0, 1):
            for measure in (min, median):
                ours, theirs = (measure(start[column] for start in starts[unit]) for unit in ("bundle", name))
                row += f" {theirs / 1e3:7.1f} {theirs / ours:6.2f}"
        report(row)
