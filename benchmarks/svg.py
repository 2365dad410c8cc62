"""Pictures as SVG whose text takes the colour of the reader's theme.

Runs with matplotlib, of the dependency group `pictures`.
"""

from __future__ import annotations

from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Iterator

INK = "#123456"
"""Text and lines are drawn in this colour, and then in that of the reader's theme."""

LIGHT, DARK = "#1f2328", "#e6edf3"
OURS, OTHERS = "#d55e00", "#4a90c4"
"""Our methods and the others, in two colours that all readers tell apart, on white as on black."""

PALETTE = ("#4a90c4", "#e69f00", "#009e73", "#cc79a7", "#8c8c8c", "#b8860b", "#56b4e9")
"""Colours besides `OURS` for pictures of many lines, which also have their name beside them."""

STYLE = f"<style>svg {{ color: {LIGHT} }} @media (prefers-color-scheme: dark) {{ svg {{ color: {DARK} }} }}</style>"


@contextmanager
def canvas(width: float, height: float, *, salt: str) -> Iterator[tuple[Any, Any]]:
    """Yield a figure and its axes, of a size in inches; `salt` makes the ids in the SVG the same in each run."""
    plain = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 11, "font.family": "sans-serif"}
    inks = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    with mpl.rc_context({**plain, **inks}):
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def text(figure: Any) -> str:
    """Return a figure as SVG without a background."""
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return out.getvalue().replace(INK, "currentColor").replace("<defs>", f"{STYLE}\n <defs>", 1)
