"""The cost of running a program: seconds of the clock and of processors, and peaks of memory.

Needs nothing but the standard library, because it also runs on the test host, with a Python of its own:
`python3 -m benchmarks.cost PROGRAM [ARGUMENT]...` prints the cost as JSON, without that of entering the machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.host.machine import Machine


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


class NotMeasuredError(Exception):
    """A method does not apply to a pair, or its program is not on this machine; the text is the reason."""


def run(argv: Sequence[str | Path], stdout: int | None = None, env: Mapping[str, str] | None = None) -> Cost:
    """Run a program to its end."""
    if shutil.which(argv[0]) is None:
        raise NotMeasuredError(f"{argv[0]} is not installed")
    start = time.perf_counter()
    to = subprocess.DEVNULL if stdout is None else stdout
    process = subprocess.Popen(argv, stdout=to, stderr=subprocess.PIPE, env=env)
    assert process.stderr is not None
    with process.stderr, sampled(process.pid) as samples:
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{argv[0]}: exit code {process.returncode}: {errors.decode(errors='replace')}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, max(samples))


def run_inside(machine: Machine, argv: Sequence[str], *, timeout: float) -> Cost:
    """Run a program in a machine that has the checkout, to its end."""
    done = machine.run(["python3", "-m", "benchmarks.cost", *argv], cwd="/src", timeout=timeout)
    return Cost(**json.loads(done.stdout))


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
    """Return the private memory of a process and its children in bytes.

    A child shares its parent's memory, and has its command line, until it executes a program.
    """
    total = 0
    with suppress(OSError):
        process = Path(f"/proc/{pid}")
        command = (process / "cmdline").read_bytes()
        status = (process / "status").read_text(encoding="ascii")
        total += sum(int(size) * 1024 for size in re.findall(r"RssAnon:\s+(\d+)", status))
        for task in (process / "task").iterdir():
            for child in map(int, (task / "children").read_text(encoding="ascii").split()):
                with suppress(OSError):
                    if Path(f"/proc/{child}/cmdline").read_bytes() != command:
                        total += anonymous(child)
    return total


def output(argv: Sequence[str | Path]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(sys.argv[1:]))) + "\n")
