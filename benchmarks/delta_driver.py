"""Deltas against every other way to update store paths: bytes, seconds of both ends, peak memory.

Runs where Nix and the other programs are, on the test host by way of bench_delta.py, with a Python of its own and
nothing but the standard library. Prints a JSON object with the kinds of files that differ, and one per method.

    python3 delta_driver.py [--layers BYTES] [--rounds N] [--only METHOD]... --work FOLDER OLD NEW

OLD and NEW are valid store paths; their closures are compared.
"""

from __future__ import annotations

import argparse
import filecmp
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NIX = ("nix", "--extra-experimental-features", "nix-command", "--offline")
MAGIC = {
    b"\x7fELF": "ELF",
    b"!<arch>\n": "ar",
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BC\xc0\xde": "LLVM bitcode",
}
DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock and of processors, and two peaks of memory in bytes.

    `peak` is the resident set of the largest process, including the files that it maps. `own` is the private memory of
    all processes together, which the kernel cannot drop; it is sampled.
    """

    seconds: float
    cpu: float
    peak: int
    own: int

    def __add__(self, other: Cost) -> Cost:
        peaks = max(self.peak, other.peak), max(self.own, other.own)
        return Cost(self.seconds + other.seconds, self.cpu + other.cpu, *peaks)


FREE = Cost(0.0, 0.0, 0, 0)


@dataclass(frozen=True)
class Result:
    size: int
    send: Cost | None
    receive: Cost | None


class MissingProgramError(Exception):
    """A program that a method needs is not on this machine."""


class Bench:
    """One pair of closures; `paths` are the new ones, which a receiver with the old ones lacks."""

    def __init__(self, old: str, new: str, work: Path, rounds: int) -> None:
        self.old, self.new, self.work, self.rounds = old, new, work, rounds
        self.had = output(["nix-store", "--query", "--requisites", old]).split()
        wanted = output(["nix-store", "--query", "--requisites", new]).split()
        self.paths = [path for path in wanted if path not in self.had]

    def file(self, name: str) -> Path:
        return self.work / name

    @functools.cached_property
    def archives(self) -> tuple[Path, Path]:
        """The NARs of old and new; of several paths one export."""
        self.archive(self.had, self.file("old.nar"))
        self.archive(self.paths, self.file("new.nar"))
        return self.file("old.nar"), self.file("new.nar")

    def archive(self, paths: list[str], to: Path) -> Cost:
        with to.open("wb") as out:
            return run(["nix-store", "--dump" if len(paths) == 1 else "--export", *paths], stdout=out.fileno())

    def fresh_store(self) -> str:
        """Make a store that has the old closure only."""
        store = self.file("store")
        if store.exists():
            run(["chmod", "-R", "u+w", store])
            shutil.rmtree(store)
        run([*NIX, "copy", "--no-check-sigs", "--to", str(store), self.old])
        return str(store)

    def best(self, once: Callable[[], Cost]) -> Cost:
        """Repeat the measurement; keep the shortest times and the largest peak."""
        costs = [once() for _ in range(self.rounds)]
        times = min(cost.seconds for cost in costs), min(cost.cpu for cost in costs)
        return Cost(*times, max(cost.peak for cost in costs), max(cost.own for cost in costs))

    def nixoci(self, effort: str) -> Result:
        delta = self.file("delta")
        command: list[str | Path] = [
            "nixoci",
            "send",
            "--effort",
            effort,
            "--from",
            self.old,
            "--to",
            self.new,
            "-o",
            delta,
        ]
        send = self.best(lambda: run(command))

        def receive() -> Cost:
            return run(["nixoci", "receive", delta, "--store", self.fresh_store()])

        return Result(delta.stat().st_size, send, self.best(receive))

    def nix_copy(self) -> Result:
        cache = self.file("cache")
        command = [*NIX, "copy", "--no-recursive", "--no-check-sigs"]

        def send() -> Cost:
            if cache.exists():
                shutil.rmtree(cache)
            return run([*command, "--to", f"file://{cache}?compression=zstd&compression-level=3", *self.paths])

        def receive() -> Cost:
            return run([*command, "--from", f"file://{cache}", "--to", self.fresh_store(), *self.paths])

        sent = self.best(send)
        size = sum(nar.stat().st_size for nar in (cache / "nar").iterdir())
        return Result(size, sent, self.best(receive))

    def zstd(self) -> Result:
        old, new = self.archives
        delta, again = self.file("delta.zst"), self.file("again.nar")
        flags = ["zstd", "-q", "-f", "--long=31"]

        def send() -> Cost:
            made = self.archive(self.paths, again)
            return made + run([*flags, "-3", f"--patch-from={old}", again, "-o", delta])

        sent = self.best(send)
        receive = self.best(lambda: run([*flags, "-d", f"--patch-from={old}", delta, "-o", again]))
        check_equal(again, new)
        return Result(delta.stat().st_size, sent, receive)

    def xdelta3(self) -> Result:
        old, new = self.archives
        delta, again = self.file("delta.xd3"), self.file("again.nar")
        command: list[str | Path] = ["xdelta3", "-f", "-B", "2000000000", "-s", old]
        send = run([*command, "-e", "-9", new, delta])
        receive = run([*command, "-d", delta, again])
        check_equal(again, new)
        return Result(delta.stat().st_size, send, receive)

    def rdiff(self) -> Result:
        old, new = self.archives
        delta, again, signature = self.file("delta.rdiff"), self.file("again.nar"), self.file("signature")
        run(["rdiff", "-f", "-b", "512", "signature", old, signature])
        send = run(["rdiff", "-f", "delta", signature, new, delta]) + run(["zstd", "-q", "-f", "-19", delta])
        size = Path(f"{delta}.zst").stat().st_size
        receive = run(["zstd", "-q", "-f", "-d", f"{delta}.zst"]) + run(["rdiff", "-f", "patch", old, delta, again])
        check_equal(again, new)
        return Result(size, send, receive)

    def desync(self) -> Result:
        """Content-defined chunks, of which the receiver fetches those that it lacks."""
        send = FREE
        for name, archive in zip(("old", "new"), self.archives, strict=True):
            self.file(f"{name}.castr").mkdir(exist_ok=True)
            send = run(["desync", "make", "-s", self.file(f"{name}.castr"), self.file(f"{name}.caibx"), archive])
        had = {chunk.name for chunk in self.file("old.castr").rglob("*.cacnk")}
        lacked = [chunk for chunk in self.file("new.castr").rglob("*.cacnk") if chunk.name not in had]
        index = self.file("new.caibx")
        shutil.copy(self.archives[0], self.file("old"))  # the seed lies beside its index, under its name
        seeds: list[str | Path] = ["--seed", self.file("old.caibx")]
        again = self.file("again.nar")
        receive = run(["desync", "extract", "-s", self.file("new.castr"), *seeds, index, again])
        check_equal(again, self.archives[1])
        return Result(sum(chunk.stat().st_size for chunk in lacked) + index.stat().st_size, send, receive)

    def bsdiff(self) -> Result:
        """Per file: the old file at the same path, else of the same name with digits masked, else zstd -19.

        The time to send includes the search for files that differ, and for their old files.
        """
        patch, again = self.file("patch"), self.file("again")
        size, receive = 0, FREE
        start, cpu = time.perf_counter(), time.process_time()
        differing = self.differing()
        send = Cost(time.perf_counter() - start, time.process_time() - cpu, 0, 0)
        for before, file in differing:
            commands: tuple[list[str | Path], list[str | Path]]
            if before is None:
                commands = (["zstd", "-q", "-f", "-19", file, "-o", patch], ["zstd", "-qfd", patch, "-o", again])
            else:
                commands = (["bsdiff", before, file, patch], ["bspatch", before, again, patch])
            send += run(commands[0])
            receive += run(commands[1])
            size += patch.stat().st_size
        return Result(size, send, receive)

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Return the number and the bytes of the new files that equal no old file, by kind, largest first."""
        found: dict[str, list[int]] = defaultdict(list)
        for _, file in self.differing():
            found[kind(file)].append(file.stat().st_size)
        sums = {name: (len(sizes), sum(sizes)) for name, sizes in found.items()}
        return dict(sorted(sums.items(), key=lambda item: -item[1][1]))

    def differing(self) -> list[tuple[Path | None, Path]]:
        """Return the new files that equal no old file, each with its old version."""
        pairs = Pairs(self.had)
        files = [(root, file) for root in self.paths for file in regular_files(Path(root))]
        return [(pairs.partner(root, file), file) for root, file in files if not pairs.has(root, file)]


