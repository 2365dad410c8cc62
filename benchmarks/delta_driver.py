"""Deltas against every other way to update store paths: bytes, seconds of both ends, peak memory.

Runs where Nix and the other programs are, on the test host by way of bench_delta.py, with a Python of its own and
nothing but the standard library. Prints a JSON object with the kinds of files that differ, and one per method.

    python3 -m benchmarks.delta_driver [--layers BYTES] [--rounds N] [--only METHOD]... [--figures FOLDER]
        --work FOLDER OLD NEW

OLD and NEW are valid store paths; their closures are compared. FOLDER keeps the figures of other programs, for the
next run with the same paths and the same versions of the programs.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cost import FREE, Cost, NotMeasuredError, output, run
from benchmarks.figures import remembered
from benchmarks.file_pairs import differing, kind, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.figures import Row

AT_ONCE = 500
"""The number of files that one process compresses."""

NIX = ("nix", "--extra-experimental-features", "nix-command", "--offline")


@dataclass(frozen=True)
class Result:
    size: int
    send: Cost | None
    receive: Cost | None


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

    @functools.cached_property
    def template(self) -> Path:
        """A store that has the old closure only, kept for the next run in the same folder."""
        made, complete = self.file("template"), self.file("template.complete")
        if not complete.exists():
            run([*NIX, "copy", "--no-check-sigs", "--to", str(made), self.old])
            complete.touch()
        return made

    def fresh_store(self) -> str:
        """Make a store that has the old closure only; its files are links to those of another such store."""
        store = self.file("store")
        if store.exists():
            shutil.rmtree(store)
        for folder, *link in (("nix/store", "--link"), ("nix/var",)):
            (store / folder).parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "--archive", *link, self.template / folder, store / folder])
        return str(store)

    def best(self, once: Callable[[], Cost], rounds: int | None = None) -> Cost:
        """Repeat the measurement; keep the shortest times and the largest peak."""
        costs = [once() for _ in range(rounds or self.rounds)]
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

    def zstd(self, level: int) -> Result:
        rounds = self.rounds if level < 10 else 1
        old, new = self.archives
        delta, again = self.file("delta.zst"), self.file("again.nar")
        flags = ["zstd", "-q", "-f", "--long=31"]

        def send() -> Cost:
            made = self.archive(self.paths, again)
            return made + run([*flags, f"-{level}", f"--patch-from={old}", again, "-o", delta])

        sent = self.best(send, rounds)
        receive = self.best(lambda: run([*flags, "-d", f"--patch-from={old}", delta, "-o", again]), rounds)
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

    def changed_files(self) -> Result:
        """The files that equal no old file, each compressed for itself, as a client of zstd:chunked fetches them."""
        changed = [file for _, file in differing(self.had, self.paths)]
        send, size = FREE, 0
        for first in range(0, len(changed), AT_ONCE):
            with self.file("changed").open("wb") as out:
                command: list[str | Path] = ["zstd", "-q", "-3", "--stdout", *changed[first : first + AT_ONCE]]
                send += run(command, stdout=out.fileno())
            size += self.file("changed").stat().st_size
        return Result(size, send, None)

    def bsdiff(self) -> Result:
        """Per file: the old file at the same path, else of the same name with digits masked, else zstd -19.

        The time to send includes the search for files that differ, and for their old files.
        """
        patch, again = self.file("patch"), self.file("again")
        size, receive = 0, FREE
        start, cpu = time.perf_counter(), time.process_time()
        pairs = differing(self.had, self.paths)
        send = Cost(time.perf_counter() - start, time.process_time() - cpu, 0, 0)
        for before, file in pairs:
            commands: tuple[list[str | Path], list[str | Path]]
            if before is None:
                commands = (["zstd", "-q", "-f", "-19", file, "-o", patch], ["zstd", "-qfd", patch, "-o", again])
            else:
                commands = (["bsdiff", before, file, patch], ["bspatch", before, again, patch])
            send += run(commands[0])
            receive += run(commands[1])
            size += patch.stat().st_size
        return Result(size, send, receive)

    def ostree(self) -> Result:
        """Two commits in a repository as servers have it, and the static delta between them as one file."""
        repository, device, delta = self.file("ostree"), self.file("ostree-device"), self.file("delta.ostree")
        for each, mode in ((repository, "archive"), (device, "bare-user")):
            shutil.rmtree(each, ignore_errors=True)
            run(["ostree", "init", f"--repo={each}", f"--mode={mode}"])
        commit = [*("ostree", "commit", f"--repo={repository}"), "--owner-uid=0", "--owner-gid=0", "--no-xattrs"]
        for branch, tree in zip(("old", "new"), self.trees(), strict=True):
            run([*commit, f"--branch={branch}", f"--subject={branch}", f"--tree=dir={tree}"])
        run(["ostree", "pull-local", f"--repo={device}", repository, "old"])
        # without fallbacks, which are whole files beside the delta
        generate = ["ostree", "static-delta", "generate", f"--repo={repository}", "--inline", "--min-fallback-size=0"]
        send = run([*generate, "--from=old", "--to=new", f"--filename={delta}"])
        receive = run(["ostree", "static-delta", "apply-offline", f"--repo={device}", delta])
        wanted = output(["ostree", "rev-parse", f"--repo={repository}", "new"]).strip()
        again = self.file("ostree-tree")
        shutil.rmtree(again, ignore_errors=True)
        run(["ostree", "checkout", f"--repo={device}", "--user-mode", wanted, again])
        run(["diff", "--recursive", "--no-dereference", again, self.trees()[1]])
        return Result(delta.stat().st_size, send, receive)

    def tar_diff(self) -> Result:
        """The delta between tar files of the trees, by the library that oci-delta calls for each layer."""
        files = self.file("old.tar"), self.file("new.tar")
        for file, tree in zip(files, self.trees(), strict=True):
            run(["tar", "--create", f"--file={file}", "--sort=name", f"--directory={tree}", "."])
        delta, again = self.file("delta.tardiff"), self.file("again.tar")
        send = run(["tar-diff", *files, delta])
        receive = run(["tar-patch", delta, self.trees()[0], again])
        check_equal(again, files[1])
        return Result(delta.stat().st_size, send, receive)

    def trees(self) -> tuple[Path, Path]:
        """Return the old and the new path, of closures of one directory each."""
        if len(self.had) == len(self.paths) == 1 and Path(self.old).is_dir():
            return Path(self.old), Path(self.new)
        raise NotMeasuredError("it compares two directories, not closures")

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Return the number and the bytes of the new files that equal no old file, by kind, largest first."""
        found: dict[str, list[int]] = defaultdict(list)
        for _, file in differing(self.had, self.paths):
            found[kind(file)].append(file.stat().st_size)
        sums = {name: (len(sizes), sum(sizes)) for name, sizes in found.items()}
        return dict(sorted(sums.items(), key=lambda item: -item[1][1]))


