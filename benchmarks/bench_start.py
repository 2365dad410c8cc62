"""Time from start to ready of one container by each backend, and of a service without a container; and its steps."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.process_trace import Event, NoTracerError, traced, tracer
from tests.host.prepared import sample_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.host.containers import Host

ROUNDS = 30
TRACED_ROUNDS = 15
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


# Starts a unit; prints the seconds of the monotonic clock before and after.
START = """
import subprocess, sys, time
before = time.monotonic()
subprocess.run(["systemctl", "start", sys.argv[1]], check=True)
print(before, time.monotonic())
"""


@contextmanager
def deployed() -> Iterator[Host]:
    """Yield a host with a unit for each of `UNITS`, the same container by each backend."""
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
        yield host


def measure_starts(rounds: int) -> dict[str, list[tuple[int, int]]]:
    """Start the same container by each backend in turn; return the microseconds of each start by unit.

    The first number is the time until the unit was ready, the second that of `systemctl start`.
    """
    with deployed() as host:
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


def test_steps(report: Callable[[str], None]) -> None:
    """Print the steps of a start by each backend: the programs, when each begins and ends, and changes of mounts."""
    try:
        with tracer() as made, deployed() as host:
            steps: dict[str, list[list[Step]]] = {unit: [] for unit in UNITS}
            for number in range(TRACED_ROUNDS + 2):
                for unit in UNITS:
                    with traced(made, host.machine.leader) as events:
                        printed = host.machine.run(["python3", "-c", START, unit]).stdout
                    host.machine.run(["systemctl", "stop", unit])
                    time.sleep(0.2)
                    if number >= 2:  # the first ones fill the page cache
                        before, after = map(float, printed.split())
                        steps[unit].append(steps_of(events, before, after))
    except NoTracerError as error:
        pytest.skip(f"the kernel's tracer cannot be used: {error}")
    for unit, rounds in steps.items():
        (names, _), *_ = Counter(tuple(name for _, name in each) for each in rounds).most_common(1)
        usual = [each for each in rounds if tuple(name for _, name in each) == names]
        report(f"{unit}: steps, ms since systemctl was called and of the step, medians of {len(usual)} starts")
        last = 0.0
        for number, name in enumerate(names):
            at = median(each[number][0] for each in usual) * 1e3
            report(f"  {at:7.1f} {at - last:6.1f}  {name}")
            last = at


Step = tuple[float, str]
"""Seconds since the start was asked for, and the event; the changes of mounts are those of the process before it."""

EXECUTOR = "9"
"""The name of systemd's executor, which systemd runs by the number of a file."""


def steps_of(events: list[Event], before: float, after: float) -> list[Step]:
    """Return the steps of one start in their order."""
    mounts: Counter[int] = Counter()
    steps = []
    for event in events:
        if event.kind == "mount":
            mounts[event.pid] += 1
            continue
        changes = mounts.pop(event.pid, 0)
        program = "systemd-executor" if event.program == EXECUTOR else event.program
        if before <= event.time <= after and program not in {"systemd", "systemctl", "python3"}:
            steps.append(
                (event.time - before, f"{event.kind} of {program}" + (f", {changes} mounts" if changes else ""))
            )
    return [*steps, (after - before, "end of systemctl")]
