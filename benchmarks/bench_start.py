"""Time from start to ready of one container by each backend, and of a service without a container."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Callable

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


def measure_starts(rounds: int) -> dict[str, list[tuple[int, int]]]:
    """Start the same container by each backend in turn; return the microseconds of each start by unit.

    The first number is the time until the unit was ready, the second that of `systemctl start`.
    """
    container: dict[str, Any] = {
        "image": "nginx",
        "networks": ["host"],
        "entrypoint": ["/bin/sleep"],
        "cmd": ["infinity"],
        "stopSignal": "SIGKILL",
        "settings": {"unit": {"Unit": {"StartLimitIntervalSec": 0}}},
    }
    with sample_host("nginx") as host:
        host.deploy("/var/starts", {name: container | {"backend": name} for name in UNITS if name != "nothing"})
        host.machine.run(["tee", "/etc/systemd/system/nothing.service"], input=NOTHING)
        host.systemctl("daemon-reload")
        measure = ["python3", "-c", MEASURE]
        host.machine.run([*measure, "3", *UNITS], timeout=600)  # into the page cache
        done = host.machine.run([*measure, str(rounds), *UNITS], timeout=600)
    taken: dict[str, list[tuple[int, int]]] = json.loads(done.stdout)
    return taken


def test_start(report: Callable[[str], None]) -> None:
    starts = measure_starts(ROUNDS)
    report(f"{'start to ready, ms':18} {'best':>7} {'ratio':>6} {'median':>7} {'ratio':>6}   with systemctl")
    for name in starts:
        row = f"{name:18}"
        for column in (0, 1):
            for measure in (min, median):
                ours, lowest = (measure(start[column] for start in starts[unit]) for unit in (name, "nothing"))
                row += f" {ours / 1e3:7.1f} {ours / lowest:6.2f}"
        report(row)
