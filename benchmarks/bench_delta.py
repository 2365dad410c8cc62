"""Deltas of image paths and other closures against every other way to update them, in one run on one machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.pairs import PAIRS, PATHS, SYSTEM, SYSTEM_PACKAGES, package_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.host.images import Image, Pair
    from tests.host.machine import Machine

WORK = "/mnt/bench"
MEMORY = 300_000_000
"""The memory limit of either end, with the programs that it runs, for closures without a large file."""

ROUNDS = 3
LONG = 3600.0

# In memory, as in bench_extract.py; the store of the machine itself is on a disk, in the page cache.
FRESH = """
umount --recursive "$0" 2> /dev/null
set -e
mkdir --parents "$0"
mount -t tmpfs -o size=16g tmpfs "$0"
"""

# An application with its modules: some thousand small files of text, and one line that differs.
NODE = """
import os, random, sys
out, version = sys.argv[1:]
words = [bytes(random.Random(i).choices(range(97, 123), k=3 + i % 9)).decode() for i in range(3000)]
for module in range(150):
    folder = f"{out}/node_modules/{words[module]}-{module}/lib"
    os.makedirs(folder)
    for number in range(30):
        pick = random.Random(module * 1000 + number)
        names = [pick.choice(words) for _ in range(40)]
        with open(f"{folder}/{words[number]}.js", "w") as file:
            for line in range(pick.randrange(20, 250)):
                a, b, c = (pick.choice(names) for _ in range(3))
                file.write(f"const {a} = require('{b}').{c}({line}, () => {a}.{b});\\n")
with open(f"{out}/index.js", "w") as file:
    file.write(f"const app = require('./node_modules');\\napp.listen({version});\\n")
"""

# Packages that refer to each other in every file, as after a rebuild with a new version of the lowest of them.
CLOSURE = """
let
  package = name: source: dependencies: version: derivation {
    name = "${name}-1.${version}"; system = builtins.currentSystem; builder = "/usr/bin/python3";
    inherit source version;
    dependencies = map (dependency: dependency version) dependencies;
    args = [ "-c" ''
      import os, pathlib
      out, needs = pathlib.Path(os.environ["out"]), os.environ["dependencies"].split()
      for file in sorted(pathlib.Path("/").glob(os.environ["source"].lstrip("/"))):
          if not file.is_file() or file.is_symlink() or "__pycache__" in str(file):
              continue
          to = out / file.relative_to("/usr")
          to.parent.mkdir(parents=True, exist_ok=True)
          to.write_bytes(file.read_bytes() + "".join(f"\\n# {path}/lib" for path in [*needs, str(out)]).encode())
      (out / "version").write_text(os.environ["version"])
    '' ];
  };
  libc = package "libc" "/usr/lib/x86_64-linux-gnu/lib[bcmr]*.so.*" [ ];
  crypto = package "crypto" "/usr/lib/x86_64-linux-gnu/lib[ghks]*.so.*" [ libc ];
  modules = package "modules" "/usr/lib/python3.*/**/*.py" [ libc crypto ];
  tools = package "tools" "/usr/bin/[a-f]*" [ libc crypto modules ];
in [ (tools "0") (tools "1") ]
"""

# 2 GB in files of 20 kB, a tenth of which differ in a few bytes.
SMALL_FILES = """
import os, random, sys
out, version = sys.argv[1:]
for number in range(1000):
    os.makedirs(f"{out}/{number}")
    block = random.Random(number).randbytes(2_000_000)
    for part in range(100):
        content = block[part * 20_000 : (part + 1) * 20_000]
        if version != "0" and part % 10 == 0:
            content = content[:50] + b"changed" + content[57:]
        with open(f"{out}/{number}/{part}.bin", "wb") as file:
            file.write(content)
"""

Pairing = tuple[str, str, int | None]
"""Two store paths on the machine, and the bytes of the layers by which the registry's images differ."""


@pytest.mark.parametrize("name", ["nginx", "redis", "postgres", "python"])
def test_image(
    machine: Machine, images: dict[str, Pair], record_delta: Callable[[str, list[dict[str, Any]]], None], name: str
) -> None:
    record_delta(name, compare_images(machine, images[name]))


