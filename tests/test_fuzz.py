"""A few random inputs of each target; `python -m tests.fuzz` runs them for as long as it is let."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.run import Input, run
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path


def test_each_input_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    inputs = [Input(target=target, seed=1, number=number) for number in range(2) for target in TARGETS]
    faults = [fault for fault in run(inputs, keep=tmp_path) if fault is not None]
    assert faults == []
