"""A file over 4 GiB, and thousands of files, through real stores; they take no room, and both ends little memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.host.filesystem import fits_in_memory
from tests.host.machine import Machine
from tests.host.test_delta import fresh, infos

if TYPE_CHECKING:
    from collections.abc import Iterator

MAKE = """
let
  path = name: code: derivation {
    inherit name; system = builtins.currentSystem; builder = "/usr/bin/python3"; args = [ "-c" code ];
  };
  sparse = version: path "sparse-${version}" ''
    import os
    out = os.environ["out"]; os.mkdir(out)
    with open(f"{out}/disk.img", "wb") as f:
        f.truncate(SIZE)
        for place in (0, 5, 1 << 32, SIZE - 7):
            f.seek(place); f.write(b"v${version}")
  '';
  many = version: path "many-${version}" ''
    import os
    out = os.environ["out"]; os.mkdir(out)
    for folder in range(100):
        os.mkdir(f"{out}/{folder}")
        for i in range(80):
            with open(f"{out}/{folder}/{i}", "w") as f: f.write(f"file {i} of {folder}" * (i == 7 and VERSION or 1))
  '';
in {
  sparse = [ (sparse "1") (sparse "2") ];
  many = [ (many "1") (many "2") ];
}
"""
SIZE = (4 << 30) + (100 << 20)
MEMORY = 600 << 20
"""Some pieces of 64 MiB, each with what it is made from."""

MEASURED = """
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
import sys
from nixoci.cli import main
try:
    main(sys.argv[1:])
finally:
    print(max(getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN)) * 1024, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as booted:
        if fits_in_memory(6 << 30):
            # there nothing is allocated to read a hole, and what is written goes to no disk
            booted.run(["mkdir", "--parents", "/nix/store"])
            booted.run(["mount", "-t", "tmpfs", "-o", "size=8g,mode=1775", "tmpfs", "/nix/store"])
        yield booted


def built(machine: Machine, attribute: str) -> tuple[str, str]:
    text = MAKE.replace("SIZE", str(SIZE)).replace("VERSION", "${version}")
    old, new = machine.run(
        ["nix-build", "--no-out-link", "--expr", f"({text}).{attribute}"], timeout=600
    ).stdout.split()
    return old, new


def peak(machine: Machine, *arguments: str) -> int:
    """Run nixoci and return the most memory, in bytes, that it or a program that it ran had, with what they map."""
    done = machine.run(["/opt/nixoci/bin/python3", "-c", MEASURED, *arguments], timeout=900)
    return int(done.stderr.split()[-1])


def test_a_sparse_file_over_four_gibibytes(machine: Machine) -> None:
    old, new = built(machine, "sparse")
    sent = peak(machine, "send", "--from", old, "--to", new, "--effort=fast", "-o", "/root/sparse")
    size = int(machine.run(["stat", "--format=%s", "/root/sparse"]).stdout)
    assert size < 1_000_000
    made = infos(machine, new)
    machine.run(["nix-store", "--delete", new])
    received = peak(machine, "receive", "/root/sparse")
    assert max(sent, received) < MEMORY
    assert infos(machine, new) == made
    tail = machine.run(["tail", "-c", "7", f"{new}/disk.img"]).stdout
    assert tail == "v2" + "\0" * 5


def test_thousands_of_files(machine: Machine) -> None:
    old, new = built(machine, "many")
    summary = json.loads(
        machine.run(["nixoci", "send", "--from", old, "--to", new, "-o", "/root/many", "--json"]).stdout
    )
    assert summary["by"]["kept"]["count"] == 8000 - 100
    store = fresh(machine, "/root/many-store", old)
    machine.run(["nixoci", "receive", "/root/many", "--store", store])
    assert infos(machine, "--store", store, new) == infos(machine, new)
