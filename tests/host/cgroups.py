"""The groups of processes of machines, as this machine sees them."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

STARTING = 600.0
"""Seconds after which a machine certainly has a process."""


def roots() -> list[Path]:
    """Return the trees in which a machine needs a group of its own: one, or with legacy cgroups systemd's two."""
    base = Path("/sys/fs/cgroup")
    if (base / "cgroup.controllers").exists():
        return [base]
    return [tree for tree in (base / "unified", base / "systemd") if tree.is_dir()]


def remove(group: Path) -> None:
    """Remove a group and those below once their processes have ended; give up after a minute."""
    deadline = time.monotonic() + 60
    while group.exists() and time.monotonic() < deadline:
        for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)


def sweep(prefix: str) -> None:
    """Remove the groups with that prefix of machines that were killed, and whose folders nothing knows any more."""
    for tree in roots():
        for group in tree.glob(f"{prefix}*"):
            with suppress(OSError):
                # that of a machine which starts is young, and that of one which runs has a process
                young = time.time() - group.stat().st_mtime < STARTING
                if not young and not any(processes.read_bytes() for processes in group.rglob("cgroup.procs")):
                    remove(group)
