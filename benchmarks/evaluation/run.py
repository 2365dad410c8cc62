"""Runs of parts: each step is kept when it ends, so that an interrupted run goes on where it was."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.evaluation.facts import machine_facts, versions
from benchmarks.evaluation.model import Result, read_rows, render_rows
from benchmarks.evaluation.parts import Lab
from benchmarks.evaluation.statistics import estimate, moved, noise
from tests.host.cache import cache_dir, key
from tests.host.python import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.evaluation.model import Row
    from benchmarks.evaluation.parts import Part, Step


def run_part(part: Part, *, quick: bool, rounds: int | None, say: Callable[[str], None]) -> Result:
    """Measure a part, but for the steps that an interrupted run with the same code has measured."""
    folder = unfinished(part, quick=quick, rounds=rounds)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    started = time.monotonic()
    earlier = sum(float(file.read_text(encoding="ascii")) for file in folder.glob("*.seconds"))
    with Lab(quick=quick, rounds=rounds, binds=part.binds, in_memory=part.in_memory) as lab:
        for step in part.steps(quick):
            say(f"{part.name}: {step.name}")
            rows += kept(folder, step, lab)
        facts = machine_facts() | versions(lab.machine)
    result = Result(
        measured=time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        seconds=round(time.monotonic() - started + earlier),
        quick=quick,
        machine=facts,
        rows=tuple(rows),
    )
    shutil.rmtree(folder)
    return result


def unfinished(part: Part, *, quick: bool, rounds: int | None) -> Path:
    """Return the folder of the steps of a part that have ended, by the code that measures and is measured."""
    parts = key(*part.sources, CHECKOUT / "nixoci", f"{quick} {rounds}")
    return cache_dir() / "evaluation" / f"{part.name}-{parts}"


def kept(folder: Path, step: Step, lab: Lab) -> tuple[Row, ...]:
    """Return the rows of a step, measured now unless the folder has them."""
    file = folder / f"{step.name}.jsonl"
    if file.exists():
        return read_rows(file.read_text(encoding="utf-8"), what=str(file))
    started = time.monotonic()
    rows = tuple(step.measure(lab))
    partial = file.with_suffix(".partial")
    partial.write_text(render_rows(rows), encoding="utf-8")
    file.with_suffix(".seconds").write_text(f"{time.monotonic() - started}", encoding="ascii")
    partial.rename(file)
    return rows


def compared(now: Result, before: Result | None) -> Result:
    """Return a result with the figures that differ from an earlier one, if that is of the same machine and length."""
    same = ("processors", "memory", "kernel")
    if before is None or before.quick != now.quick or any(now.machine[fact] != before.machine[fact] for fact in same):
        return now
    former = {row.key: row.samples for row in before.rows if row.samples}
    kinds: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for row in (*now.rows, *before.rows):
        kinds.setdefault((row.table, row.unit), []).append(row.samples)
    noises = {kind: noise(figures) for kind, figures in kinds.items()}
    lines = []
    for row in now.rows:
        earlier = former.get(row.key)
        if row.samples and earlier and moved(row.samples, earlier, noises[row.table, row.unit]):
            was, is_now = estimate(earlier).value, estimate(row.samples).value
            change = f"{is_now / was:.2f} times" if was else "from nothing"
            lines.append(f"{row.table}, {row.subject}, {row.variant}: {was:.6g} {row.unit} to {is_now:.6g} ({change})")
    return replace(now, before=before.measured, moved=tuple(lines))
