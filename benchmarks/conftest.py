"""Benchmarks run on the test host, and end with a table of ratios and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.delta_report import merge, table
from benchmarks.peers import packages
from tests.host.conftest import images, machine
from tests.host.python import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.delta_report import Figures
    from benchmarks.figures import Row

__all__ = ["images", "machine", "record_delta", "report"]

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Write a line below the table."""
    return request.config.stash.setdefault(_LINES, []).append


_DELTAS = pytest.StashKey["Figures"]()


@pytest.fixture
def record_delta(request: pytest.FixtureRequest) -> Callable[[str, list[Row]], None]:
    """Put the output of delta_driver.py for a pair into the table."""
    return request.config.stash.setdefault(_DELTAS, {}).__setitem__


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--delta-json", type=Path, help="bench_delta.py adds its figures to this file, and draws them beside it"
    )
    parser.addoption(
        "--delta-rounds", type=int, default=3, help="how often bench_delta.py repeats what competes in time"
    )
    parser.addoption("--delta-only", action="append", default=[], help="measure the methods whose names start so")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_LINES, []):
        terminalreporter.section("times")
        for line in lines:
            terminalreporter.write_line(line)
    pairs = config.stash.get(_DELTAS, {})
    if pairs:
        terminalreporter.section("deltas: bytes, then seconds, processor seconds, peak MB and own MB of both ends")
    for name, rows in pairs.items():
        _show_pair(terminalreporter, name, rows)
    if pairs and config.option.delta_json:
        pairs = _keep(config.option.delta_json, pairs)
    if pairs:
        terminalreporter.section("deltas: all methods")
        terminalreporter.write(table(pairs))


def _keep(file: Path, pairs: Figures) -> Figures:
    """Add figures to those that a file has, write it and the picture beside it, and return all."""
    if file.exists():
        pairs = merge(json.loads(file.read_text(encoding="utf-8")), pairs)
    rows = [
        "".join((f"{json.dumps(pair)}: [\n", ",\n".join(map(json.dumps, found)), "\n]"))
        for pair, found in pairs.items()
    ]
    file.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": f"{packages('pictures')}:{CHECKOUT}"}
    draw = [sys.executable, "-m", "benchmarks.delta_picture", str(file), str(file.with_suffix(".svg"))]
    subprocess.run(draw, check=True, env=env)
    return pairs


def _show_pair(terminalreporter: pytest.TerminalReporter, name: str, rows: list[Row]) -> None:
    ends = "".join(f"{end:>8} {'cpu':>7} {'MB':>6} {'own':>6}" for end in ("send", "receive"))
    terminalreporter.write_line(f"{name:26} {'bytes':>10} {'ratio':>7} {ends}")
    ours = next((row["size"] for row in rows if row["method"] == "nixoci"), None)
    for row in rows:
        if "kinds" in row:
            parts = (f"{name} {files} ({size / 1e6:.1f} MB)" for name, (files, size) in row["kinds"].items())
            terminalreporter.write_line(f"  files that differ: {', '.join(parts)}")
            continue
        if "missing" in row:
            terminalreporter.write_line(f"  {row['method']:24} not measured: {row['missing']}")
            continue
        ratio = f"{row['size'] / ours:7.2f}" if ours else f"{'':7}"
        costs = "".join(
            f"{cost['seconds']:8.2f} {cost['cpu']:7.2f} {cost['peak'] / 1e6:6.0f} {cost['own'] / 1e6:6.0f}"
            for cost in (row["send"], row["receive"])
            if cost
        )
        terminalreporter.write_line(f"  {row['method']:24} {row['size']:10} {ratio} {costs}")
