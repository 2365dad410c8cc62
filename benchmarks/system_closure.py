"""A closure like that of a NixOS system, before and after an update by which every path changes.

Each path has files of one part of the test host's /usr, real programs, libraries and texts. Each program and script
names its own path and two others, as an rpath or a shebang does: if the first path changes, all do. The last path needs
all others, and the longest way from it through references has `PATHS / WIDTH` steps. One in ten paths also has another
version of its files, of which one byte in a hundred differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.host.machine import Machine

PATHS = 300
WIDTH = 10
"""Paths that do not need each other, and that Nix may copy at a time."""

_BUILDER = r"""
import os, random
release, names = os.environ["release"], os.environ["outputs"].split()
every = []
for folder, folders, found in os.walk("/usr"):
    folders.sort()
    every += [os.path.join(folder, name) for name in sorted(found)]
every = [file for file in every if os.path.isfile(file) and not os.path.islink(file) and os.access(file, os.R_OK)]
for number, name in enumerate(names):
    out = os.environ[name]
    others = sorted({number - int(os.environ["width"]), number // 2} & set(range(number)))
    needs = " ".join(os.environ[names[other]] for other in others)
    rng = random.Random(number)
    files = every[len(every) * number // len(names) : len(every) * (number + 1) // len(names)]
    rng.shuffle(files)
    left = rng.choice((20, 50, 100, 300, 1000, 2000)) * 1000
    os.mkdir(out)
    for file in files:
        if os.path.getsize(file) > left:
            continue
        with open(file, "rb") as opened:
            data = bytearray(opened.read())
        left -= len(data)
        if release == "2" and number % 10 == 3:
            for at in range(4096, len(data), 4096):
                data[at : at + 40] = random.Random(at).randbytes(40)
        program = data[:4] == b"\x7fELF" or data[:2] == b"#!"
        if program:
            data += f"\n# {out} {needs}\n".encode()
        os.makedirs(out + os.path.dirname(file), exist_ok=True)
        with open(out + file, "wb") as opened:
            opened.write(data)
        os.chmod(out + file, 0o755 if program else 0o644)
    if number == len(names) - 1:
        needs = " ".join(os.environ[name] for name in names[:-1])
    with open(out + "/needs", "w") as opened:
        opened.write(f"{needs} {release}\n")
"""

_EXPRESSION = """
{ builder, count, width }:
map (release: (derivation {
  name = "system"; system = builtins.currentSystem; builder = "/usr/bin/python3"; args = [ builder ];
  inherit release width;
  outputs = builtins.genList (number: "package${toString number}") count;
}).${"package${toString (count - 1)}"}) [ "1" "2" ]
"""


def build_systems(machine: Machine, *, paths: int = PATHS) -> list[str]:
    """Build the closure before and after the update on a machine, and return the root of each."""
    machine.run(["tee", "/root/system.nix"], input=_EXPRESSION)
    machine.run(["tee", "/root/system.py"], input=_BUILDER)
    arguments = ["--arg", "builder", "/root/system.py", "--arg", "count", str(paths), "--arg", "width", str(WIDTH)]
    return machine.run(["nix-build", "--no-out-link", "/root/system.nix", *arguments], timeout=1800).stdout.split()