class Pairs:
    """The files of old paths, found by package and path, by content or by name with digits masked."""

    def __init__(self, old: list[str]) -> None:
        self._at: dict[tuple[str, str], Path] = {}
        self._masked: dict[str, list[Path]] = defaultdict(list)
        self._sizes: dict[int, list[Path]] = defaultdict(list)
        for root in old:
            for file in regular_files(Path(root)):
                self._at[package(root), str(file.relative_to(root))] = file
                self._masked[DIGITS.sub("0", self._name(root, file))].append(file)
                self._sizes[file.stat().st_size].append(file)

    def has(self, root: str, file: Path) -> bool:
        """Tell whether an old file is the same, at the same path first."""
        exact = self._exact(root, file)
        if exact is not None and same(exact, file):
            return True
        size = file.stat().st_size
        return size == 0 or any(same(other, file) for other in self._sizes[size] if other != exact)

    def partner(self, root: str, file: Path) -> Path | None:
        size = file.stat().st_size
        named = self._masked.get(DIGITS.sub("0", self._name(root, file)), [])
        nearest = min(named, key=lambda other: abs(other.stat().st_size - size), default=None)
        return self._exact(root, file) or nearest

    def _exact(self, root: str, file: Path) -> Path | None:
        return self._at.get((package(root), str(file.relative_to(root))))

    def _name(self, root: str, file: Path) -> str:
        return file.name if file != Path(root) else package(root)


