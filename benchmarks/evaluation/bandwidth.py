"""Bandwidth: updates of images as each way sends them, with the time and memory of both ends."""

from __future__ import annotations

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median
from typing import TYPE_CHECKING

from benchmarks import delta_driver
from benchmarks.bench_delta import FRESH, WORK, add_image, layers
from benchmarks.evaluation import links
from benchmarks.evaluation.images import host_images
from benchmarks.evaluation.model import Row
from benchmarks.evaluation.parts import Part, Step
from benchmarks.evaluation.tables import MEGABYTES, Shown, commands, line, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.evaluation.model import Result
    from benchmarks.evaluation.parts import Lab
    from benchmarks.figures import Row as FigureRow
    from tests.host.images import Image
    from tests.host.machine import Machine

LONG = 1800.0
PULL = "pull of changed layers"
OURS = "nixoci"
FAST = "nixoci --effort fast"
FILES = "changed files, zstd"
COPY = "nix copy, zstd"
METHODS = (OURS, FAST, COPY, FILES)
"""The methods of delta_driver.py that are measured here; bench_delta.py has more, and takes hours."""

NAMES = (
    *("apache", "bind9", "django", "mariadb", "nginx", "node"),
    *("php", "postgres", "python", "redis", "ruby", "squid"),
)
QUICK_NAMES = ("nginx",)
ROUNDS = 2
PEERS = Path(__file__).parents[1] / "deltas.json"
"""The figures of bench_delta.py."""

SECONDS = Shown(unit="s", digits=2)

# Prints the cost of an update by skopeo from a layout in the page cache, to a storage that has the old image alone.
UNPACK = """
import dataclasses, json, os, sys
from benchmarks.cost import run
work, old, new = sys.argv[1:]
storage = f"containers-storage:[overlay@{work}/storage+{work}/run]localhost/image:"
if not os.path.exists(f"{work}/storage"):
    run(["skopeo", "copy", "--quiet", old, f"{storage}old"])
print(json.dumps(dataclasses.asdict(run(["skopeo", "copy", "--quiet", new, f"{storage}new"]))))
run(["skopeo", "delete", f"{storage}new"])
"""


def measure_pair(name: str, lab: Lab) -> Iterator[Row]:
    """Yield the bytes of one image's update and the costs of both ends, by each method."""
    machine, found = lab.machine, host_images([name])
    old, new = found["old"][name], found["new"][name]
    rounds = lab.rounds(ROUNDS, 1)
    with ThreadPoolExecutor() as threads:
        paths = list(threads.map(partial(add_image, machine), (old, new)))
    machine.run(["sh", "-c", FRESH, WORK])
    taken: dict[str, list[FigureRow]] = {}
    for _ in range(rounds):
        for row in (unpack(machine, old, new), *driven(machine, paths)):
            taken.setdefault(row["method"], []).append(row)
    machine.run(["umount", "--recursive", WORK])
    for method, rows in taken.items():
        measured = partial(Row, subject=name, variant=method, command=command(method))
        yield measured(table="update", unit="B", samples=(rows[0]["size"],))
        for end in ("send", "receive"):
            if rows[0][end]:
                costs = [row[end] for row in rows]
                yield measured(table=end, unit="s", samples=tuple(cost["seconds"] for cost in costs))
                yield measured(table=f"{end}, processor", unit="s", samples=tuple(cost["cpu"] for cost in costs))
                yield measured(table=f"{end}, memory", unit="B", samples=tuple(cost["peak"] for cost in costs))
    machine.run(["nix-store", "--delete", "--ignore-liveness", *paths], check=False)


def unpack(machine: Machine, old: Image, new: Image) -> FigureRow:
    """Return a row like those of delta_driver.py for a pull by podman's library, without its download."""
    store = ["python3", "-c", UNPACK, WORK, old.inside, new.inside]
    done = machine.run(store, env={"PYTHONDONTWRITEBYTECODE": "1"}, cwd="/src", timeout=LONG)
    before = layers(old)
    size = sum(size for each, size in layers(new).items() if each not in before)
    return {"method": PULL, "size": size, "send": None, "receive": json.loads(done.stdout)}


def driven(machine: Machine, paths: list[str]) -> Iterator[FigureRow]:
    """Yield the rows of delta_driver.py for one round."""
    driver = ["python3", "-m", "benchmarks.delta_driver", "--work", WORK]
    chosen = [word for method in METHODS for word in ("--only", method)]
    environment = {"TMPDIR": WORK, "PYTHONDONTWRITEBYTECODE": "1"}
    done = machine.run([*driver, *chosen, *paths], env=environment, cwd="/src", timeout=LONG)
    rows = [json.loads(text) for text in done.stdout.splitlines()]
    yield from (row for row in rows if "size" in row)


def command(method: str) -> str:
    if method == PULL:
        return "skopeo copy IMAGE containers-storage:NAME"
    return shlex.join(["python3", "-m", "benchmarks.delta_driver", "--work", WORK, "--only", method, "OLD", "NEW"])


def steps(quick: bool) -> list[Step]:  # noqa: FBT001  # as all parts have it
    """Return a step for each pair, and one for the figures of bench_delta.py."""
    names = QUICK_NAMES if quick else NAMES
    pairs = [Step(name=name, measure=partial(measure_pair, name)) for name in names]
    installs = [
        Step(name=f"install-{name}", measure=partial(links.measure_installs, name))
        for name in (links.QUICK_INSTALLED if quick else links.INSTALLED)
    ]
    return [*pairs, *installs, Step(name="peers", measure=read_peers)]


