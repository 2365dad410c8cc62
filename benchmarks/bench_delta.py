"""Deltas of image paths and other closures against every other way to update them, in one run on one machine."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from benchmarks.cost import run
from benchmarks.delta_driver import METHODS
from benchmarks.figures import remembered
from benchmarks.pairs import PAIRS, PATHS, SYSTEM, SYSTEM_PACKAGES, package_pair
from benchmarks.peers import INSIDE as PEERS
from benchmarks.peers import LIBRARIES, packages, peers, pinned
from tests.host.cache import cache_dir
from tests.host.images import INSIDE, images_dir
from tests.host.machine import ENVIRONMENT, Machine
from tests.host.python import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.figures import Row
    from tests.host.images import Image, Pair

WORK = "/mnt/bench"
MEMORY = 300_000_000
"""The memory limit of either end, with the programs that it runs, for closures without a large file."""

LONG = 7200.0
FIGURES = "/figures"
"""Where the machine sees the cache of the figures of other programs."""

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

Record: TypeAlias = "Callable[[str, list[Row]], None]"


class Comparison:
    """Compares store paths of a machine by each method, or by those that the command line names."""

    def __init__(self, machine: Machine, rounds: int, only: list[str]) -> None:
        self.machine, self.rounds, self.only = machine, rounds, only

    def images(self, pair: Pair) -> list[Row]:
        paths = [add_image(self.machine, image) for image in (pair.old, pair.new)]
        had = layers(pair.old)
        changed = sum(size for digest, size in layers(pair.new).items() if digest not in had)
        return self.paths(*paths, "--layers", str(changed))

    def paths(self, old: str, new: str, *options: str, only: list[str] | None = None) -> list[Row]:
        machine, methods = self.machine, only or self.only
        machine.run(["sh", "-c", FRESH, WORK])
        driver = ["python3", "-m", "benchmarks.delta_driver", "--work", WORK, "--figures", FIGURES]
        chosen = [part for name in methods if name not in LIBRARIES for part in ("--only", name)]
        env = {"TMPDIR": WORK, "PATH": f"{PEERS}:{ENVIRONMENT['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*driver, "--rounds", str(self.rounds), *chosen, *options, old, new]
        rows: list[Row] = []
        if chosen or not methods:
            lines = machine.run(command, env=env, cwd="/src", timeout=LONG).stdout.splitlines()
            rows = [json.loads(line) for line in lines]
        rows += [self._library(name, old, new) for name in LIBRARIES if not methods or name in methods]
        machine.run(["umount", "--recursive", WORK])
        machine.run(["nix-store", "--delete", "--ignore-liveness", old, new], check=False)
        return rows

    def _library(self, name: str, old: str, new: str) -> Row:
        """Measure a Python library outside of the machine, whose Python is not the one that it is installed for."""
        package = LIBRARIES[name]
        version = next(each for each in pinned("benchmarks") if each.startswith(f"{package}=="))
        query = ["nix-store", "--query", "--requisites"]
        had, wanted = (self.machine.run([*query, path]).stdout.split() for path in (old, new))
        outside = [[f"{self.machine.root}{path}" for path in paths] for paths in (had, sorted({*wanted} - {*had}))]

        def measure() -> Row:
            env = {**os.environ, "PYTHONPATH": f"{packages('benchmarks')}:{CHECKOUT}"}
            command = [sys.executable, "-m", "benchmarks.library_peers", package, "--had", *outside[0], "--paths"]
            with tempfile.TemporaryFile() as out:
                cost = run([*command, *outside[1]], stdout=out.fileno(), env=env)
                out.seek(0)
                size = int(out.read())
            return {"method": name, "version": version, "size": size, "send": asdict(cost), "receive": None}

        source = Path(__file__).with_name("library_peers.py").read_text(encoding="utf-8")
        return remembered(figures(), [Path(old).name, Path(new).name, name, version, source], measure)


def figures() -> Path:
    folder = cache_dir() / "delta-figures"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    binds = {images_dir(): INSIDE, **peers().binds}
    with Machine(binds=binds, writable={figures(): FIGURES}) as booted:
        yield booted


@pytest.fixture
def comparison(machine: Machine, pytestconfig: pytest.Config) -> Comparison:
    option = pytestconfig.option
    every = [*METHODS, *LIBRARIES]
    chosen = [name for name in every if any(name.startswith(start) for start in option.delta_only)]
    if option.delta_only and not chosen:
        raise pytest.UsageError(f"--delta-only: none of the methods starts so: {', '.join(every)}")
    return Comparison(machine, option.delta_rounds, chosen)


@pytest.mark.parametrize("name", ["nginx", "redis", "postgres", "python"])
def test_image(comparison: Comparison, images: dict[str, Pair], record_delta: Record, name: str) -> None:
    record_delta(name, comparison.images(images[name]))


@pytest.mark.parametrize("name", PAIRS)
def test_packages(comparison: Comparison, record_delta: Record, name: str) -> None:
    record_delta(name, comparison.images(package_pair(name)))


def test_node_application(comparison: Comparison, record_delta: Record) -> None:
    paths = [add_made(comparison.machine, NODE, f"application-{version}", version) for version in ("8000", "8001")]
    record_delta("node application", comparison.paths(*paths))


def test_closure_with_references(comparison: Comparison, record_delta: Record) -> None:
    build = ["nix-build", "--no-out-link", "--expr", CLOSURE]
    paths = comparison.machine.run(build, timeout=LONG).stdout.split()
    record_delta("closure", comparison.paths(*paths))


def test_system(comparison: Comparison, record_delta: Record) -> None:
    machine = comparison.machine
    listed = machine.run(["python3", "-c", SYSTEM_PACKAGES, str(PATHS)], timeout=LONG).stdout
    machine.run(["tee", "/root/packages.json"], input=listed)
    build = ["nix-build", "--no-out-link", "--max-jobs", "2", "--expr", SYSTEM]
    paths = machine.run(build, env={"PACKAGES": "/root/packages.json"}, timeout=LONG).stdout.split()
    record_delta("system", comparison.paths(*paths))


def test_two_gigabytes_of_small_files(comparison: Comparison, record_delta: Record) -> None:
    paths = [add_made(comparison.machine, SMALL_FILES, f"small-{version}", version) for version in ("0", "1")]
    efforts = ["nixoci", "nixoci --effort fast"]
    rows = comparison.paths(*paths, only=[*efforts, "nix copy, zstd"])
    record_delta("2 GB of small files", rows)
    for row in rows:
        if row["method"].startswith("nixoci"):
            assert max(row[end][peak] for end in ("send", "receive") for peak in ("peak", "own")) < MEMORY, row


def add_image(machine: Machine, image: Image) -> str:
    """Extract an image and put it into the store under the name and version that an image path has."""
    version = image.tag.replace("-", ".")
    folder = f"/dev/shm/{image.name}-{version}"  # noqa: S108 - the machine is this benchmark's own
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
