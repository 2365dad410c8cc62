"""Extraction of the postgres image against umoci, EROFS images of its layers and podman's own storage, interleaved."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import pytest

from benchmarks.bench_delta import layers
from benchmarks.cost import run_inside
from benchmarks.tools import INSIDE as TOOLS
from benchmarks.tools import command, tools
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from benchmarks.cost import Cost
    from tests.host.images import Pair


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

OURS = "nixoci extract"
EROFS = (
    f"for blob in {{blobs}}; do {' '.join(command('igzip'))} --decompress --stdout $blob"
    f" | mkfs.erofs --quiet --tar=f {WORK}/$(basename $blob).erofs; done"
)
COMMANDS = {
    OURS: ["nixoci", "extract", "oci:{layout}:{tag}", f"{WORK}/out"],
    "umoci unpack --rootless": ["umoci", "unpack", "--rootless", "--image", "{layout}:{tag}", f"{WORK}/out"],
    "igzip | mkfs.erofs --tar": ["sh", "-ec", EROFS],
    "skopeo copy to storage": [
        *("skopeo", "copy", "--quiet", "oci:{layout}:{tag}"),
        f"containers-storage:[overlay@{WORK}/storage+{WORK}/run]localhost/postgres:bench",
    ],
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine(binds={images_dir(): INSIDE, tools(["isal"]): TOOLS}) as booted:
        yield booted


def test_extract(
    machine: Machine, images: dict[str, Pair], benchmark: BenchmarkFixture, report: Callable[[str], None]
) -> None:
    image = images["postgres"].new
    layout, _, tag = image.inside.removeprefix("oci:").rpartition(":")
    blobs = " ".join(f"{layout}/blobs/{digest.replace(':', '/')}" for digest in layers(image))
    commands = {
        name: [part.format(layout=layout, tag=tag, blobs=blobs) for part in parts] for name, parts in COMMANDS.items()
    }
    taken: dict[str, list[Cost]] = {name: [] for name in commands}

    def run(name: str) -> None:
        taken[name].append(run_inside(machine, commands[name], timeout=600))

    def others() -> None:
        for name in commands:
            machine.run(["sh", "-c", FRESH, WORK, layout])
            if name != OURS:
                run(name)
        machine.run(["sh", "-c", FRESH, WORK, layout])

    benchmark.pedantic(run, args=(OURS,), setup=others, rounds=ROUNDS)  # type: ignore[no-untyped-call]
    machine.run(["umount", "--recursive", WORK])
    report(f"{'extraction':26} {'best s':>7} {'ratio':>6} {'median':>7} {'ratio':>6} {'cpu s':>7} {'ratio':>6}   MB")
    for name, rows in taken.items():
        line = f"{name:26}"
        for measure, column in ((min, "seconds"), (median, "seconds"), (median, "cpu")):
            own, ours = (measure(getattr(row, column) for row in each) for each in (rows, taken[OURS]))
            line += f" {own:7.2f} {own / ours:6.2f}"
        report(f"{line} {max(row.peak for row in rows) / 1e6:4.0f}")