def read_peers(_: Lab) -> Iterator[Row]:
    """Yield the bytes of all methods that bench_delta.py measured; this takes it hours."""
    measured: dict[str, list[FigureRow]] = json.loads(PEERS.read_text(encoding="utf-8"))
    for name, rows in measured.items():
        for row in rows:
            if "size" in row:
                yield Row(
                    table="peers",
                    subject=name,
                    variant=row["method"],
                    unit="B",
                    samples=(row["size"],),
                    command=f"pytest benchmarks/bench_delta.py -k {name}",
                )


def time_to_ready(size: float, receive: float, rate: float) -> float:
    """Return the seconds until an update is in the store: its transfer at a rate in Mbit/s, then the work after it."""
    return size * 8 / (rate * 1e6) + receive


def break_even(delta: tuple[float, float], whole: tuple[float, float]) -> float | None:
    """Return the rate in Mbit/s above which a delta takes longer than the whole, each with its bytes and seconds.

    None, if the delta is never slower.
    """
    saved, longer = whole[0] - delta[0], delta[1] - whole[1]
    return saved * 8 / longer / 1e6 if longer > 0 and saved > 0 else None


def figures(result: Result) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the bytes and the processor seconds at the receiver of each method that has both, by pair."""
    seconds = {row.key[1:3]: median(row.samples) for row in result.table("receive, processor")}
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for row in result.table("update"):
        if row.key[1:3] in seconds:
            found.setdefault(row.subject, {})[row.variant] = median(row.samples), seconds[row.key[1:3]]
    return found


def ready(result: Result) -> dict[int, dict[str, float]]:
    """Return the geometric mean over all pairs of the seconds until an update is ready, by link and method."""
    pairs = figures(result)
    methods = list(dict.fromkeys(method for pair in pairs.values() for method in pair))
    return {
        rate: {
            method: geometric_mean([time_to_ready(*pair[method], rate) for pair in pairs.values()])
            for method in methods
        }
        for rate in links.RATES
    }


def report(result: Result) -> str:
    """Return the section."""
    update = result.table("update")
    lines = [
        (
            "Updates of images from a release of Debian to the same with its updates. A pull fetches the layers"
            " that changed;"
            f" *{FILES}* is what a client fetches that knows which files it lacks, as with zstd:chunked, without its"
            " tables."
        ),
        "",
        table(update, replace(MEGABYTES, digits=2), base=PULL),
        commands(update, "`bandwidth`, table `update`"),
        (
            "Other updates by more ways: tar-diff is oci-delta's library, and FastCDC chunks stand for DeltaNAR. They"
            " were measured before, on other days and machines too;"
            " [benchmarks/README.md](../benchmarks/README.md#deltas) describes them:"
        ),
        "",
        table(result.table("peers"), replace(MEGABYTES, digits=3), base=OURS),
        commands(result.table("peers"), "`bandwidth`, table `peers`"),
        "Seconds at the receiver after the download, and at the sender:",
        "",
        table(result.table("receive"), SECONDS, base=PULL),
        table(result.table("send"), SECONDS),
        commands([*result.table("receive"), *result.table("send")], "`bandwidth`, tables `receive` and `send`"),
        *_resources(result, "receive", "receiver"),
        *_resources(result, "send", "sender"),
    ]
    means = ready(result)
    methods = list(next(iter(means.values())))
    lines += [
        (
            "Seconds until an update is ready, computed from the bytes and from the processor seconds at the receiver,"
            " with the delta made beforehand; the geometric mean over all pairs, of the raw rows in the tables `update`"
            " and `receive, processor`:"
        ),
        "",
        line(["Mbit/s", *methods]),
        line(["---"] * (len(methods) + 1)),
        *(line([str(rate), *(f"{means[rate][method]:.2f}" for method in methods)]) for rate in means),
        "",
        *_break_even(result),
        *links.report(result),
        "![Bytes of updates](evaluation/bandwidth.svg)",
        "",
    ]
    return "\n".join(lines)


def _resources(result: Result, table_of: str, end: str) -> list[str]:
    """Return the tables of processor seconds and memory at one end."""
    names = [f"{table_of}, {what}" for what in ("processor", "memory")]
    processor, memory = (result.table(name) for name in names)
    return [
        f"Processor seconds and the memory of the largest process, at the {end}:",
        "",
        table(processor, SECONDS, base=PULL),
        table(memory, MEGABYTES),
        commands([*processor, *memory], f"`bandwidth`, tables {' and '.join(f'`{name}`' for name in names)}"),
    ]


def rates_above(result: Result, delta: str, whole: str) -> list[float]:
    """Return the rates in Mbit/s above which a delta takes longer than the whole, of the pairs that have one."""
    found = [break_even(pair[delta], pair[whole]) for pair in figures(result).values() if whole in pair]
    return [rate for rate in found if rate is not None]


def _break_even(result: Result) -> list[str]:
    """Return the table of the rates above which deltas take longer."""
    pairs = figures(result)
    wholes = [method for method in (PULL, COPY) if all(method in pair for pair in pairs.values())]
    lines = [
        "The rate in Mbit/s above which a delta, made beforehand, takes longer than the whole, computed alike:",
        "",
    ]
    lines += [line(["", *(f"{ours} against {whole}" for ours in (OURS, FAST) for whole in wholes)])]
    lines += [line(["---"] * (2 * len(wholes) + 1))]
    for name, pair in pairs.items():
        rates = [break_even(pair[ours], pair[whole]) for ours in (OURS, FAST) for whole in wholes]
        lines.append(line([name, *("never" if rate is None else f"{rate:.0f}" for rate in rates)]))
    return [*lines, ""]


PART = Part(
    name="bandwidth",
    title="Bandwidth",
    sources=(Path(__file__), Path(delta_driver.__file__), *links.SOURCES),
    steps=steps,
    report=report,
    in_memory=("/nix",),
)
