"""Tables: in color on a terminal, plain aligned text in a pipe."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nixoci.cli.common import one_line


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text to stdout under their columns' names.

    Args:
        columns: The names of the columns; upper-cased in a pipe.
        rows: Rows with one text for each column.
    """
    shown = [[one_line(cell) for cell in row] for row in rows]
    console = Console(highlight=False)
    if console.is_terminal:
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in shown:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))
        console.print(table)
        return
    lines = [[column.upper() for column in columns], *shown]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())  # noqa: T201


def print_fields(title: str, fields: Sequence[tuple[str, str]]) -> None:
    """Print a title and, indented below it, names and values in two columns, without empty values."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(one_line(title), style="bold"))
    shown = [(name, one_line(value)) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        console.print(Text(f"  {name.ljust(width)}  {value}"))
