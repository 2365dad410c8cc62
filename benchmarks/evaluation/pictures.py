"""The pictures of the evaluation, one for each part that has one.

    python -m benchmarks.evaluation.pictures FIGURES.json FOLDER

Runs with the packages of the dependency group `benchmarks`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import svg
from benchmarks.evaluation import bandwidth, runtime, storage
from benchmarks.evaluation.conclusions import measured_by
from benchmarks.evaluation.model import read
from benchmarks.evaluation.mounts_driver import EROFS, LAYERS
from benchmarks.evaluation.statistics import ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.evaluation.model import Result

OURS = (storage.NIX_STORE, storage.OPTIMISED, bandwidth.OURS, bandwidth.FAST, EROFS)
"""Variants that are drawn as ours; a variant that starts with one of them is one of them."""


def is_ours(variant: str) -> bool:
    return variant.startswith(OURS)


def draw_storage(result: Result) -> str:
    """Return the space for each number of images, a line for each way."""
    rows = [row for row in result.table("host") if row.unit == "B" and row.subject.split()[1] in {"image", "images"}]
    points: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.subject.endswith(("image", "images")):
            points.setdefault(row.variant, {})[int(row.subject.split()[0])] = row.samples[0] / 1e9
    lines = {way: found for way, found in points.items() if len(found) > 1}
    others = iter(svg.PALETTE)
    with svg.canvas(9, 4.6, salt="storage") as (figure, axes):
        ends: list[tuple[float, str, str]] = []
        for way, found in lines.items():
            colour = svg.OURS if is_ours(way) else next(others)
            dashes = ":" if way == storage.NIX_STORE else "-"
            axes.plot(list(found), list(found.values()), dashes, color=colour, linewidth=2.2 if is_ours(way) else 1.6)
            ends.append((found[max(found)], way, colour))
        _name_lines(axes, ends, max(max(found) for found in lines.values()))
        axes.set_xlabel("images on the host")
        axes.set_ylabel("GB on the disk")
        axes.set_ylim(0)
        axes.set_xlim(1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        return svg.text(figure)


def _name_lines(axes: object, ends: list[tuple[float, str, str]], last: int) -> None:
    """Write the name of each line beside its end, far enough from the next, and a thin line to it."""
    highest = max(value for value, _, _ in ends)
    place = -1.0
    for value, name, colour in sorted(ends):
        place = max(value, place + highest * 0.062)
        axes.annotate(  # type: ignore[attr-defined]  # matplotlib has no types here
            name,
            (last, value),
            xytext=(last * 1.06, place),
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkB": 0},
        )


def draw_bandwidth(result: Result) -> str:
    """Return the bytes of each update by each method, over those of a pull: a dot for each pair."""
    sizes: dict[str, dict[str, float]] = {}
    for row in result.table("update"):
        sizes.setdefault(row.subject, {})[row.variant] = median(row.samples)
    methods = list(dict.fromkeys(method for pair in sizes.values() for method in pair))
    ratios = {
        method: [pair[method] / pair[bandwidth.PULL] for pair in sizes.values() if method in pair] for method in methods
    }
    return _dots(ratios, "bytes of an update over those of a pull of its changed layers, by image", salt="bandwidth")


def draw_runtime(result: Result) -> str:
    """Return the time of warm work in each mount over that in the image's layers: a dot for each kind of work."""
    rows = {(row.subject, row.variant): row.samples for row in result.table("work") if row.unit == "s"}
    ratios: dict[str, list[float]] = {}
    for (subject, variant), samples in rows.items():
        if subject in measured_by(result):
            ratios.setdefault(variant, []).append(ratio(samples, rows[subject, LAYERS]).value)
    return _dots(ratios, "time of real work over that in the image's own layers, by program", salt="runtime")


def _dots(ratios: dict[str, list[float]], label: str, *, salt: str) -> str:
    """Return a picture with a row for each variant: a dot for each ratio, and a large one for their median."""
    order = sorted(ratios, key=lambda name: median(ratios[name]), reverse=True)
    with svg.canvas(9, 0.42 * len(order) + 1.1, salt=salt) as (figure, axes):
        for row, name in enumerate(order):
            colour, middle = (svg.OURS if is_ours(name) else svg.OTHERS), median(ratios[name])
            axes.plot(ratios[name], [row] * len(ratios[name]), "o", color=colour, markersize=4, alpha=0.6)
            axes.plot([middle], [row], "o", color=colour, markersize=10)
            beside = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 9}
            axes.annotate(f"{middle:.2g}" if middle < 0.1 else f"{middle:.2f}", (middle, row), **beside)
        axes.axvline(1, color=svg.INK, linewidth=0.8, linestyle=":")
        values = [value for each in ratios.values() for value in each]
        if max(values) > 10 * min(values):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(-0.6, len(order) - 0.2)
        axes.set_xlabel(label)
        return svg.text(figure)


DRAWN: dict[str, Callable[[Result], str]] = {
    storage.PART.name: draw_storage,
    bandwidth.PART.name: draw_bandwidth,
    runtime.PART.name: draw_runtime,
}
"""The parts that have a picture, which has the name of the part."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    evaluation = read(options.figures.read_text(encoding="utf-8"), what=str(options.figures))
    options.folder.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        if name in evaluation.parts:
            picture = draw(evaluation.parts[name])
            (options.folder / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
