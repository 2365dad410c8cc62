from __future__ import annotations

import os
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.host import cgroups

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def prefix() -> Iterator[str]:
    """The prefix of the names of this test's groups."""
    yield (name := f"nixoci-test-{uuid.uuid4().hex}-")
    for tree in cgroups.roots():
        for group in tree.glob(f"{name}*"):
            cgroups.remove(group)


def make(prefix: str, name: str, *, old: bool) -> Path:
    """Make a group with one below, made now or long ago; return the latter."""
    group = cgroups.roots()[0] / f"{prefix}{name}"
    below = group / "init.scope/below"
    below.mkdir(parents=True)
    if old:
        os.utime(group, (1, 1))
    return below


def test_groups_that_a_killed_machine_left_are_removed_and_no_others(prefix: str) -> None:
    left, starting, running = (make(prefix, name, old=name != "starting") for name in ("left", "starting", "running"))
    with subprocess.Popen(["sleep", "60"]) as process:
        (running / "cgroup.procs").write_text(str(process.pid), encoding="ascii")
        cgroups.sweep(prefix)
        found = {path.parents[1].name.removeprefix(prefix) for path in (left, starting, running) if path.exists()}
        process.kill()
    assert found == {"starting", "running"}
    assert not left.parents[1].exists()
