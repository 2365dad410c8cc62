"""Progress on a terminal, silence in a pipe and in a build."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Advance = Callable[[int], None]
"""Called with the number of bytes, or of items, that were processed since the last call."""

_LOOK = 0.2
"""Seconds between two looks at a folder that grows."""


def ignore(_: int) -> None:
    """Do nothing: the default, without progress."""


def is_shown() -> bool:
    """Return whether somebody watches: stderr is a terminal, and not the one by which Nix takes the log of a build.

    A shell of Nix has the variables of a build, and one more.
    """
    return sys.stderr.isatty() and ("NIX_BUILD_TOP" not in os.environ or "IN_NIX_SHELL" in os.environ)


@contextmanager
def byte_progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar of bytes, with rate and remaining time, on stderr while the block runs.

    Args:
        description: The work, for example `extracting nginx`.
        total: Bytes in all; None if that is not known.
    """
    if total == 0 or not is_shown():
        yield ignore
        return
    # importing it takes longer than a small job in a pipe
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    with _bar(description, total, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as advance:
        yield advance


@contextmanager
def item_progress(description: str, total: int) -> Iterator[Advance]:
    """Show a progress bar of items on stderr while the block runs.

    Args:
        description: The work, for example `verifying`.
        total: Items in all.
    """
    if total == 0 or not is_shown():
        yield ignore
        return
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn  # noqa: PLC0415 - as above

    with _bar(description, total, MofNCompleteColumn(), TimeRemainingColumn()) as advance:
        yield advance


@contextmanager
def folder_growth(folder: Path, total: int, advance: Advance) -> Iterator[None]:
    """Report the bytes of the files that another program writes below a folder while the block runs.

    At the end of the block, `total` bytes are reported in all.

    Args:
        folder: The folder.
        total: Bytes that the program writes, as far as that is known.
        advance: Called with the bytes, on another thread.
    """
    if advance is ignore:
        yield
        return
    before, reported, done = _size(folder), 0, Event()

    def watch() -> None:
        nonlocal reported
        while not done.wait(_LOOK):
            grown = min(_size(folder) - before, total)
            if grown > reported:
                advance(grown - reported)
                reported = grown

    watcher = Thread(target=watch, name="folder-growth", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    advance(total - reported)


@contextmanager
def _bar(description: str, total: int | None, *columns: "ProgressColumn") -> Iterator[Advance]:
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415 - as above

    progress = Progress(
        TextColumn("{task.description}", markup=False),  # names come from images
        BarColumn(),
        *([TaskProgressColumn()] if total is not None else []),
        *columns,
        console=Console(stderr=True),
        transient=True,
        get_time=monotonic,
    )
    with progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


def _size(folder: Path) -> int:
    """Return the bytes of the files below a folder; symlinks are not followed."""
    size = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except FileNotFoundError:  # renamed meanwhile
            continue
        if S_ISREG(status.st_mode):
            size += status.st_size
    return size
