"""Tables of rows in Markdown: a line for each subject, a column for each variant.

The variant to compare with comes first. The others have, beside their median, the median ratio of paired samples to it
with its interval, or `~1` if the interval holds 1: the difference is then within the spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.evaluation.statistics import estimate, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.evaluation.model import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """The form of a table's figures.

    Attributes:
        unit: The unit that the table names.
        scale: The factor from the unit of the rows to that one.
        digits: The digits after the point.
    """

    unit: str
    scale: float = 1.0
    digits: int = 1


MEGABYTES = Shown(unit="MB", scale=1e-6)
COUNT = Shown(unit="number", digits=0)


def table(rows: Sequence[Row], shown: Shown, *, base: str | None = None) -> str:
    """Return a table of rows of one unit; ratios are to the variant `base`, or there are none."""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    found = list(dict.fromkeys(row.variant for row in rows))
    variants = sorted(found, key=lambda variant: variant != base)
    cells = {(row.subject, row.variant): row for row in rows}
    lines = [line([shown.unit, *variants]), line(["---"] * (len(variants) + 1))]
    for subject in subjects:
        compared = cells.get((subject, base)) if base else None
        lines.append(line([subject, *(_cell(cells.get((subject, name)), compared, shown) for name in variants)]))
    return "\n".join(lines) + "\n"


def _cell(row: Row | None, base: Row | None, shown: Shown) -> str:
    if row is None:
        return ""
    if row.missing:
        return "-"
    if row is base or base is None or not base.samples:
        return median_text(row, shown)
    return f"{estimate(row.samples).value * shown.scale:.{shown.digits}f} ({ratio_text(row, base)})"


def median_text(row: Row, shown: Shown) -> str:
    """Return the median of a row, with the distance to the farther end of its interval if there are more samples."""
    found = estimate(row.samples)
    text = f"{found.value * shown.scale:.{shown.digits}f}"
    spread = max(found.high - found.value, found.value - found.low) * shown.scale
    return text if len(row.samples) == 1 else f"{text} ± {spread:.{shown.digits}f}"


def ratio_text(row: Row, base: Row) -> str:
    """Return the ratio of two rows with its interval, with `~1` for a ratio within the spread."""
    compared = ratio(row.samples, base.samples)
    if len(row.samples) == 1:
        return f"{compared.value:.2f}" if compared.value >= 0.1 else f"{compared.value:.2g}"
    interval = f"{compared.low:.2f}–{compared.high:.2f}"  # noqa: RUF001  # a range
    return f"~1, {interval}" if compared.holds(1) else f"{compared.value:.2f}, {interval}"


def commands(rows: Sequence[Row], source: str) -> str:
    """Return the commands of one or more tables, folded away, with the place of the raw rows and their samples.

    A command is that of whole columns or whole rows of the tables, or else of single figures.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.command or row.missing, []).append(row)
    lines = [line(["row or column", "command"]), line(["---", "---"])]
    lines += [line([_named(each, rows), f"`{text}`" if text else ""]) for text, each in found.items()]
    listed = "\n".join(lines)
    counts = sorted({len(row.samples) for row in rows if row.samples})
    samples = "" if not counts or counts == [1] else f"; samples of each figure: {', '.join(map(str, counts))}"
    return f"<details><summary>Commands; raw rows: {source}{samples}</summary>\n\n{listed}\n\n</details>\n"


def _named(measured: Sequence[Row], rows: Sequence[Row]) -> str:
    """Name the figures that a command measured."""
    variants, subjects = {row.variant for row in measured}, {row.subject for row in measured}
    count = len(measured)
    if count == sum(row.variant in variants for row in rows):
        names = [row.variant for row in measured]
    elif count == sum(row.subject in subjects for row in rows):
        names = [row.subject for row in measured]
    else:
        names = [f"{row.subject}, {row.variant}" for row in measured]
    return "; ".join(dict.fromkeys(names))


def line(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
