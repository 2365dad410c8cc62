"""Measure the parts of the evaluation, and write the page, its pictures and its figures.

    python -m benchmarks.evaluation [--quick | --render] [--output FOLDER] [PART...]

Runs as root on Debian from the top of the checkout; scripts/evaluate prepares that.
"""

# ruff: noqa: T201  # a person reads what this prints

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.evaluation.model import Evaluation, read, render
from benchmarks.evaluation.page import PARTS, render_page
from benchmarks.evaluation.run import compared, run_part
from benchmarks.peers import packages
from tests.host.cache import cache_dir
from tests.host.python import CHECKOUT

FIGURES = "evaluation.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/evaluate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="measure little, in some minutes, and write to the cache")
    parser.add_argument("--render", action="store_true", help="measure nothing, and write the page of earlier figures")
    parser.add_argument(
        "--rounds", type=int, help="samples of each figure that varies, instead of the part's own number"
    )
    parser.add_argument("--output", type=Path, help="folder to write to, instead of docs")
    parser.add_argument("parts", metavar="PART", nargs="*", help=f"one of {', '.join(PARTS)}; all, if there is none")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: not a part; the parts are {', '.join(PARTS)}")
    quick_output = cache_dir() / "evaluation/quick"
    output = options.output or (quick_output if options.quick else CHECKOUT / "docs")
    output.mkdir(parents=True, exist_ok=True)
    if options.render:
        write(output, former(output))
        return 0
    try:
        for name in options.parts or PARTS:
            measure(name, output, quick=options.quick, rounds=options.rounds)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on after the last step that ended")
        return 130
    print(output / "evaluation.md")
    return 0


def measure(name: str, output: Path, *, quick: bool, rounds: int | None) -> None:
    """Measure a part, compare it with the figures in a folder, and add it to them."""
    result = run_part(PARTS[name], quick=quick, rounds=rounds, say=say)
    evaluation = former(output)
    result = compared(result, evaluation.parts.get(name))
    found = evaluation.parts | {name: result}
    write(output, replace(evaluation, parts={each: found[each] for each in PARTS if each in found}))
    print(f"{name}: {result.seconds} s, {len(result.rows)} figures, {len(result.moved)} moved", flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def former(output: Path) -> Evaluation:
    """Return the figures of earlier runs in a folder."""
    file = output / FIGURES
    return read(file.read_text(encoding="utf-8"), what=str(file)) if file.exists() else Evaluation()


def write(output: Path, evaluation: Evaluation) -> None:
    """Write the figures, and from them the page and the pictures."""
    text = render(evaluation)
    (output / FIGURES).write_text(text, encoding="utf-8")
    # from the figures as they are written, which are rounded
    (output / "evaluation.md").write_text(render_page(read(text, what=FIGURES)), encoding="utf-8")
    draw = [sys.executable, "-m", "benchmarks.evaluation.pictures", str(output / FIGURES), str(output / "evaluation")]
    subprocess.run(draw, check=True, env={**os.environ, "PYTHONPATH": f"{packages('pictures')}:{CHECKOUT}"})


if __name__ == "__main__":
    sys.exit(main())
