"""Benchmarks run on the test host, and end with a table of ratios and peak memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.host.conftest import images, machine

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["images", "machine", "record", "report"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a way of doing the job took: seconds on the clock and of processors, bytes of memory at its peak."""

    seconds: float
    cpu: float
    peak: int


_LINES = pytest.StashKey[list[str]]()
_ROWS = pytest.StashKey[list[tuple[str, Cost]]]()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, Cost], None]:
    """Put a row into the table; the first is what the others are compared with."""
    rows = request.config.stash.setdefault(_ROWS, [])
    return lambda name, cost: rows.append((name, cost))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Write a line at the end, for what is not a row of that table."""
    return request.config.stash.setdefault(_LINES, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_LINES, []):
        terminalreporter.section("times")
        for line in lines:
            terminalreporter.write_line(line)
    rows = config.stash.get(_ROWS, [])
    if not rows:
        return
    base = rows[0][1]
    terminalreporter.section("ratios")
    terminalreporter.write_line(f"{'':26} {'seconds':>9} {'ratio':>7} {'cpu s':>9} {'ratio':>7} {'peak MB':>9}")
    for name, cost in rows:
        wall, cpu = cost.seconds / base.seconds, cost.cpu / base.cpu
        terminalreporter.write_line(
            f"{name:26} {cost.seconds:9.2f} {wall:7.2f} {cost.cpu:9.2f} {cpu:7.2f} {cost.peak / 1e6:9.0f}"
        )
