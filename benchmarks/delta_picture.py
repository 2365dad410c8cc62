"""The figures of bench_delta.py as a picture.

    python -m benchmarks.delta_picture FIGURES.json PICTURE.svg

Runs with the packages of the dependency group `benchmarks`. It has a row for each method, a small dot for each pair and
a large one for the geometric mean over the pairs that all methods have. The text takes the colour that suits a light or
dark background.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING

from benchmarks import svg
from benchmarks.delta_report import OURS, common, methods, ratios

if TYPE_CHECKING:
    from benchmarks.delta_report import Figures


def draw(figures: Figures) -> str:
    """Return the picture as SVG."""
    found = {method: each for method in methods(figures) if (each := ratios(figures, method))}
    shared = common(figures)
    means = {method: geometric_mean(ratios(shared, method) or found[method]) for method in found}
    order = sorted(found, key=lambda method: means[method], reverse=True)
    with svg.canvas(9, 0.38 * len(order) + 1.1, salt=OURS) as (figure, axes):
        for row, method in enumerate(order):
            colour, mean = (svg.OURS if method.startswith(OURS) else svg.OTHERS), means[method]
            axes.plot(found[method], [row] * len(found[method]), "o", color=colour, markersize=4, alpha=0.6)
            axes.plot([mean], [row], "o", color=colour, markersize=10)
            beside = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 9}
            axes.annotate(f"{mean:.2f}", (mean, row), **beside)
        axes.axvline(1, color=svg.INK, linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(-0.6, len(order) - 0.2)
        axes.set_xlabel("bytes over those of nixoci: each pair, and the mean of those that all methods have")
        return svg.text(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    figures: Figures = json.loads(options.figures.read_text(encoding="utf-8"))
    options.picture.write_text(draw(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
