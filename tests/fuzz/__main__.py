"""Attack nixoci with random inputs: `python -m tests.fuzz [--minutes 60] [--seed N] [TARGET...]`.

A faulty input is kept in a folder of its own, with the fault and the way to run it again. See CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.run import Input, run
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"by default all of {', '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="by default another one each time")
    parser.add_argument("--count", type=int, help="the number of inputs of each target, instead of the minutes")
    parser.add_argument("--number", type=int, help="run this one input of a target and a seed again")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "nixoci-fuzz", metavar="DIR")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"unknown target: {', '.join(sorted(unknown))}")
    options.keep.mkdir(parents=True, exist_ok=True)
    started, done, faults = time.monotonic(), 0, 0
    for fault in run(_inputs(options), keep=options.keep):
        done += 1
        if fault is not None:
            faults += 1
            item = fault.input
            again = f"python -m tests.fuzz {item.target} --seed {item.seed} --number {item.number}"
            print(f"FAULT {item.target} {item.number}: {fault.message}\n  again: {again}", flush=True)
    print(f"seed {options.seed}: {done} inputs in {time.monotonic() - started:.0f} s, {faults} faults")
    return min(faults, 1)


def _inputs(options: argparse.Namespace) -> Iterator[Input]:
    targets = options.targets or list(TARGETS)
    numbers = count() if options.number is None else iter([options.number])
    end = time.monotonic() + 60 * options.minutes
    for number in numbers:
        if number == options.count or (options.count is None and time.monotonic() > end):
            return
        for target in targets:
            yield Input(target=target, seed=options.seed, number=number)


if __name__ == "__main__":
    sys.exit(main())
