"""Random faults while Nix updates through `nixoci substituter`: the update comes, or Nix says why not.

`NIXOCI_SUBSTITUTER_FAULTS=500` makes more of them than the suite, `NIXOCI_SUBSTITUTER_SEED=N` begins with another one.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.host.binary_cache import BinaryCache, Fault
from tests.host.machine import Machine
from tests.host.test_delta import build_pair, infos, valid
from tests.host.test_substituter import UNITS, Far, closure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST = int(os.environ.get("NIXOCI_SUBSTITUTER_SEED", "0"))
COUNT = int(os.environ.get("NIXOCI_SUBSTITUTER_FAULTS", "12"))

MAKE = """
let
  make = seed: let
    path = name: size: dep: derivation {
      inherit name dep; system = builtins.currentSystem; builder = "/usr/bin/python3"; args = [ "-c" ''
        import os, random
        out = os.environ["out"]; os.mkdir(out)
        for number in range(40):
            with open(f"{out}/file{number}", "wb") as file:
                file.write(b"${seed}" + random.Random(number).randbytes(${size}))
        with open(f"{out}/run", "w") as file: file.write(os.environ["dep"] + " " + out)
      '' ];
    };
    in path "app-${seed}" "2000" "${path "lib-${seed}" "60000" ""}";
in map make [ "1" "2" ]
"""
"""A library with a NAR of more than a MiB, of which the start is sent before its hash is known, and a small program."""

TARGETS = {
    "the index": r"^/deltas/index",
    "the delta": r"\.nxd$",
    "the narinfos of the release": r"\.narinfos\.zst$",
    "narinfos": r"\.narinfo$",
    "NARs": r"^/nar/",
    "the description": r"^/nix-cache-info$",
}
OPTIONAL = ("the index", "the delta", "the narinfos of the release")
"""What an update can do without."""
KINDS = ("404", "500", "cut", "altered", "swapped", "slow", "stall", "stall before")
STALL = 40.0
"""Seconds, more than the substituter and Nix wait."""

KILL, COLLECT, DAMAGE = "kill the substituter", "collect the bases", "damage a base"
CONF = """
stalled-download-timeout = 10
connect-timeout = 5
download-attempts = 2
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Faults of the cache, and something that happens on the machine so many seconds after Nix has begun."""

    faults: tuple[Fault, ...]
    event: str | None
    delay: float

    @property
    def optional(self) -> bool:
        """Say whether the ordinary NARs can be had."""
        return all(fault.path in {TARGETS[name] for name in OPTIONAL} for fault in self.faults)


def random_case(seed: int) -> Case:
    rng = random.Random(seed)  # noqa: S311 - the same for everyone
    event = rng.choice((None, None, None, KILL, COLLECT, DAMAGE))
    faults = []
    for _ in range(rng.randint(0 if event else 1, 2)):
        target = rng.choice((*TARGETS, "the delta", "the delta", "the index"))
        kinds = (*KINDS, "resigned", "resigned") if target == "narinfos" else KINDS
        kind = rng.choice(kinds)
        if kind.startswith("stall"):
            kind = rng.choice((kind, "cut", "altered", "swapped"))  # they take long
        faults.append(
            Fault(
                path=TARGETS[target],
                kind=kind,
                at=rng.random(),
                seconds=rng.uniform(0, 3) if kind == "slow" else STALL,
                times=rng.choice((1, 2, 1 << 30)),
                other=rng.choice(("nix-cache-info", "deltas/index.json.zst", "DELTA", "NAR", "NARINFO")),
            )
        )
    return Case(faults=tuple(faults), event=event, delay=rng.uniform(0, 1.5))


class Site:
    """A published update; the far machine has the old release."""

    def __init__(self, near: Machine, far: Far, cache: BinaryCache) -> None:
        self.near, self.far, self.cache = near, far, cache
        self.old, self.new = build_pair(near, MAKE)
        far.give(self.old)
        cache.add(self.new)
        cache.publish(self.old, self.new)
        self.old_paths = [*reversed(closure(near, self.old))]
        self.new_paths = [*reversed(closure(near, self.new))]
        self.right = self.contents(near, self.new_paths)
        find = "cd $0 && echo deltas/*.nxd && ls -d nar/* && ls -d *.narinfo"
        names = near.run(["sh", "-c", find, cache.folder]).stdout.split()
        ends = {"DELTA": ".nxd", "NAR": ".zst", "NARINFO": ".narinfo"}
        self.others = {kind: next(name for name in names if name.endswith(end)) for kind, end in ends.items()}
        machine = far.machine
        machine.run(["tee", "--append", "/etc/nix/nix.conf"], input=CONF)
        machine.run(["sed", "-i", "s/^ExecStart=.*/& --keep-alive 5/", f"{UNITS}.service"])
        machine.run(["systemctl", "daemon-reload"])
        machine.run(["systemctl", "restart", "nix-daemon.service"])

    @staticmethod
    def contents(machine: Machine, paths: list[str]) -> dict[str, object]:
        """Return the narHash of each path that is there, and its references."""
        there = valid(machine, "daemon")
        wanted = [path for path in paths if path in there]
        if not wanted:
            return {}
        found = infos(machine, *wanted)
        return {path: (found[path]["narHash"], found[path]["references"]) for path in wanted}

    def prepare(self, case: Case) -> None:
        """Bring the machine to the old release, and let the cache fail."""
        self.cache.fail()
        sound = self.far.machine.run(["nix-store", "--verify-path", *self.old_paths], check=False).returncode == 0
        self.far.forget(*self.new_paths, *([] if sound else self.old_paths))
        self.far.give(self.old)
        folder = self.cache.folder
        self.cache.inject(
            [
                Fault(**{**vars(fault), "other": f"{folder}/{self.others.get(fault.other, fault.other)}"})
                for fault in case.faults
            ]
        )

    def happen(self, event: str) -> None:
        machine = self.far.machine
        if event == KILL:
            unit = "nixoci-substituter.service"
            machine.run(["systemctl", "kill", "--signal=KILL", "--kill-whom=all", unit], check=False)
        elif event == COLLECT:
            machine.run(["nix-store", "--delete", *self.old_paths], check=False)
        else:
            file = f"{self.old_paths[-1]}/file7"
            damage = 'chmod u+w "$0" && printf X | dd of="$0" bs=1 seek=9000 conv=notrunc status=none'
            machine.run(["sh", "-c", damage, file])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Machine() as near, BinaryCache(near) as cache, Machine() as machine:
        yield Site(near, Far(machine, near, cache), cache)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_an_update_comes_or_nix_says_why_not(
    site: Site, seed: int, record_property: Callable[[str, object], None]
) -> None:
    case = random_case(seed)
    far = site.far
    site.prepare(case)
    before, rebuilt = valid(far.machine, "daemon"), far.log().count(": rebuilt")
    command = far.machine.command(["nix-store", "--realise", site.new], user="alice")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        if case.event:
            time.sleep(case.delay)
            site.happen(case.event)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    failed = process.returncode != 0
    there = site.contents(far.machine, site.new_paths)
    record_property("outcome", f"{'error' if failed else 'updated'} {len(there)}")
    record_property("rebuilt", far.log().count(": rebuilt") - rebuilt)
    assert there.items() <= site.right.items(), case
    assert failed or there == site.right, case
    assert "error: " in errors or not failed, (case, errors)
    assert not (failed and case.optional), (case, errors, far.log()[-3000:])
    assert valid(far.machine, "daemon") <= before | set(site.new_paths), case
    if there:
        far.machine.run(["nix-store", "--verify-path", *there])
