"""Runs of the tests that are killed, and what is left of their machines."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.host import cgroups
from tests.host.cache import cache_dir
from tests.host.python import CHECKOUT

RUN = """
import json, os, subprocess, time
from pathlib import Path
from tests.host.machine import Machine

def test_that_does_not_end():
    with Machine() as machine, subprocess.Popen(machine.command(["sleep", "3600"])):
        started = Path(os.environ["STARTED"])
        started.with_suffix(".new").write_text(json.dumps([os.getpid(), machine.name]))
        started.with_suffix(".new").rename(started)
        time.sleep(3600)
"""


def descendants(process: int) -> list[int]:
    """Return the ids of a process and of all below it, without those that end meanwhile."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [process, *(below for child in children for below in descendants(int(child)))]


def handles(processes: list[int]) -> list[int]:
    """Return a handle of each process that has not ended meanwhile."""
    found = []
    for process in processes:
        with suppress(ProcessLookupError):
            found.append(os.pidfd_open(process))
    return found


@pytest.mark.parametrize("killed", ["run", "worker"])
def test_nothing_is_left_of_a_run_that_is_killed(tmp_path: Path, killed: str) -> None:
    started, file = tmp_path / "started", tmp_path / "test_run.py"
    file.write_text(RUN, encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider", str(file)]
    env = os.environ | {"STARTED": str(started)}
    with subprocess.Popen(run, cwd=CHECKOUT, env=env, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        processes: list[int] = []
        try:
            while not started.exists():
                assert process.poll() is None
                time.sleep(0.05)
            worker, name = json.loads(started.read_text(encoding="utf-8"))
            left = [cache_dir() / "machines" / name, *(tree / name for tree in cgroups.roots())]
            assert all(path.exists() for path in left)
            below = {"run": process.pid, "worker": worker}[killed]
            processes = handles(descendants(below))
            assert len(processes) > 5  # with those of the machine
            if killed == "run":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(worker, signal.SIGKILL)
            deadline = time.monotonic() + 60
            for handle in processes:  # readable when it has ended
                assert select.select([handle], [], [], max(0, deadline - time.monotonic()))[0]
            while left := [path for path in left if path.exists()]:
                assert time.monotonic() < deadline, left
                time.sleep(0.05)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for handle in processes:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                os.close(handle)
