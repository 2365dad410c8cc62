"""Tables: in bold and fitted to the width on a terminal, plain aligned text in a pipe.

References, digests and store paths are for copying: no cell is cut, and only the prose of a last column is wrapped.
"""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from nixoci.cli.common import note, one_line

if TYPE_CHECKING:
    from rich.console import Console

_GAP = "  "
_NARROWEST = 30
"""The narrowest column of prose; on a terminal with less room its lines are as long as that."""


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str = "nothing to show", prose: bool = False
) -> None:
    """Print rows of text to stdout under their columns' names; without rows a line to stderr.

    Args:
        columns: The names of the columns; upper-cased in a pipe.
        rows: Rows with one text for each column.
        empty: The line in place of a table without rows, which may not be silent: a user would wait for the rest.
        prose: The last column has sentences, which a terminal wraps between words.
    """
    if not rows:
        note(empty)
        return
    from rich.cells import cell_len  # noqa: PLC0415 - as in `_console`
    from rich.text import Text  # noqa: PLC0415

    console = _console()
    terminal = console.is_terminal
    title = [column if terminal else column.upper() for column in columns]
    shown = [title, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(line[number]) for line in shown) for number in range(len(columns))]
    room = console.width - sum(widths[:-1]) - len(_GAP) * len(widths[:-1])
    for number, line in enumerate(shown):
        last = _wrapped(line[-1], max(room, _NARROWEST)) if terminal and prose else [line[-1]]
        starts = [line[:-1], *([""] * (len(columns) - 1) for _ in last[1:])]
        for start, end in zip(starts, last, strict=True):
            padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(start, widths, strict=False)]
            console.print(Text(_GAP.join([*padded, end]).rstrip(), style="" if number else "bold"))


def print_fields(title: str, fields: Sequence[tuple[str, str]]) -> None:
    """Print a title and, indented below it, names and values in two columns, without empty values."""
    from rich.text import Text  # noqa: PLC0415 - as in `_console`

    console = _console()
    console.print(Text(one_line(title), style="bold"))
    shown = [(name, one_line(value)) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        console.print(Text(f"  {name.ljust(width)}  {value}"))


def _console() -> "Console":
    # importing it takes longer than many a verb, which prints no table for --json
    from rich.console import Console  # noqa: PLC0415

    return Console(highlight=False, soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text; a word that is longer than a line stays whole."""
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