def package(path: str) -> str:
    """Return a store path's name without hash and version."""
    return re.split(r"-[0-9]", Path(path).name[33:], maxsplit=1)[0]


def regular_files(root: Path) -> list[Path]:
    found = [root] if root.is_file() and not root.is_symlink() else []
    for folder, _, names in os.walk(root):
        found += [file for name in names if not (file := Path(folder, name)).is_symlink()]
    return sorted(found)


def kind(file: Path) -> str:
    """Name the kind of a file by its first bytes."""
    with file.open("rb") as opened:
        head = opened.read(4096)
    named = next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)
    return named or ("data" if b"\0" in head else "text")


def same(one: Path, other: Path) -> bool:
    return filecmp.cmp(one, other, shallow=False)  # by blocks: a child's peak starts from what its parent holds


def check_equal(one: Path, other: Path) -> None:
    if not same(one, other):
        sys.exit(f"{one}: not what {other} is")


def run(argv: Sequence[str | Path], stdout: int | None = None) -> Cost:
    """Run a program to its end."""
    if shutil.which(argv[0]) is None:
        raise MissingProgramError(str(argv[0]))
    start = time.perf_counter()
    to = subprocess.DEVNULL if stdout is None else stdout
    process = subprocess.Popen(argv, stdout=to, stderr=subprocess.PIPE)
    with sampled(process.pid) as samples:
        errors = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{argv[0]}: exit code {process.returncode}: {errors.decode(errors='replace')}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, max(samples))


@contextmanager
def sampled(pid: int) -> Iterator[list[int]]:
    """Sample the private memory of a process and its children in bytes while the block runs."""
    samples, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.wait(0.03):
            samples.append(anonymous(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def anonymous(pid: int) -> int:
    total = 0
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        total += sum(int(size) * 1024 for size in re.findall(r"RssAnon:\s+(\d+)", status))
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous(int(child)) for child in (task / "children").read_text(encoding="ascii").split())
    return total


def output(argv: Sequence[str | Path]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


DIFFERS = "what differs"

METHODS: dict[str, Callable[[Bench], Result]] = {
    "nixoci": lambda bench: bench.nixoci("default"),
    "nixoci --effort fast": lambda bench: bench.nixoci("fast"),
    "nixoci --effort best": lambda bench: bench.nixoci("best"),
    "nix copy, zstd": Bench.nix_copy,
    "NAR, desync": Bench.desync,
    "NAR, rdiff, zstd -19": Bench.rdiff,
    "NAR, zstd -3 --patch-from": Bench.zstd,
    "NAR, xdelta3 -9": Bench.xdelta3,
    "files, bsdiff": Bench.bsdiff,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, help="bytes of the changed layers that a registry pull fetches")
    parser.add_argument("--rounds", type=int, default=1, help="how often fast methods are repeated")
    parser.add_argument("--only", action="append", choices=METHODS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("old")
    parser.add_argument("new")
    options = parser.parse_args()
    bench = Bench(options.old, options.new, options.work, options.rounds)
    sys.stdout.write(json.dumps({"method": DIFFERS, "kinds": bench.kinds()}) + "\n")
    if options.layers:
        show("registry, changed layers", Result(options.layers, None, None))
    for name in options.only or METHODS:
        try:
            show(name, METHODS[name](bench))
        except MissingProgramError as missing:
            sys.stdout.write(json.dumps({"method": name, "missing": str(missing)}) + "\n")


def show(name: str, result: Result) -> None:
    sys.stdout.write(json.dumps({"method": name, **asdict(result)}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
