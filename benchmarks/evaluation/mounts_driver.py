"""File operations and real work in an image that is mounted in several ways, in turn.

Runs on the test host with nothing but the standard library, and prints a JSON object for each sample.

    python3 -m benchmarks.evaluation.mounts_driver operations|JOB --rounds N --folder FOLDER --device DEVICE

FOLDER is a mounted file system of DEVICE and holds an image as `prepare.sh` in runtime.py leaves it.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TARGET = Path("/run/evaluation/root")
META = Path("/run/evaluation/meta")
BELOW = Path("/run/evaluation/below")
EMPTY = Path("/run/evaluation/empty")

LAYERS = "overlay, the image's layers"
EROFS = "EROFS over the store"
"""What podman mounts: one overlay of the metadata, the store and the writable layer."""

TWO_OVERLAYS = "EROFS over the store, two overlays"
"""What units of systemd and bundles mount for a container that writes: an overlay of the mounted image."""

MANY = 20
"""The number of layers into which the files of an image are dealt for the mount of many layers."""

EXECUTIONS = 50


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)


def unmount(*arguments: str | Path) -> None:
    subprocess.run(["umount", *arguments], check=True)


def unmount_if_mounted(place: Path) -> None:
    if place.is_mount():
        unmount(place)


def lowerdirs(folders: Sequence[str | Path]) -> list[str]:
    """Return mount options of lower layers, the highest first, one for each: the kernel takes 256 bytes an option."""
    return [f"lowerdir+={folder}" for folder in folders]


@dataclass(frozen=True)
class Image:
    """The folder of an image: its image path, its image store, its layers and a copy with all owners."""

    folder: Path

    @property
    def layers(self) -> list[Path]:
        """The layers in podman's own storage, the highest first."""
        overlay = self.folder / "storage/overlay"
        (record,) = json.loads((self.folder / "storage/overlay-images/images.json").read_bytes())
        top = record["layer"]
        found = [overlay / top / "diff"]
        lower = overlay / top / "lower"
        if lower.exists():
            found += [(overlay / link).resolve() for link in lower.read_text(encoding="ascii").split(":")]
        return found

    @property
    def many(self) -> list[Path]:
        return [self.folder / "many" / str(number) for number in reversed(range(MANY))]

    @property
    def metadata(self) -> Path:
        (found,) = (self.folder / "store").rglob("composefs.blob")
        return found

    def upper(self) -> str:
        """Return mount options of a new writable layer."""
        for name in ("upper", "work"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        return f"upperdir={self.folder}/upper,workdir={self.folder}/work"


def bind(image: Image) -> None:
    mount("--bind", "-o", "ro", image.folder / "tree", TARGET)


def overlay(lower: Callable[[Image], list[Path]], *, writable: bool) -> Callable[[Image], None]:
    def apply(image: Image) -> None:
        # an overlay without an upper layer must have two lower ones
        layers = lower(image) if writable or len(lower(image)) > 1 else [*lower(image), EMPTY]
        options = [*lowerdirs(layers), *([image.upper()] if writable else ["ro"])]
        mount("-t", "overlay", "overlay", "-o", ",".join(options), TARGET)

    return apply


def erofs(*, writable: bool) -> Callable[[Image], None]:
    def apply(image: Image) -> None:
        mount("-t", "erofs", "-o", "ro", image.metadata, META)
        options = [f"lowerdir={META}::{image.folder}/path/rootfs", "metacopy=on", "redirect_dir=on"]
        options.append(image.upper() if writable else "ro")
        mount("-t", "overlay", "overlay", "-o", ",".join(options), TARGET)

    return apply


def erofs_below(image: Image) -> None:
    """Mount the image for itself, and a container's writable layer over that, as units without podman do."""
    mount("-t", "erofs", "-o", "ro", image.metadata, META)
    options = f"ro,lowerdir={META}::{image.folder}/path/rootfs,metacopy=on,redirect_dir=on"
    mount("-t", "overlay", "overlay", "-o", options, BELOW)
    mount("-t", "overlay", "overlay", "-o", f"lowerdir={BELOW},{image.upper()}", TARGET)


def tree(image: Image) -> list[Path]:
    return [image.folder / "tree"]


READ_ONLY: dict[str, Callable[[Image], None]] = {
    LAYERS: overlay(lambda image: image.layers, writable=False),
    f"overlay, {MANY} layers": overlay(lambda image: image.many, writable=False),
    "overlay, 1 layer": overlay(tree, writable=False),
    EROFS: erofs(writable=False),
    "bind of the tree": bind,
}
WRITABLE: dict[str, Callable[[Image], None]] = {
    LAYERS: overlay(lambda image: image.layers, writable=True),
    f"overlay, {MANY} layers": overlay(lambda image: image.many, writable=True),
    "overlay, 1 layer": overlay(tree, writable=True),
    EROFS: erofs(writable=True),
    TWO_OVERLAYS: erofs_below,
}


class Bench:
    """One image, mounted in each way in a new random order each round."""

    def __init__(self, folder: Path, device: Path) -> None:
        self.image = Image(folder / "image")
        self.folder, self.device = folder, device
        tree = self.image.folder / "tree"
        found = {str(path.relative_to(tree)): path.lstat().st_mode for path in tree.rglob("*")}
        self.files = [name for name, mode in found.items() if stat.S_ISREG(mode)]
        self.folders = [name for name, mode in found.items() if stat.S_ISDIR(mode)]
        self.names = [*self.files, *self.folders]
        sizes = {name: (tree / name).stat().st_size for name in self.files}
        self.largest = max(sizes, key=lambda name: sizes[name])

    def forget(self) -> None:
        """Mount the file system again, so that nothing of it is cached."""
        unmount(self.folder)
        mount(self.device, self.folder, "-o", "noatime")

    @contextmanager
    def mounted(self, way: Callable[[Image], None]) -> Iterator[None]:
        with ExitStack() as cleanup:
            for place in (META, BELOW, TARGET):
                place.mkdir(parents=True, exist_ok=True)
                cleanup.callback(unmount_if_mounted, place)
            way(self.image)
            yield

    def operations(self, rounds: int, ways: dict[str, Callable[[Image], None]], label: str) -> None:
        for _ in range(rounds):
            for name in random.sample(list(ways), len(ways)):
                self.forget()
                with self.mounted(ways[name]):
                    for state in ("cold", "warm"):
                        for operation, seconds in self.all_operations(state):
                            show(f"{operation}, {state}, {label}", name, seconds)

    def all_operations(self, state: str) -> Iterator[tuple[str, float]]:
        """Yield the seconds of each operation on one file, directory, page or process."""
        timed = SECONDS[state]
        names = [f"{TARGET}/{name}" for name in self.names]
        files = [f"{TARGET}/{name}" for name in self.files]
        folders = [f"{TARGET}/{name}" for name in self.folders]
        yield "stat", timed(lambda: [os.lstat(name) for name in names]) / len(names)
        yield "readdir", timed(lambda: [list(os.scandir(name)) for name in folders]) / len(folders)
        if state == "cold":
            yield "open and read", timed(lambda: [read(name) for name in files]) / len(files)
        else:
            yield "open", timed(lambda: open_all(files)) / len(files)
            yield "exec", timed(execute) / EXECUTIONS
        with open(f"{TARGET}/{self.largest}", "rb") as file:  # noqa: PTH123  # as all others here
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pages = range(0, len(mapped), mmap.PAGESIZE)
        with mapped:
            yield "mmap fault", timed(lambda: [mapped[offset] for offset in pages]) / len(pages)

    def work(self, rounds: int, job: str) -> None:
        """Do a job in each way, cold at first, then warm; the latter also in processor seconds."""
        ways = WRITABLE | {"bind of the tree": bind} if job in WITHOUT_WRITING else WRITABLE
        for _ in range(rounds):
            for name in random.sample(list(ways), len(ways)):
                self.forget()
                with self.mounted(ways[name]), system():
                    for state in ("cold", "warm"):
                        before = processor_seconds()
                        show(f"{TITLES[job]}, {state}", name, JOBS[job]())
                        if state == "warm" and job in COUNTED:
                            show(f"{TITLES[job]}, processor", name, processor_seconds() - before)


@contextmanager
def system() -> Iterator[None]:
    """Mount what programs expect of a system in the image."""
    with ExitStack() as cleanup:
        for kind, folder in (("proc", "proc"), ("devtmpfs", "dev"), ("tmpfs", "tmp"), ("tmpfs", "run")):
            if kind == "devtmpfs":
                mount("--rbind", "/dev", TARGET / folder)
            else:
                mount("-t", kind, kind, TARGET / folder)
            cleanup.callback(unmount, "--recursive", "--lazy", TARGET / folder)
        yield


def inside(*argv: str) -> list[str]:
    environment = ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LANG=C.UTF-8"]
    return ["env", "-i", *environment, "chroot", str(TARGET), *argv]


def run(*argv: str) -> str:
    done = subprocess.run(inside(*argv), check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{argv}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


IMPORTS = """
import importlib, pkgutil, sys
skipped = {"antigravity", "this", "idlelib", "turtle", "turtledemo", "lib2to3", "tkinter", "test"}
for module in pkgutil.iter_modules():
    if module.name not in skipped and not module.name.startswith("_"):
        try:
            importlib.import_module(module.name)
        except ImportError:
            pass
assert len(sys.modules) > 300, len(sys.modules)
"""

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>
#include <sys/socket.h>
#include <netinet/in.h>
int main(void) { printf("%f", sqrt(getpid())); return 0; }
"""


def python_imports() -> float:
    return timed(lambda: run("python3", "-B", "-c", IMPORTS))


def node_start() -> float:
    return timed(lambda: run("node", "-e", "require('http'); require('crypto'); require('zlib')"))


def compile_programs() -> float:
    (TARGET / "tmp/a.c").write_text(PROGRAM, encoding="ascii")
    loop = "for i in 1 2 3 4 5 6 7 8; do gcc -O2 -o /tmp/a$i /tmp/a.c -lm; done"
    return timed(lambda: run("sh", "-ec", loop))


PAGE = "http://127.0.0.1:80/"
REQUESTS = 20_000


def nginx_requests() -> float:
    """Return the seconds of a request, by 16 clients at once."""
    process = subprocess.Popen(inside("nginx", "-g", "daemon off;"), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        probe = ["curl", "--silent", "--fail", "--output", "/dev/null", PAGE]
        while subprocess.run(probe, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"nginx does not answer; it ended with {process.returncode}")
            time.sleep(0.02)
        client = ["ab", "-q", "-n", str(REQUESTS), "-c", "16", PAGE]
        return timed(lambda: subprocess.run(client, check=True, stdout=subprocess.DEVNULL)) / REQUESTS
    finally:
        process.terminate()
        process.wait()


PGBENCH = """
export PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/tmp/data PGHOST=/tmp
if [ ! -e /tmp/data ]; then
  install -d -o postgres /tmp/data
  setpriv --reuid=postgres --regid=postgres --clear-groups initdb --auth=trust > /dev/null
fi
as="setpriv --reuid=postgres --regid=postgres --clear-groups"
$as pg_ctl start --wait --silent --log=/tmp/log -o "-k /tmp -h '' -c fsync=off" > /dev/null
[ -e /tmp/filled ] || $as pgbench --initialize --scale=2 --quiet postgres > /dev/null 2>&1
touch /tmp/filled
$as pgbench --client=4 --jobs=2 --time=2 postgres 2> /dev/null | grep '^tps'
$as pg_ctl stop --wait --silent > /dev/null
"""


def pgbench() -> float:
    """Return the seconds of a transaction."""
    return 1 / float(run("sh", "-ec", PGBENCH).split()[2])


JOBS = {
    "python": python_imports,
    "node": node_start,
    "gcc": compile_programs,
    "nginx": nginx_requests,
    "postgres": pgbench,
}
"""The jobs by the image that they are done in."""

TITLES = {
    "python": "Python imports its library",
    "node": "Node.js starts",
    "gcc": "gcc compiles 8 programs",
    "nginx": "nginx answers",
    "postgres": "pgbench, a transaction",
}
WITHOUT_WRITING = ("python", "node", "gcc", "postgres")
"""Jobs that write to /tmp and /run alone."""

COUNTED = ("python", "node", "gcc")
"""Jobs whose processes are all children of this one."""


def timed(once: Callable[[], object]) -> float:
    start = time.perf_counter()
    once()
    return time.perf_counter() - start


def counted(once: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    start = processor_seconds()
    once()
    return processor_seconds() - start


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


SECONDS = {"cold": timed, "warm": counted}
"""Cold operations wait for the disk; of warm ones the processor time does not depend on other work of the machine."""


def execute() -> None:
    loop = f"i=0; while [ $i -lt {EXECUTIONS} ]; do /bin/true; i=$((i+1)); done"
    subprocess.run(["chroot", TARGET, "/bin/sh", "-c", loop], check=True)


def open_all(names: Sequence[str]) -> None:
    for name in names:
        os.close(os.open(name, os.O_RDONLY))


def read(name: str) -> int:
    size = 0
    with open(name, "rb", buffering=0) as file:  # noqa: PTH123  # pathlib takes longer than the kernel
        while block := file.read(1 << 17):
            size += len(block)
    return size


def show(subject: str, variant: str, seconds: float) -> None:
    sys.stdout.write(json.dumps({"subject": subject, "variant": variant, "seconds": seconds}) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["operations", *JOBS])
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--device", type=Path, required=True)
    options = parser.parse_args()
    EMPTY.mkdir(parents=True, exist_ok=True)
    # the loop device lasts as long as somebody has it open
    with options.device.open("rb"):
        bench = Bench(options.folder, options.device)
        if options.what in JOBS:
            bench.work(options.rounds, options.what)
        else:
            bench.operations(options.rounds, READ_ONLY, "read-only")
            bench.operations(options.rounds, WRITABLE, "writable")
    with suppress(OSError):
        TARGET.rmdir()


if __name__ == "__main__":
    main()
