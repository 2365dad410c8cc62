"""The programs that processes below another one execute and end, and the mounts they make, with the kernel's times.

The kernel's tracer (tracefs) sees each process, however short it lives, and slows none down.
"""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNTS = ("mount", "move_mount", "umount", "open_tree", "mount_setattr", "pivot_root")
_EVENTS = (
    *(f"sched/sched_process_{kind}" for kind in ("fork", "exec", "exit")),
    *(f"syscalls/sys_enter_{call}" for call in _MOUNTS),
)
_LINE = re.compile(
    r"^ *.*-(?P<pid>\d+) +\[\d+\] \S+ +(?P<time>\d+\.\d+): (?P<event>\w+)[:(] ?(?P<text>.*)$", re.MULTILINE
)
_CHILD = re.compile(r"child_pid=(\d+)")
_FILE = re.compile(r"filename=(\S+)")
_BUFFER_KB = 16384


class NoTracerError(Exception):
    """The kernel has no tracer, or none that this user may use."""


@dataclass(frozen=True, slots=True)
class Event:
    """The `exec` or `exit` of a program, or a `mount` (a call that changes mounts); seconds of the monotonic clock."""

    time: float
    pid: int
    kind: str
    program: str


@contextmanager
def tracer() -> Iterator[Path]:
    """Yield the directory of a tracer of its own, which records nothing yet.

    Raises:
        NoTracerError: There is none.
    """
    with TemporaryDirectory(prefix="tracefs-") as folder:
        try:
            subprocess.run(["mount", "-t", "tracefs", "tracefs", folder], check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            raise NoTracerError(error.stderr.decode().strip()) from error
        made = Path(folder) / "instances/nixoci-benchmark"
        try:
            made.mkdir()
            try:
                (made / "trace_clock").write_text("mono", encoding="ascii")
                (made / "buffer_size_kb").write_text(str(_BUFFER_KB), encoding="ascii")
                for event in _EVENTS:
                    (made / "events" / event / "enable").write_text("1", encoding="ascii")
                (made / "tracing_on").write_text("0", encoding="ascii")
                yield made
            finally:
                made.rmdir()
        finally:
            subprocess.run(["umount", folder], check=True)


@contextmanager
def traced(tracer: Path, leader: int) -> Iterator[list[Event]]:
    """Yield a list that gets the events of `leader` and of all processes below it, once the block has ended."""
    events: list[Event] = []
    (tracer / "trace").write_text("", encoding="ascii")
    (tracer / "tracing_on").write_text("1", encoding="ascii")
    try:
        yield events
    finally:
        (tracer / "tracing_on").write_text("0", encoding="ascii")
        events += read_trace((tracer / "trace").read_text(encoding="utf-8", errors="replace"), leader)


def read_trace(text: str, leader: int) -> list[Event]:
    """Read the tracer's text: the events of the process `leader`, and of those that it and its children start."""
    programs = {leader: "systemd"}
    events = []
    for line in _LINE.finditer(text):
        pid, time, event = int(line["pid"]), float(line["time"]), line["event"]
        if pid not in programs:
            continue
        if event == "sched_process_fork" and (child := _CHILD.search(line["text"])):
            programs[int(child[1])] = programs[pid]
        elif event == "sched_process_exec" and (file := _FILE.search(line["text"])):
            programs[pid] = Path(file[1]).name
            events.append(Event(time, pid, "exec", programs[pid]))
        elif event == "sched_process_exit":
            events.append(Event(time, pid, "exit", programs.pop(pid)))
        elif event.startswith("sys_"):
            events.append(Event(time, pid, "mount", programs[pid]))
    return events
