"""From a registry on loopback to a container that has run: a first install by nixoci, and by podman pull."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from nixoci.image_path import FORMAT_VERSION
from nixoci.lock.model import LockedNarHash
from tests.host.filesystem import mount_new
from tests.host.images import INSIDE, images_dir
from tests.host.locks import locked, write_lock
from tests.host.machine import Machine
from tests.host.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixoci.lock.model import LockedImage
    from tests.host.images import Pair

PLATFORM = "linux/amd64"
NAMES = ("nginx", "postgres")
ROUNDS = 5
LONG = 900.0
TOOLS = "--argstr nixoci /opt/nixoci --argstr composefs /usr --argstr erofs-utils /usr --argstr cacert /etc/ssl"
RUN = "podman run --rm --network=none --pull=never --entrypoint= $1 true"
BUILD = f"nix-build --quiet --no-out-link {TOOLS}"
INSTALL = f'store=$({BUILD} --attr imageStore) && CONTAINERS_STORAGE_CONF="$store/storage.conf" {RUN}'

WAYS = {
    "nixoci, pinned": f"cd /root/pinned/$2 && {INSTALL}",
    "nixoci add": f"mkdir /root/new && cd /root/new && nixoci add $1 --name $2 && nixoci generate --output default.nix"
    f" && {INSTALL}",
    "podman pull": f"podman pull --quiet $1 && {RUN}",
}
"""Shell commands of the reference $1 and the name $2."""

FOLDERS = ("/nix", "/var/lib/containers")
STOP = """
# a container that has ended is cleaned up by a podman of its own, which may still have the file system
for _ in $(seq 600); do pgrep --exact 'conmon|podman' > /dev/null || break; sleep 0.1; done
systemctl stop nix-daemon.service nix-daemon.socket
umount --recursive /nix /var/lib/containers 2> /dev/null
rm -rf /root/new /run/containers /run/libpod
"""
START = """
cp --archive /root/nix/. /nix
# systemd counts starts, and refuses the sixth in ten seconds
systemctl reset-failed nix-daemon.service nix-daemon.socket 2> /dev/null || true
systemctl start nix-daemon.socket
"""

LINK_PORT = 5050
LINK = ["python3", "/src/benchmarks/slow_link.py", str(LINK_PORT), "5000", "50", "20"]
DOWNLOAD = "curl --silent --show-error --fail $(sed 's|.*|-o /dev/null &|' /root/pinned/$2/urls)"


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds on the clock and of all processors, the memory of the largest process in bytes, and its name."""

    seconds: float
    cpu: float
    peak: int
    largest: str


@pytest.fixture(scope="module")
def host(images: dict[str, Pair]) -> Iterator[tuple[Machine, dict[str, str]]]:
    """Boot a machine whose registry has the images, with a lock for each that pins the hash of its path."""
    with Machine(binds={images_dir(): INSIDE}) as machine, Registry(machine) as registry:
        machine.run(["cp", "--archive", "/nix", "/root/nix"])
        references = {name: registry.push(images[name].new) for name in NAMES}
        for name, reference in references.items():
            prepare(machine, name, locked(images[name].new, reference))
        yield machine, references


def prepare(machine: Machine, name: str, entry: LockedImage) -> None:
    """Write a lock with the pinned hash of an image to /root/pinned/NAME, and the addresses of the image's blobs."""
    write_lock(machine, "/root/unpinned", {name: entry})
    built = machine.run(["sh", "-c", f"{BUILD} --attr images.{name}"], cwd="/root/unpinned", timeout=LONG)
    printed = machine.run(["nix-hash", "--type", "sha256", "--sri", built.stdout.strip()], timeout=LONG).stdout
    write_lock(machine, f"/root/pinned/{name}", {name: pinned(entry, printed.strip())})
    machine.run(["tee", f"/root/pinned/{name}/urls"], input=urls(entry))


def pinned(entry: LockedImage, nar_hash: str) -> LockedImage:
    platform = replace(entry.platforms[PLATFORM], nar_hash=LockedNarHash(format=FORMAT_VERSION, hash=nar_hash))
    return replace(entry, platforms={PLATFORM: platform})


def urls(entry: LockedImage) -> str:
    """Return the addresses of an image's blobs, a line each."""
    host, _, path = entry.reference.rpartition(":")[0].partition("/")
    platform = entry.platforms[PLATFORM]
    blobs = [f"blobs/{blob.digest}" for blob in (platform.config, *platform.layers)]
    return "".join(f"http://{host}/v2/{path}/{part}\n" for part in (f"manifests/{platform.manifest.digest}", *blobs))


