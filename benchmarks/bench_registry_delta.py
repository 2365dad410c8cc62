"""An update over a slow link until a container has run: by deltas in the registry, and by podman pull."""

from __future__ import annotations

import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING

import pytest

from benchmarks.bench_install import FOLDERS, INSTALL, LONG, RUN, cgroup, processor_seconds
from tests.host.filesystem import put_in_memory
from tests.host.images import INSIDE, images_dir
from tests.host.machine import Machine
from tests.host.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.host.images import Pair

NAMES = ("postgres", "nginx")
ROUNDS = 3
PORT = 5050
UPDATE = "nixoci update web && nixoci prefetch web"
OLD_LOCK = "cp old.json nixoci.lock.json; rm -f /etc/nix/trusted.conf"
TRUST = 'echo "extra-trusted-public-keys = $(cat /root/key.public)" > /etc/nix/trusted.conf'
"""Shell commands after which Nix trusts the key of deltas; nix.conf includes the file."""
WAYS = {
    "update, by a signed delta": (f"{OLD_LOCK}; {TRUST}", f"{UPDATE} && {INSTALL}"),
    "update, by oci-delta": (OLD_LOCK, f"{UPDATE} && {INSTALL}"),
    "prefetch of a lock with the hash": ("cp pinned.json nixoci.lock.json", f"nixoci prefetch web && {INSTALL}"),
    "podman pull": ("true", f"podman pull --quiet $1 && {RUN}"),
}
"""Shell commands of the reference $1, in the directory of the lock: those that prepare, and those that are measured."""
FORGET = """
podman rmi --all --force > /dev/null 2>&1
for second in $(seq 60); do
  nix-store --delete $(nix-store --query --referrers-closure $1) > /dev/null 2>&1
  nix-store --check-validity $1 2> /dev/null || break
  sleep 1
done
nix-store --check-validity $1 2> /dev/null && exit 1
nix-store --check-validity $2
"""
"""Shell commands that let a machine forget the new image path $1, and check that it has the old one $2.

Nix keeps what a process has open, as podman's do for a moment after their container has ended.
"""


class Site:
    """A machine with a registry behind a link, and the old version of an image in the machine's store."""

    def __init__(self, machine: Machine, registry: Registry, pair: Pair) -> None:
        self.machine, self.registry = machine, registry
        self.name = pair.new.name
        self.reference = f"127.0.0.1:{PORT}/{self.name}:1"
        self.folder = f"/root/{self.name}"
        machine.run(["mkdir", self.folder])
        with self.link(10_000, 0):
            self._serve(pair.old.inside)
            self.run(f"nixoci add {self.reference} --name web && nixoci prefetch && cp nixoci.lock.json old.json")
            self.old = self._path()
            self._serve(pair.new.inside)
            self.run(f"{UPDATE} && cp nixoci.lock.json pinned.json && nixoci generate --output default.nix")
            self.new = self._path()
            self.pushed = self.run(
                "nixoci delta push web --key-file /root/key; nixoci delta push web --format oci-delta"
            )

    def run(self, script: str) -> str:
        return self.machine.run(["sh", "-ec", script, "sh", self.reference], cwd=self.folder, timeout=LONG).stdout

    def _serve(self, source: str) -> None:
        to = f"docker://{self.registry.host}/{self.name}:1"
        self.machine.run(["skopeo", "copy", "--quiet", source, to], timeout=LONG)

    def _path(self) -> str:
        return self.run("nixoci prefetch | tail -1 | cut -d' ' -f4").strip()

    def forget(self) -> None:
        """Let the machine have the old version only."""
        self.machine.run(["sh", "-c", FORGET, "sh", self.new, self.old], timeout=LONG)

    @contextmanager
    def link(self, mbit: int, round_trip: int) -> Iterator[None]:
        """Connect the registry while the block runs."""
        command = ["python3", "/src/benchmarks/slow_link.py", str(PORT), "5000", str(mbit), str(round_trip)]
        unit = "slow-link.service"
        self.machine.run(["systemd-run", "--quiet", f"--unit={unit}", "--collect", *command])
        try:
            probe = ["curl", "--silent", "--retry", "20", "--retry-delay", "1", "--retry-connrefused", "--output"]
            self.machine.run([*probe, "/dev/null", f"http://127.0.0.1:{PORT}/v2/"])
            yield
        finally:
            self.machine.run(["systemctl", "stop", unit])


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Machine, Registry]]:
    with Machine(binds={images_dir(): INSIDE}) as booted, Registry(booted) as registry:
        put_in_memory(booted, *FOLDERS, "/tmp")  # noqa: S108 - the machine is this benchmark's own
        booted.run(["nix-store", "--generate-binary-cache-key", "publisher-1", "/root/key", "/root/key.public"])
        booted.run(["sh", "-c", "echo '!include trusted.conf' >> /etc/nix/nix.conf"])
        yield booted, registry


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mbit", [20])
def test_update_over_a_slow_link(
    machine: tuple[Machine, Registry], images: dict[str, Pair], report: Callable[[str], None], name: str, mbit: int
) -> None:
    site = Site(*machine, images[name])
    report(f"{name}: {' '.join(site.pushed.split())}")
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    group = cgroup(site.machine)
    with site.link(mbit, 20):
        for number in range(ROUNDS):
            for way, (prepare, script) in WAYS.items():
                site.forget()
                site.run(prepare)
                begin, before = time.monotonic(), processor_seconds(group)
                site.run(script)
                taken[way].append(time.monotonic() - begin)
                cpu = processor_seconds(group) - before
                report(f"{name}, {mbit} Mbit/s, round {number + 1}: {way}: {taken[way][-1]:.2f} s, {cpu:.2f} s of cpu")
    peer = taken["podman pull"]
    for way, seconds in taken.items():
        ratios = sorted(ours / theirs for ours, theirs in zip(seconds, peer, strict=True))
        report(
            f"{name}, {mbit} Mbit/s: {way}: median {median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}),"
            f" ratio {median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
