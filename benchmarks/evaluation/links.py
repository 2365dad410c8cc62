"""First installs and updates until a container has run, over links whose rate the kernel limits.

One machine is both ends. Its loopback, over which all bytes travel, has a token bucket filter of the kernel, which is
there where netem is not; it limits the rate and adds no delay. A registry serves the image, and a web server a binary
cache of Nix with zstd and the deltas.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import bench_install
from benchmarks.bench_install import BUILD, LONG, STOP, TOOLS, cgroup, make_fresh, pinned, processor_seconds
from benchmarks.evaluation.images import host_images
from benchmarks.evaluation.model import Row
from benchmarks.evaluation.tables import MEGABYTES, Shown, commands, line, median_text, table
from tests.host.locks import locked, write_lock
from tests.host.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.evaluation.model import Result
    from benchmarks.evaluation.parts import Lab
    from tests.host.images import Image
    from tests.host.machine import Machine
    from tests.host.registry import Registry as Served

RATES = (5, 20, 100, 1000)
"""Rates in Mbit/s."""

INSTALLED = ("nats", "nginx")
OVER_LINKS = "nats"
"""The image that goes over each link: a small one, because a first install of a large one takes minutes at 5 Mbit/s."""

QUICK_INSTALLED = ("nats",)
PROGRAMS = {"nats": "nats-server --version"}
"""The program that is run in an image, if it is not `true`."""

QUICK_RATES = (100,)
ROUNDS = 2
PORT = 8000
SERVED = "/srv/nixoci"

PULL = "podman pull"
REGISTRY = "registry, nixoci"
COPY = "nix copy, zstd"
DELTA = "nixoci delta"
FAST = "nixoci delta --effort fast"

RUN = "podman run --rm --network=none --pull=never --entrypoint= {reference} {program}"
STORED = "CONTAINERS_STORAGE_CONF={store}/storage.conf"
NIX = "nix --extra-experimental-features nix-command"
FETCH = f"curl --silent --show-error --fail http://127.0.0.1:{PORT}"

WAYS = {
    PULL: f"podman pull --quiet {{reference}} && {RUN}",
    REGISTRY: f"nix-build --no-out-link --attr imageStore && {STORED} {RUN}",
    COPY: f"{NIX} copy --no-check-sigs --from http://127.0.0.1:{PORT}/cache {{store}} && {STORED} {RUN}",
    DELTA: f"{FETCH}/{{delta}} | nixoci receive && {STORED} {RUN}",
    FAST: f"{FETCH}/{{delta}}-fast | nixoci receive && {STORED} {RUN}",
}
"""Shell commands from an empty machine, or one that has the version before, to a container that has run."""

LINKED = (PULL, COPY, DELTA)
"""The ways that go over each link."""

INSTALL, UPDATE = "first install", "update"
SECONDS = Shown(unit="s", digits=2)

FILL_CACHE = f'rm -rf {SERVED}; mkdir --parents {SERVED}; {NIX} copy --no-check-sigs --to "$@"'

# Limits the rate of the loopback in Mbit/s, or with 0 limits it no more.
LIMIT = """
tc qdisc del dev lo root 2> /dev/null || true
[ "$0" = 0 ] || tc qdisc add dev lo root tbf rate "$0mbit" burst 128kb limit 4mb
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of an image, pushed, pinned in a lock and built: its reference and the path of its image store."""

    reference: str
    folder: str
    store: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """Seconds, processor seconds of the whole machine, and bytes that its loopback carried."""

    seconds: float
    processor: float
    size: int


class Site:
    """A machine with a registry and a web server that have both versions of an image."""

    def __init__(self, machine: Machine, registry: Served, old: Image, new: Image) -> None:
        self.machine = machine
        self.name = new.name
        machine.run(["sh", "-ec", "rm -rf /root/nix /root/links; cp --archive /nix /root/nix; mkdir /root/links"])
        make_fresh(machine)
        self.old, self.new = (self._version(registry, image, which) for image, which in ((old, "old"), (new, "new")))
        cache = f"file://{SERVED}/cache?compression=zstd&compression-level=3"
        machine.run(["sh", "-ec", FILL_CACHE, "sh", cache, self.old.store, self.new.store], timeout=LONG)
        for effort, suffix in (("default", ""), ("fast", "-fast")):
            send = ["nixoci", "send", "--effort", effort, "--to", self.new.store]
            machine.run([*send, "--from", self.old.store, "--output", f"{SERVED}/update{suffix}"], timeout=LONG)
            machine.run([*send, "--output", f"{SERVED}/install{suffix}"], timeout=LONG)

    def _version(self, registry: Served, image: Image, which: str) -> Version:
        """Push an image, and build its store from a lock that pins the hash of its path."""
        reference = registry.push(image)
        folder = f"/root/links/{which}"
        entry = locked(image, reference)
        write_lock(self.machine, "/root/links/unpinned", {image.name: entry})
        build = ["sh", "-c", f"{BUILD} --attr images.{image.name}"]
        built = self.machine.run(build, cwd="/root/links/unpinned", timeout=LONG).stdout.strip()
        printed = self.machine.run(["nix-hash", "--type", "sha256", "--sri", built], timeout=LONG).stdout
        write_lock(self.machine, folder, {image.name: pinned(entry, printed.strip())})
        store = self.machine.run(["sh", "-c", f"{BUILD} --attr imageStore"], cwd=folder, timeout=LONG).stdout.strip()
        return Version(reference=reference, folder=folder, store=store)

    def measured(self, kind: str, way: str) -> Taken:
        """Return the cost of an install or update on a fresh machine."""
        make_fresh(self.machine)
        if kind == UPDATE:
            # without a limit, and not measured
            self._run(WAYS[COPY if way != PULL else PULL], self.old, "")
        group = cgroup(self.machine)
        carried, used, start = self._carried(), processor_seconds(group), time.perf_counter()
        self._run(WAYS[way], self.new, "update" if kind == UPDATE else "install")
        seconds = time.perf_counter() - start
        return Taken(seconds=seconds, processor=processor_seconds(group) - used, size=self._carried() - carried)

    @contextmanager
    def limited(self, mbit: int) -> Iterator[None]:
        """Limit the rate of the loopback while the block runs."""
        self.machine.run(["sh", "-ec", LIMIT, str(mbit)])
        try:
            yield
        finally:
            self.machine.run(["sh", "-ec", LIMIT, "0"])

    def _run(self, script: str, version: Version, delta: str) -> None:
        program = PROGRAMS.get(self.name, "true")
        command = script.format(reference=version.reference, store=version.store, delta=delta, program=program)
        command = command.replace("nix-build ", f"nix-build --quiet {TOOLS} ")
        self.machine.run(["bash", "-eo", "pipefail", "-c", command], cwd=version.folder, timeout=LONG)

    def _carried(self) -> int:
        shown = self.machine.run(["cat", "/sys/class/net/lo/statistics/tx_bytes"]).stdout
        return int(shown)


@contextmanager
def site(machine: Machine, name: str) -> Iterator[Site]:
    """Yield a machine with the servers of an image while the block runs."""
    found = host_images([name])
    unit = "binary-cache.service"
    with Registry(machine) as registry:
        served = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", SERVED, str(PORT)]
        machine.run(["mkdir", "--parents", SERVED])
        made = Site(machine, registry, found["old"][name], found["new"][name])
        machine.run(["systemd-run", "--quiet", f"--unit={unit}", "--collect", *served])
        probe = ["curl", "--silent", "--retry", "60", "--retry-delay", "1", "--retry-connrefused", "--output"]
        machine.run([*probe, "/dev/null", f"http://127.0.0.1:{PORT}/"])
        try:
            yield made
        finally:
            machine.run(["systemctl", "stop", unit])
            machine.run(["sh", "-c", f"{STOP}systemctl start nix-daemon.socket"])


def measure_installs(name: str, lab: Lab) -> Iterator[Row]:
    """Yield the costs of an image's first install without a limit; of one image also those over links."""
    with site(lab.machine, name) as made:
        found = list(rounds(made, INSTALL, list(WAYS), lab.rounds(ROUNDS, 1)))
        yield from found
        if name == OVER_LINKS:
            yield from (replace(row, table="links", subject=INSTALL) for row in found if row.variant in LINKED)
            yield from over_links(made, lab)