@pytest.mark.parametrize("name", NAMES)
def test_install(host: tuple[Machine, dict[str, str]], report: Callable[[str], None], name: str) -> None:
    machine, references = host
    taken: dict[str, list[Taken]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, script in WAYS.items():
            make_fresh(machine)
            taken[way].append(measured(machine, script, references[name], name))
    report(f"first install of {name}, {ROUNDS} rounds")
    show(report, taken, "podman pull")


@pytest.mark.parametrize("name", NAMES)
def test_store_growth(host: tuple[Machine, dict[str, str]], report: Callable[[str], None], name: str) -> None:
    """Print what an install adds to an empty Nix store: image path, image store, derivations, blobs."""
    machine, references = host
    sizes = "for path in /nix/store /nix/store/*/rootfs; do du --summarize --block-size=1 $path; done"
    report(f"{name}: the Nix store after an install in MB, its ratio to the image's tree; the largest process in MB")
    for way in (way for way in WAYS if way != "podman pull"):
        make_fresh(machine)
        taken = measured(machine, WAYS[way], references[name], name)
        store, tree = (int(line.split()[0]) for line in machine.run(["sh", "-c", sizes]).stdout.splitlines())
        report(f"{way:20} {store / 1e6:8.1f} {store / tree:6.3f} {taken.peak / 1e6:7.0f} ({taken.largest})")


@pytest.mark.parametrize("name", NAMES)
def test_slow_link(
    host: tuple[Machine, dict[str, str]], images: dict[str, Pair], report: Callable[[str], None], name: str
) -> None:
    machine, references = host
    through = references[name].replace(":5000/", f":{LINK_PORT}/")
    machine.run(["systemd-run", "--quiet", "--unit=link", "--collect", *LINK])
    try:
        prepare(machine, name, locked(images[name].new, through))
        ways = {
            "download alone": DOWNLOAD,
            "nixoci, image path": f"cd /root/pinned/$2 && {BUILD} --attr images.$2",
            "nixoci, pinned": WAYS["nixoci, pinned"],
            "podman pull": WAYS["podman pull"],
        }
        taken: dict[str, list[Taken]] = {way: [] for way in ways}
        for _ in range(2):
            for way, script in ways.items():
                make_fresh(machine)
                taken[way].append(measured(machine, script, through, name))
    finally:
        machine.run(["systemctl", "stop", "link"])
    report(f"{name} over 50 Mbit/s and 20 ms, 2 rounds")
    show(report, taken, "download alone")


def show(report: Callable[[str], None], taken: dict[str, list[Taken]], base: str) -> None:
    report(
        f"{'':20} {'best s':>8} {'ratio':>6} {'median':>8} {'ratio':>6} {'worst':>8} {'cpu s':>8} {'ratio':>6} peak MB"
    )
    for way, rows in taken.items():
        line = f"{way:20}"
        for measure in (min, median):
            own, other = (measure(row.seconds for row in each) for each in (rows, taken[base]))
            line += f" {own:8.2f} {own / other:6.2f}"
        own, other = (median(row.cpu for row in each) for each in (rows, taken[base]))
        peak = max(rows, key=lambda row: row.peak)
        line += f" {max(row.seconds for row in rows):8.2f} {own:8.2f} {own / other:6.2f} {peak.peak / 1e6:7.0f}"
        report(f"{line} ({peak.largest})")


def measured(machine: Machine, script: str, reference: str, name: str) -> Taken:
    """Run a script; its processor seconds are those of the whole machine, so of Nix's daemon and the registry too."""
    group = cgroup(machine)
    with largest(group) as found:
        before, start = processor_seconds(group), time.perf_counter()
        machine.run(["sh", "-ec", script, "sh", reference, name], timeout=LONG)
        seconds, cpu = time.perf_counter() - start, processor_seconds(group) - before
    peak, command = max((peak, command) for command, peak in found.items())
    return Taken(seconds, cpu, peak, command)


def make_fresh(machine: Machine) -> None:
    """Mount new file systems at the places of both stores.

    They are in memory: on a disk a round pays for the files that the round before deleted.
    """
    machine.run(["sh", "-c", STOP])
    for folder in FOLDERS:
        mount_new(machine, folder)
    machine.run(["sh", "-ec", START])


def cgroup(machine: Machine) -> Path:
    lines = Path(f"/proc/{machine.leader}/cgroup").read_text(encoding="ascii").splitlines()
    (path,) = (line.removeprefix("0::/") for line in lines if line.startswith("0::/"))
    mounts = Path("/proc/mounts").read_text(encoding="ascii")
    (mount,) = re.findall(r"^\S+ (\S+) cgroup2 ", mounts, re.MULTILINE)[:1]
    return Path(mount) / path.split("/")[0]


def processor_seconds(group: Path) -> float:
    (usage,) = re.findall(r"^usage_usec (\d+)$", (group / "cpu.stat").read_text(encoding="ascii"), re.MULTILINE)
    return int(usage) / 1e6


@contextmanager
def largest(group: Path) -> Iterator[dict[str, int]]:
    """Yield the peaks of memory by command, of processes that start while the block runs; they are sampled."""
    found: dict[str, int] = {"none": 0}
    ended = threading.Event()
    old = set(processes(group))

    def sample() -> None:
        while not ended.wait(0.05):
            for process in processes(group):
                if process in old:
                    continue
                try:
                    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
                except OSError:
                    continue
                values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
                # a process that has ended, but was not waited for, has no memory
                peak = int(values.get("VmHWM", "0 kB").split()[0]) * 1024
                name = values.get("Name", "none").strip()
                found[name] = max(found.get(name, 0), peak)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def processes(group: Path) -> Iterator[str]:
    for file in group.rglob("cgroup.procs"):
        try:
            yield from file.read_text(encoding="ascii").split()
        except OSError:
            continue
