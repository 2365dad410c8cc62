"""Progress on a terminal, silence in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Called with the number of bytes that were processed since the last call."""


def ignore(_: int) -> None:
    """Do nothing: the default, without progress."""


@contextmanager
def byte_progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar of bytes, with rate and remaining time, on stderr while the block runs.

    Args:
        description: The work, for example `extracting nginx`.
        total: Bytes in all; None if that is not known.
    """
    if not sys.stderr.isatty():
        yield ignore
        return
    # importing it takes longer than a small job in a pipe
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
        TextColumn("{task.description}", markup=False),  # names come from images
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)