def over_links(made: Site, lab: Lab) -> Iterator[Row]:
    """Yield the costs of an update without a limit, and of a first install and of an update at each rate."""
    for rate in (0, *(QUICK_RATES if lab.quick else RATES)):
        # what takes long does not vary
        count = 1 if 0 < rate < 100 else lab.rounds(ROUNDS, 1)
        with made.limited(rate):
            for kind in (INSTALL, UPDATE) if rate else (UPDATE,):
                for row in rounds(made, kind, LINKED, count):
                    yield replace(row, table="links", subject=f"{kind}, {rate} Mbit/s" if rate else kind)


def rounds(made: Site, kind: str, ways: Sequence[str], count: int) -> Iterator[Row]:
    """Yield rows of ways that are measured in turn."""
    taken: dict[str, list[Taken]] = {way: [] for way in ways}
    for _ in range(count):
        for way in ways:
            taken[way].append(made.measured(kind, way))
    for way, found in taken.items():
        row = Row(table="install", subject=made.name, variant=way, unit="s", command=shown(way))
        yield replace(row, unit="B", samples=(found[0].size,))
        yield replace(row, samples=tuple(each.seconds for each in found))
        yield replace(row, unit="processor s", samples=tuple(each.processor for each in found))


def shown(way: str) -> str:
    """Return the commands of a way as a reader would type them."""
    return WAYS[way].format(reference="IMAGE", store="STORE", delta="DELTA", program="PROGRAM")


