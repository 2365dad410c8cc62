"""Bytes a day that a fleet of machines fetches from its cache: by deltas, and without them.

    python -m benchmarks.fleet [--missed 0.1] [--bases 3]

Nothing is measured here: recorded bytes (deltas.json) go through a model of a fleet, day by day for a year, with the
same outcome each time. What the model assumes:

- A machine runs one of each of the images `IMAGES`, and each release updates all of them by their recorded pair: one
  that has not changed would cost either way nothing, so a fleet with fewer updates has the same ratio.
- Without deltas, a machine fetches the changed layers of each image, as recorded. A binary cache that compresses NARs
  with zstd sends about half of that for nginx (docs/substituter.md).
- A machine misses a release with the probability `--missed`, independent of the others and of those before. It comes
  to the newest one with the next release that it does not miss.
- Deltas are published from the last `--bases` releases. One over several releases has the bytes of as many deltas of
  one, which is too much: what changed twice is in it once. A machine that is further behind fetches the layers.
- With deltas, a machine also fetches the index and the narinfos of the paths, `OVERHEAD` bytes.
- A machine asks for nothing between two releases, and no download fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.delta_report import OURS, sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.delta_report import Figures

IMAGES = ("nginx", "redis", "postgres", "python")
REGISTRY = "registry, changed layers"
FLEETS = (10, 100, 1_000, 10_000, 100_000)
CADENCES = {"daily": 1, "weekly": 7, "monthly": 30}
"""Days between two releases."""

DAYS = 360
OVERHEAD = 10_000
"""Bytes of an index of ten releases, and of some narinfos."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes of a machine a day, on average over a year, and bytes of the deltas of one release."""

    without: float
    with_deltas: float
    kept: int


def simulate(*, layers: int, delta: int, days_between: int, missed: float, bases: int) -> Traffic:
    """Return the traffic of one machine of a fleet.

    Args:
        layers: Bytes of the changed layers of a release.
        delta: Bytes of the deltas from one release to the next.
        days_between: Days between two releases.
        missed: The part of the machines that misses a release.
        bases: Older releases from which there are deltas to a new one.
    """
    behind = {0: 1.0}  # the part of the machines that is so many releases behind
    without = with_deltas = 0.0
    for day in range(1, DAYS + 1):
        if day % days_between:
            continue
        behind = {count + 1: part for count, part in behind.items()}
        for count, part in behind.items():
            comes = part * (1 - missed)
            without += comes * layers
            with_deltas += comes * (OVERHEAD + (min(count * delta, layers) if count <= bases else layers))
        behind = {0: 1 - missed} | {count: part * missed for count, part in behind.items()}
    kept = sum(min(count * delta, layers) for count in range(1, bases + 1))
    return Traffic(without=without / DAYS, with_deltas=with_deltas / DAYS, kept=kept)


def table(figures: Figures, *, missed: float, bases: int) -> str:
    """Return a table in Markdown, two rows for each cadence, and a line about the deltas in the cache."""
    recorded = [sizes(figures[image]) for image in IMAGES]
    layers, delta = (sum(pair[method] for pair in recorded) for method in (REGISTRY, OURS))
    rows = [["bytes a day", *(f"{machines:,} machines".replace(",", " ") for machines in FLEETS), "ratio"]]
    rows.append(["---"] * len(rows[0]))
    for cadence, days in CADENCES.items():
        traffic = simulate(layers=layers, delta=delta, days_between=days, missed=missed, bases=bases)
        for way, size in (("layers", traffic.without), ("deltas", traffic.with_deltas)):
            amounts = [_amount(machines * size) for machines in FLEETS]
            rows.append([f"{cadence}, {way}", *amounts, f"{size / traffic.without:.3f}"])
    lines = [f"| {' | '.join(row)} |\n" for row in rows]
    return "".join([*lines, f"\nThe deltas of one release take {_amount(traffic.kept)} in the cache.\n"])


def _amount(size: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:.3g} TB"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Bytes a day that a fleet fetches from its cache.")
    parser.add_argument("--missed", type=float, default=0.1, help="the part of the machines that misses a release")
    parser.add_argument("--bases", type=int, default=3, help="older releases from which there are deltas")
    options = parser.parse_args(arguments)
    figures = json.loads((Path(__file__).parent / "deltas.json").read_text(encoding="utf-8"))
    sys.stdout.write(table(figures, missed=options.missed, bases=options.bases))


if __name__ == "__main__":
    main()
