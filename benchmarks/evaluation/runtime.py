"""Run time: operations and real work in an image that is mounted in each way, and the start of a container."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench_start import measure_starts
from benchmarks.evaluation import mounts_driver
from benchmarks.evaluation.images import host_images
from benchmarks.evaluation.model import Row
from benchmarks.evaluation.mounts_driver import EROFS, JOBS, LAYERS, MANY, READ_ONLY, WRITABLE
from benchmarks.evaluation.parts import Part, Step
from benchmarks.evaluation.tables import Shown, commands, table
from tests.host.filesystem import mount_new
from tests.host.images import images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.evaluation.model import Result
    from benchmarks.evaluation.parts import Lab
    from tests.host.images import Image
    from tests.host.machine import Machine

LONG = 1800.0
FOLDER = "/mnt/work"
DEVICE = "/dev/evaluation"
ROUNDS, QUICK_ROUNDS = 5, 2
OPERATION_ROUNDS = 6
"""Those of operations, from which on a median has an interval of 95 %."""
STARTS, QUICK_STARTS = 30, 5
NOTHING = "a program alone"

SECONDS = {"warm": "processor time", "cold": "time on the clock"}
MICROSECONDS = Shown(unit="µs", scale=1e6, digits=2)
MILLISECONDS = Shown(unit="ms", scale=1e3, digits=2)

# Leaves an image in a folder: its image path, its image store, podman's storage of it, and a copy with all owners.
PREPARE = """
mkdir --parents /run/evaluation/meta /run/evaluation/source "$1"
cd "$1"
nixoci extract "$2" path --name image
nixoci image-store store "$1/path"
skopeo copy --quiet "$2" "containers-storage:[overlay@$1/storage+/run/evaluation/storage]localhost/image:1"
umount storage/overlay
mount -t erofs -o ro "$(find "$1/store" -name composefs.blob)" /run/evaluation/meta
mount -t overlay -o "ro,lowerdir=/run/evaluation/meta::$1/path/rootfs,metacopy=on" overlay /run/evaluation/source
cp --archive /run/evaluation/source tree
umount /run/evaluation/source /run/evaluation/meta
"""

# Deals the files of a tree into layers, as hard links; the lowest layer has all directories.
DEAL = """
import os, shutil, sys
from pathlib import Path
tree, many, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def directory(layer, path):
    made = many / str(layer) / path
    if not made.is_dir():
        if path != Path("."):
            directory(layer, path.parent)
        made.mkdir(parents=path == Path("."))
        status = (tree / path).stat()
        os.chown(made, status.st_uid, status.st_gid)
        shutil.copystat(tree / path, made)

files = 0
for path in sorted(tree.rglob("*")):
    name = path.relative_to(tree)
    if path.is_dir() and not path.is_symlink():
        directory(0, name)
    elif path.is_file() or path.is_symlink():
        directory(files % count, name.parent)
        os.link(path, many / str(files % count) / name, follow_symlinks=False)
        files += 1
"""


def driver(what: str, rounds: int) -> list[str]:
    """Return the command that measures `what` in the image that was prepared."""
    places = ["--folder", FOLDER, "--device", DEVICE]
    return ["python3", "-m", "benchmarks.evaluation.mounts_driver", what, "--rounds", str(rounds), *places]


def prepare(machine: Machine, image: Image, layers: int) -> None:
    """Put an image on a new file system, and make the node of its device."""
    machine.run(["sh", "-c", 'umount "$0" 2> /dev/null; true', FOLDER])
    mount_new(machine, FOLDER, on="disk", gigabytes=8)
    source = machine.run(["findmnt", "--noheadings", "--output=SOURCE", FOLDER]).stdout.strip()
    number = source.removeprefix("/dev/loop")
    machine.run(["sh", "-ec", 'rm -f "$0"; mknod "$0" b 7 "$1"', DEVICE, number])
    machine.run(["sh", "-ec", PREPARE, "sh", f"{FOLDER}/image", image.inside], timeout=LONG)
    if layers:
        deal = ["python3", "-c", DEAL, f"{FOLDER}/image/tree", f"{FOLDER}/image/many", str(layers)]
        machine.run(deal, timeout=LONG)


def measure(lab: Lab, what: str, name: str, image: Image, rounds: int = ROUNDS) -> Iterator[Row]:
    """Yield the samples of a driver's run, one row for each subject and variant."""
    prepare(lab.machine, image, MANY)
    command = driver(what, lab.rounds(rounds, QUICK_ROUNDS))
    done = lab.machine.run(command, cwd="/src", env={"PYTHONDONTWRITEBYTECODE": "1"}, timeout=LONG)
    found: dict[tuple[str, str], list[float]] = {}
    for line in done.stdout.splitlines():
        sample = json.loads(line)
        found.setdefault((sample["subject"], sample["variant"]), []).append(sample["seconds"])
    for (subject, variant), samples in found.items():
        yield Row(
            table=name,
            subject=subject,
            variant=variant,
            unit="s",
            samples=tuple(samples),
            command=shlex.join(command[:-4]),
        )