def check_equal(one: Path, other: Path) -> None:
    if not same(one, other):
        sys.exit(f"{one}: not what {other} is")


@dataclass(frozen=True)
class Method:
    """One way to update store paths.

    Attributes:
        measure: Measures it.
        arguments: The arguments of `measure` after the pair.
        version: A command that prints its version, which stands for the figures; without one it is always measured.
    """

    measure: Callable[..., Result]
    arguments: tuple[Any, ...] = ()
    version: tuple[str, ...] = ()


def package_version(name: str) -> tuple[str, ...]:
    return ("dpkg-query", "--show", "--showformat=${Package} ${Version}", name)


DIFFERS = "what differs"

METHODS = {
    "nixoci": Method(Bench.nixoci, ("default",)),
    "nixoci --effort fast": Method(Bench.nixoci, ("fast",)),
    "nix copy, zstd": Method(Bench.nix_copy, version=package_version("nix-bin")),
    "NAR, desync": Method(Bench.desync, version=package_version("desync")),
    "NAR, rdiff, zstd -19": Method(Bench.rdiff, version=package_version("rdiff")),
    "NAR, zstd -3 --patch-from": Method(Bench.zstd, (3,), package_version("zstd")),
    "NAR, zstd -19 --patch-from": Method(Bench.zstd, (19,), package_version("zstd")),
    "NAR, xdelta3 -9": Method(Bench.xdelta3, version=package_version("xdelta3")),
    "changed files, zstd": Method(Bench.changed_files, version=package_version("zstd")),
    "files, bsdiff": Method(Bench.bsdiff, version=package_version("bsdiff")),
    "tree, ostree static delta": Method(Bench.ostree, version=("ostree", "--version")),
    "tree, tar-diff": Method(Bench.tar_diff, version=("tar-diff", "-version")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, help="bytes of the changed layers that a registry pull fetches")
    parser.add_argument("--rounds", type=int, default=1, help="how often fast methods are repeated")
    parser.add_argument("--only", action="append", choices=METHODS)
    parser.add_argument("--figures", type=Path, help="folder of figures that are measured once")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("old")
    parser.add_argument("new")
    options = parser.parse_args()
    bench = Bench(options.old, options.new, options.work, options.rounds)
    pair = [Path(path).name for path in (options.old, options.new)]
    show(remembered(options.figures, [*pair, DIFFERS], lambda: {"method": DIFFERS, "kinds": bench.kinds()}))
    if options.layers:
        show({"method": "registry, changed layers", **asdict(Result(options.layers, None, None))})
    for name in options.only or METHODS:
        show(row(bench, name, pair, options.figures))


def row(bench: Bench, name: str, pair: list[str], figures: Path | None) -> Row:
    """Return the figures of a method, measured now or before, or the reason why there are none."""
    method = METHODS[name]
    try:
        if not method.version:
            return {"method": name, **asdict(method.measure(bench, *method.arguments))}
        version = printed_version(method.version)
        shown = " ".join(version[:2])
        source = inspect.getsource(method.measure)  # the options of the programs are in it

        def measure() -> Row:
            return {"method": name, "version": shown, **asdict(method.measure(bench, *method.arguments))}

        return remembered(figures, [*pair, name, *version, source], measure)
    except NotMeasuredError as reason:
        return {"method": name, "missing": str(reason)}


def printed_version(command: Sequence[str]) -> list[str]:
    """Return the lines by which a program states its version."""
    if shutil.which(command[0]) is None:
        raise NotMeasuredError(f"{command[0]} is not installed")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotMeasuredError(f"{command[-1]} is not installed")
    return done.stdout.strip().splitlines()


def show(row: Row) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
