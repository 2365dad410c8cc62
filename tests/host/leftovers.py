"""The removal of what machines leave: in the background, and however the process that booted them ended."""

from __future__ import annotations

import fcntl
import os
import subprocess
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.host import cgroups

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

GONE = "gone-"
"""The prefix of folders that are being removed."""

# Waits for a machine's last process, then removes its groups and its folder.
CLEAN_UP = """
for group; do
    tries=600
    while [ -e "$group" ] && [ $((tries -= 1)) -gt 0 ]; do
        find "$group" -depth -type d -exec rmdir {} + || sleep 0.1
    done
done
exec nice rm --recursive --force "$0"
"""


def remove_when_unlocked(folder: Path, groups: Iterable[Path]) -> None:
    """Remove a machine's groups and its folder when the lock of that is let go.

    The kernel lets go of it when the process dies that holds it. What removes is in no group with that.
    """
    _in_background(["flock", folder, "sh", "-c", CLEAN_UP, folder, *groups])


def discard(folder: Path) -> None:
    """Remove a folder of the cache or of a machine in the background, which takes seconds.

    `sweep` removes the rest if this process ends first.
    """
    gone = folder.with_name(f"{GONE}{uuid.uuid4().hex}")  # on the same file system
    with suppress(FileNotFoundError):  # another process has swept it up
        folder.rename(gone)
        _remove(gone)


def _remove(gone: Path) -> None:
    """Start to remove a folder, unless somebody already does."""
    _in_background(["flock", "--nonblock", gone, "nice", "rm", "--recursive", "--force", gone])


def _in_background(argv: Sequence[str | Path]) -> None:
    """Run a command that outlives this process, and what is sent to its group."""
    none = subprocess.DEVNULL
    subprocess.run(["setsid", "--fork", *argv], check=True, stdin=none, stdout=none, stderr=none)


def sweep(machines: Path, prefix: str) -> None:
    """Remove what is left of machines if the processes that should remove it were killed, too."""
    for folder in (machines, machines.parent):
        for gone in folder.glob(f"{GONE}*"):
            _remove(gone)
    cgroups.sweep(prefix)
    for state in machines.glob(f"{prefix}*"):
        try:
            handle = os.open(state, os.O_RDONLY)
        except FileNotFoundError:  # its machine has ended meanwhile
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
        for tree in cgroups.roots():
            cgroups.remove(tree / state.name)
        discard(state)