def measure_operations(lab: Lab) -> Iterator[Row]:
    yield from measure(lab, "operations", "operations", images()["python"].new, OPERATION_ROUNDS)


def measure_job(name: str, lab: Lab) -> Iterator[Row]:
    samples = images()
    image = samples[name].new if name in samples else host_images([name])["new"][name]
    yield from measure(lab, name, "work", image)


def measure_start(lab: Lab) -> Iterator[Row]:
    """Yield the seconds from a unit's start until it was ready."""
    for name, starts in measure_starts(lab.rounds(STARTS, QUICK_STARTS)).items():
        yield Row(
            table="start",
            subject="start of a container, until it is ready",
            variant=NOTHING if name == "nothing" else name,
            unit="s",
            samples=tuple(ready / 1e6 for ready, _ in starts),
            command=f"systemctl start {name}",
        )


def steps(quick: bool) -> list[Step]:  # noqa: FBT001  # as all parts have it
    """Return the steps; a quick run has one job."""
    jobs = ["python"] if quick else list(JOBS)
    found = [Step(name="operations", measure=measure_operations)]
    found += [Step(name=f"work-{name}", measure=partial(measure_job, name)) for name in jobs]
    return [*found, Step(name="start", measure=measure_start)]


def of_state(rows: Sequence[Row], *words: str) -> list[Row]:
    """Return the rows whose subject has the words, with a subject that lacks them."""
    found = []
    for row in rows:
        parts = row.subject.split(", ")
        if all(word in parts for word in words):
            found.append(replace(row, subject=", ".join(part for part in parts if part not in words)))
    return found


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Return rows with the ways to mount in the order of their list, because the driver takes them at random."""
    ways = list(WRITABLE | READ_ONLY)
    return sorted(rows, key=lambda row: (row.subject, ways.index(row.variant)))


def report(result: Result) -> str:
    """Return the section."""
    operations = ordered(result.table("operations"))
    lines = [
        (
            "The python image (8 600 files and folders), mounted in several ways on one ext4 file system, in a"
            " new random order"
            " each round. For *cold* the file system is mounted anew, so that nothing of it is cached; *warm*"
            " follows at once."
            f" The first column is what engines do with the image's own layers; the mount of {MANY} layers has the"
            " same files,"
            " dealt into them."
            f" Podman mounts an image of the store as *{EROFS}*, together with the container's own layer; *two"
            " overlays* is what units of systemd and bundles have for a container that writes."
        ),
        "",
    ]
    for state in ("warm", "cold"):
        for way in ("read-only", "writable"):
            lines += [
                f"Each file, folder, page or process, {state}, {way}, {SECONDS[state]}:",
                "",
                table(of_state(operations, state, way), MICROSECONDS, base=LAYERS),
            ]
    lines += [commands(operations, "`runtime`, table `operations`"), "Real work, each with a writable layer:", ""]
    work = ordered(result.table("work"))
    lines += [table(work, MILLISECONDS, base=LAYERS), commands(work, "`runtime`, table `work`")]
    start = result.table("start")
    lines += [table(start, MILLISECONDS, base="podman"), commands(start, "`runtime`, table `start`")]
    lines += ["![Run time of work in mounted images](evaluation/runtime.svg)", ""]
    return "\n".join(lines)


PART = Part(
    name="runtime", title="Run time", sources=(Path(__file__), Path(mounts_driver.__file__)), steps=steps, report=report
)