@pytest.mark.parametrize("name", PAIRS)
def test_packages(machine: Machine, record_delta: Callable[[str, list[dict[str, Any]]], None], name: str) -> None:
    record_delta(name, compare_images(machine, package_pair(name)))


def test_node_application(machine: Machine, record_delta: Callable[[str, list[dict[str, Any]]], None]) -> None:
    paths = [add_made(machine, NODE, f"application-{version}", version) for version in ("8000", "8001")]
    record_delta("node application", compare(machine, *paths, "--rounds", str(ROUNDS)))


def test_closure_with_references(machine: Machine, record_delta: Callable[[str, list[dict[str, Any]]], None]) -> None:
    paths = machine.run(["nix-build", "--no-out-link", "--expr", CLOSURE], timeout=LONG).stdout.split()
    record_delta("closure", compare(machine, *paths, "--rounds", str(ROUNDS)))


def test_system(machine: Machine, record_delta: Callable[[str, list[dict[str, Any]]], None]) -> None:
    packages = machine.run(["python3", "-c", SYSTEM_PACKAGES, str(PATHS)], timeout=LONG).stdout
    machine.run(["tee", "/root/packages.json"], input=packages)
    build = ["nix-build", "--no-out-link", "--max-jobs", "2", "--expr", SYSTEM]
    paths = machine.run(build, env={"PACKAGES": "/root/packages.json"}, timeout=LONG).stdout.split()
    record_delta("system", compare(machine, *paths, "--rounds", str(ROUNDS)))


def test_two_gigabytes_of_small_files(
    machine: Machine, record_delta: Callable[[str, list[dict[str, Any]]], None]
) -> None:
    paths = [add_made(machine, SMALL_FILES, f"small-{version}", version) for version in ("0", "1")]
    efforts = [part for effort in ("", " --effort fast", " --effort best") for part in ("--only", f"nixoci{effort}")]
    rows = compare(machine, *paths, *efforts, "--only", "nix copy, zstd")
    record_delta("2 GB of small files", rows)
    for row in rows:
        if row["method"].startswith("nixoci"):
            assert max(row[end][peak] for end in ("send", "receive") for peak in ("peak", "own")) < MEMORY, row


def compare_images(machine: Machine, pair: Pair) -> list[dict[str, Any]]:
    paths = [add_image(machine, image) for image in (pair.old, pair.new)]
    had = layers(pair.old)
    changed = sum(size for digest, size in layers(pair.new).items() if digest not in had)
    return compare(machine, *paths, "--rounds", str(ROUNDS), "--layers", str(changed))


def compare(machine: Machine, old: str, new: str, *options: str) -> list[dict[str, Any]]:
    machine.run(["sh", "-c", FRESH, WORK])
    driver = ["python3", "/src/benchmarks/delta_driver.py", "--work", WORK]
    rows = machine.run([*driver, *options, old, new], env={"TMPDIR": WORK}, timeout=LONG).stdout.splitlines()
    machine.run(["umount", "--recursive", WORK])
    machine.run(["nix-store", "--delete", "--ignore-liveness", old, new], check=False)
    return [json.loads(row) for row in rows]


def add_image(machine: Machine, image: Image) -> str:
    """Extract an image and put it into the store under the name and version that an image path has."""
    version = image.tag.replace("-", ".")
    folder = f"/root/{image.name}-{version}"
    machine.run(["nixoci", "extract", image.inside, folder], timeout=LONG)
    return add(machine, folder)


def add_made(machine: Machine, script: str, name: str, version: str) -> str:
    machine.run(["python3", "-c", script, f"/root/{name}", version], timeout=LONG)
    return add(machine, f"/root/{name}")


def add(machine: Machine, folder: str) -> str:
    path = machine.run(["nix-store", "--add", folder], timeout=LONG).stdout.strip()
    machine.run(["sh", "-c", 'chmod -R u+w "$0"; rm -r "$0"', folder], timeout=LONG)
    return path


def layers(image: Image) -> dict[str, int]:
    """Return the digests and sizes of an image's layers."""
    index = json.loads((image.layout / "index.json").read_text(encoding="utf-8"))
    digest = next(
        manifest["digest"]
        for manifest in index["manifests"]
        if manifest["annotations"]["org.opencontainers.image.ref.name"] == image.tag
    )
    manifest = json.loads((image.layout / "blobs" / digest.replace(":", "/")).read_text(encoding="utf-8"))
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}