def computed(result: Result) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the computed and the measured seconds of each install and update over a link, by subject and way.

    Computed is the transfer of the bytes at the rate, and then the processor seconds of an install without a limit, as
    for all updates of the page.
    """
    rows = {(row.subject, row.variant, row.unit): median(row.samples) for row in result.table("links")}
    found = {}
    for (subject, way, unit), seconds in rows.items():
        kind, _, rate = subject.partition(", ")
        if unit == "s" and rate:
            transfer = rows[kind, way, "B"] * 8 / (float(rate.removesuffix(" Mbit/s")) * 1e6)
            found[subject, way] = transfer + rows[kind, way, "processor s"], seconds
    return found


def report(result: Result) -> list[str]:
    """Return the text of both tables; nothing, if they were not measured."""
    installs = result.table("install")
    lines: list[str] = []
    if installs:
        lines += [
            (
                f"First installs from servers on the machine's loopback until a container has run. *{REGISTRY}* builds"
                " the image's store from a lock, and a delta without a base is an archive of it:"
            ),
            "",
            table([row for row in installs if row.unit == "B"], MEGABYTES, base=PULL),
            table([row for row in installs if row.unit == "s"], SECONDS, base=PULL),
            "Processor seconds of the whole machine, with those of its servers:",
            "",
            table([row for row in installs if row.unit == "processor s"], SECONDS, base=PULL),
            commands(installs, "`bandwidth`, table `install`"),
        ]
    found = computed(result)
    if not found:
        return lines
    ways = list(dict.fromkeys(way for _, way in found))
    measured = {
        (row.subject, row.variant): median_text(row, SECONDS) for row in result.table("links") if row.unit == "s"
    }
    lines += [
        (
            f"The {OVER_LINKS} image over links, from a server until a container has run, in seconds: computed from the"
            " bytes and from the processor seconds of the machine without a limit, as above, and measured. A token"
            " bucket filter of the kernel limits the loopback; it adds no delay, for which the kernel would need netem."
            " What works while it downloads takes less than computed, what waits takes longer:"
        ),
        "",
        line(["", *(f"{way}, {what}" for way in ways for what in ("computed", "measured"))]),
        line(["---"] * (2 * len(ways) + 1)),
    ]
    for subject in dict.fromkeys(subject for subject, _ in found):
        cells = [cell for way in ways for cell in (f"{found[subject, way][0]:.2f}", measured[subject, way])]
        lines.append(line([subject, *cells]))
    return [*lines, "", commands(result.table("links"), "`bandwidth`, table `links`")]


SOURCES = (Path(__file__), Path(bench_install.__file__))
