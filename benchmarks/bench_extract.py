"""Extraction of the postgres image against umoci and against podman's own storage, in one run on one machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks.conftest import Cost

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from tests.host.images import Pair
    from tests.host.machine import Machine

WORK = "/mnt/bench"
ROUNDS = 5

# In memory, because a disk's file system creates files slowly after a deletion, which would burden the next round.
FRESH = """
umount --recursive "$0" 2> /dev/null
set -e
mkdir --parents "$0"
mount -t tmpfs -o size=4g tmpfs "$0"
cat "$1"/blobs/sha256/* > /dev/null
"""

# Runs a command and prints its seconds and its peak of memory, without the cost of entering the machine.
MEASURE = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - start
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, status]))
"""

COMMANDS = {
    "nixoci extract": ["nixoci", "extract", "oci:{layout}:{tag}", f"{WORK}/out"],
    "umoci unpack --rootless": ["umoci", "unpack", "--rootless", "--image", "{layout}:{tag}", f"{WORK}/out"],
    "skopeo copy to storage": [
        *("skopeo", "copy", "--quiet", "oci:{layout}:{tag}"),
        f"containers-storage:[overlay@{WORK}/storage+{WORK}/run]localhost/postgres:bench",
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_extract(
    machine: Machine,
    images: dict[str, Pair],
    benchmark: BenchmarkFixture,
    record: Callable[[str, Cost], None],
    name: str,
) -> None:
    layout, _, tag = images["postgres"].new.inside.removeprefix("oci:").rpartition(":")
    command = [part.format(layout=layout, tag=tag) for part in COMMANDS[name]]
    measured: list[Cost] = []

    def fresh() -> None:
        machine.run(["sh", "-c", FRESH, WORK, layout])

    def extract() -> None:
        *cost, status = json.loads(machine.run(["python3", "-c", MEASURE, *command], timeout=600).stdout)
        assert status == 0
        measured.append(Cost(*cost))

    benchmark.group = "postgres"
    benchmark.pedantic(extract, setup=fresh, rounds=ROUNDS)  # type: ignore[no-untyped-call]
    machine.run(["umount", "--recursive", WORK])
    best = Cost(
        seconds=min(cost.seconds for cost in measured),
        cpu=min(cost.cpu for cost in measured),
        peak=max(cost.peak for cost in measured),
    )
    benchmark.extra_info["peak_bytes"] = best.peak
    record(name, best)
