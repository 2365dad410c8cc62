"""The page docs/evaluation.md, made of the document of figures and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.evaluation import bandwidth, limits, runtime, storage
from benchmarks.evaluation.conclusions import conclusions

if TYPE_CHECKING:
    from benchmarks.evaluation.model import Evaluation, Result
    from benchmarks.evaluation.parts import Part

PARTS: dict[str, Part] = {part.name: part for part in (storage.PART, bandwidth.PART, runtime.PART, limits.PART)}
"""The parts by name, in the order of the page."""

INTRODUCTION = """\
# Evaluation

This page, its pictures and [evaluation.json](evaluation.json) are written by `./scripts/evaluate`, which needs root on
Debian 12 or 13. `./scripts/evaluate PART` measures one part again: {names}. `--quick` takes some minutes and writes
elsewhere.

A figure is a median. `±` is the distance to the farther end of its interval, which holds the median with 95 % from six
samples on, and is the whole range below. In brackets is the ratio to the first column: the median over paired samples,
and its interval. `~1` means that the difference is within the spread. A figure without an interval is a count of bytes
or files, which does not vary, was measured once, or is computed from medians. Below the tables are the commands.
"""


def render_page(evaluation: Evaluation) -> str:
    """Return the page; a part that was not measured has no section."""
    found = [PARTS[name] for name in PARTS if name in evaluation.parts]
    sections = [INTRODUCTION.format(names=", ".join(f"`{name}`" for name in PARTS)), conclusions(evaluation)]
    sections += [_section(part, evaluation.parts[part.name]) for part in found]
    return "\n".join(sections)


def _section(part: Part, result: Result) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    lines = [
        f"## {part.title}",
        "",
        part.report(result),
        f"*Measured {result.measured} UTC in {_minutes(result.seconds)}:",
    ]
    lines[-1] += f" {machine}.*"
    if result.before:
        lines += ["", f"Since the run of {result.before} on the same machine, {_moved(result)}"]
    return "\n".join(lines) + "\n"


def _moved(result: Result) -> str:
    by = "by more than the spread, the noise of their table and one percent"
    if not result.moved:
        return f"no figures moved {by}."
    listed = "\n".join(f"- {text}" for text in result.moved)
    return (
        f"{len(result.moved)} of {len(result.rows)} figures moved {by}.\n\n"
        f"<details><summary>These moved</summary>\n\n{listed}\n\n</details>"
    )


def _minutes(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
