"""The figures of bench_delta.py as one table: a row for each pair, a column for each method."""

from __future__ import annotations

from statistics import geometric_mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.figures import Row

OURS = "nixoci"
"""The method to which the others are compared."""

Figures = dict[str, list["Row"]]
"""The rows of each pair by its name."""


def merge(before: Figures, now: Figures) -> Figures:
    """Return both runs' figures; where both have a method of a pair, those of `now`."""
    merged = {}
    for pair in [*before, *(pair for pair in now if pair not in before)]:
        rows = {row["method"]: row for row in before.get(pair, [])}
        rows |= {row["method"]: row for row in now.get(pair, [])}
        merged[pair] = list(rows.values())
    return merged


def sizes(rows: Sequence[Row]) -> dict[str, int]:
    """Return the bytes of each method that was measured."""
    return {row["method"]: row["size"] for row in rows if "size" in row}


def methods(figures: Figures) -> list[str]:
    """Return the methods that any pair was measured with, ours first, in the order of the rows."""
    found = list(dict.fromkeys(method for rows in figures.values() for method in sizes(rows)))
    return sorted(found, key=lambda method: (not method.startswith(OURS), found.index(method)))


def ratios(figures: Figures, method: str) -> list[float]:
    """Return a method's bytes over ours, for the pairs that have both."""
    pairs = [sizes(rows) for rows in figures.values()]
    return [pair[method] / pair[OURS] for pair in pairs if method in pair and OURS in pair]


def common(figures: Figures) -> Figures:
    """Return the pairs that have all methods, over which means compare, or all pairs if there is none."""
    wanted = set(methods(figures))
    return {pair: rows for pair, rows in figures.items() if wanted <= sizes(rows).keys()} or figures


def table(figures: Figures) -> str:
    """Return a table in Markdown.

    A bar stands where a method was not measured. The last row has geometric means over the common pairs.
    """
    columns = methods(figures)
    lines = [_line(["MB (ratio)", *columns]), _line(["---"] * (len(columns) + 1))]
    lines += [_line([pair, *(_cell(sizes(rows), method) for method in columns)]) for pair, rows in figures.items()]
    means = [ratios(common(figures), method) for method in columns]
    lines.append(_line(["mean ratio", *(f"{geometric_mean(each):.2f}" if each else "-" for each in means)]))
    return "\n".join(lines) + "\n"


def _cell(pair: Mapping[str, int], method: str) -> str:
    if method not in pair:
        return "-"
    size = f"{pair[method] / 1e6:.3f}"
    return size if method == OURS or OURS not in pair else f"{size} ({pair[method] / pair[OURS]:.2f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
