"""Deltas against every other way to update a store path: bytes, seconds of both ends, peak memory.

    python benchmarks/bench_delta.py [--layers BYTES] [--only METHOD]... OLD NEW

OLD and NEW are valid store paths. Needs Nix, zstd, xdelta3, rdiff, bsdiff, desync; runs as a user whom Nix trusts.
Prints one JSON object per method; `ratio` is its bytes divided by those of nixoci at default effort.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NIX = ("nix", "--extra-experimental-features", "nix-command", "--offline")


@dataclass
class Cost:
    seconds: float
    peak_bytes: int


@dataclass
class Result:
    method: str
    size: int
    send: Cost
    receive: Cost | None


class Bench:
    def __init__(self, old: str, new: str, work: Path) -> None:
        self.old, self.new, self.work = old, new, work
        self.old_nar, self.new_nar = work / "old.nar", work / "new.nar"
        for path, nar in ((old, self.old_nar), (new, self.new_nar)):
            with nar.open("wb") as out:
                subprocess.run(["nix-store", "--dump", path], stdout=out, check=True)

    def file(self, name: str) -> Path:
        return self.work / name

    def fresh_store(self) -> str:
        store = self.file("store")
        if store.exists():
            subprocess.run(["chmod", "-R", "u+w", store], check=True)
            shutil.rmtree(store)
        run([*NIX, "copy", "--no-check-sigs", "--to", str(store), self.old])
        return str(store)

    def nixoci(self, effort: str) -> Result:
        delta = str(self.file("delta"))
        send = run(["nixoci", "send", "--effort", effort, "--from", self.old, "--to", self.new, "-o", delta])
        receive = run(["nixoci", "receive", delta, "--store", self.fresh_store()])
        return Result(f"nixoci {effort}", Path(delta).stat().st_size, send, receive)

    def nix_copy(self) -> Result:
        cache = self.file("cache")
        url = f"file://{cache}"
        to = f"{url}?compression=zstd&compression-level=3"
        send = run([*NIX, "copy", "--no-recursive", "--to", to, self.new])
        store = self.fresh_store()
        receive = run([*NIX, "copy", "--no-recursive", "--no-check-sigs", "--from", url, "--to", store, self.new])
        return Result("nix copy, zstd", sum(nar.stat().st_size for nar in (cache / "nar").iterdir()), send, receive)

    def zstd(self) -> Result:
        old, new, delta = self.nars("delta.zst")
        flags = ["zstd", "-q", "-f", "--long=31"]
        with (self.work / "again.nar").open("wb") as nar:
            dump = run(["nix-store", "--dump", self.new], stdout=nar.fileno())
        send = run([*flags, "-3", f"--patch-from={old}", new, "-o", delta])
        send = Cost(dump.seconds + send.seconds, send.peak_bytes)
        receive = run([*flags, "-d", f"--patch-from={old}", delta, "-o", self.file("out.nar")])
        return Result("NAR, zstd -3 --patch-from", Path(delta).stat().st_size, send, receive)

    def xdelta3(self) -> Result:
        old, new, delta = self.nars("delta.xd3")
        send = run(["xdelta3", "-e", "-9", "-f", "-B", "1000000000", "-s", old, new, delta])
        receive = run(["xdelta3", "-d", "-f", "-B", "1000000000", "-s", old, delta, self.file("out.nar")])
        return Result("NAR, xdelta3 -9", Path(delta).stat().st_size, send, receive)

    def rdiff(self) -> Result:
        old, new, delta = self.nars("delta.rdiff")
        signature = self.file("signature")
        run(["rdiff", "-f", "-b", "512", "signature", old, signature])
        send = run(["rdiff", "-f", "delta", signature, new, delta])
        packed = run(["zstd", "-q", "-f", "-19", delta])
        receive = run(["rdiff", "-f", "patch", old, delta, self.file("out.nar")])
        size = Path(f"{delta}.zst").stat().st_size
        return Result("NAR, rdiff and zstd", size, Cost(send.seconds + packed.seconds, send.peak_bytes), receive)

    def desync(self) -> Result:
        old, new, _ = self.nars("")
        for name, nar in (("old", old), ("new", new)):
            self.file(f"{name}.castr").mkdir(exist_ok=True)
            cost = run(["desync", "make", "-s", self.file(f"{name}.castr"), self.file(f"{name}.caibx"), nar])
        had = {chunk.name for chunk in self.file("old.castr").rglob("*.cacnk")}
        size = sum(c.stat().st_size for c in self.file("new.castr").rglob("*.cacnk") if c.name not in had)
        return Result("NAR, desync", size, cost, None)

    def bsdiff(self) -> Result:
        """Per file: the same path, else a new file packed by zstd -19."""
        old, new = Path(self.old), Path(self.new)
        total, seconds, peak = 0, 0.0, 0
        patch = self.file("patch")
        for file in sorted(new.rglob("*")):
            if file.is_symlink() or not file.is_file():
                continue
            before = old / file.relative_to(new)
            regular = before.is_file() and not before.is_symlink()
            if regular and before.read_bytes() == file.read_bytes():
                continue
            command: list[str | Path] = (
                ["bsdiff", before, file, patch] if regular else ["zstd", "-q", "-f", "-19", file, "-o", patch]
            )
            cost = run(command)
            total += patch.stat().st_size
            seconds, peak = seconds + cost.seconds, max(peak, cost.peak_bytes)
        return Result("files, bsdiff", total, Cost(seconds, peak), None)

    def nars(self, delta: str) -> tuple[str, str, str]:
        return str(self.old_nar), str(self.new_nar), str(self.file(delta))


def run(argv: Sequence[str | Path], stdout: int | None = None) -> Cost:
    """Run a program; its peak memory is the largest of its processes."""
    start = time.perf_counter()
    output = subprocess.DEVNULL if stdout is None else stdout
    process = subprocess.Popen(argv, stdout=output, stderr=subprocess.PIPE)
    errors = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{argv[0]}: exit code {process.returncode}: {errors.decode(errors='replace')}")
    return Cost(time.perf_counter() - start, usage.ru_maxrss * 1024)


METHODS: dict[str, Callable[[Bench], Result]] = {
    "default": lambda bench: bench.nixoci("default"),
    "fast": lambda bench: bench.nixoci("fast"),
    "best": lambda bench: bench.nixoci("best"),
    "nix-copy": Bench.nix_copy,
    "zstd": Bench.zstd,
    "xdelta3": Bench.xdelta3,
    "rdiff": Bench.rdiff,
    "desync": Bench.desync,
    "bsdiff": Bench.bsdiff,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, help="bytes of the changed layers that a registry pull fetches")
    parser.add_argument("--only", action="append", choices=METHODS)
    parser.add_argument("old")
    parser.add_argument("new")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(options.old, options.new, Path(work))
        results = [method(bench) for name, method in METHODS.items() if not options.only or name in options.only]
    ours = results[0].size
    if options.layers:
        pull = {"method": "registry, changed layers", "size": options.layers, "ratio": round(options.layers / ours, 2)}
        sys.stdout.write(json.dumps(pull) + "\n")
    for result in results:
        row = {"method": result.method, "size": result.size, "ratio": round(result.size / ours, 2)}
        row |= {"send_s": round(result.send.seconds, 2), "send_mb": result.send.peak_bytes >> 20}
        if result.receive is not None:
            row |= {"receive_s": round(result.receive.seconds, 2), "receive_mb": result.receive.peak_bytes >> 20}
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
