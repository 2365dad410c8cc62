"""Progress on a terminal, silence in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Called with the number of bytes that were done since the last call."""


def ignore(_: int) -> None:
    """Advance nothing: the default where nobody watches."""


@contextmanager
def byte_progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a bar of bytes with rate and remaining time on stderr while the block runs.

    Args:
        description: What is being done, for example `extracting nginx`.
        total: Bytes in all; None where that is not known.
    """
    if not sys.stderr.isatty():
        yield ignore
        return
    # loading it takes longer than small work in a pipe does
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)
