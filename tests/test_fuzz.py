"""A few random inputs of each target; `python -m tests.fuzz` runs them for as long as it is let."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tests.fuzz.run import Input, run
from tests.fuzz.step import Step
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_each_input_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    inputs = [Input(target=target, seed=1, number=number) for number in range(2) for target in TARGETS]
    faults = [fault for fault in run(inputs, keep=tmp_path) if fault is not None]
    assert faults == []


def test_a_module_that_a_step_loads_first_is_not_compiled_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loaded_by_a_step.py").write_text("loaded = True\n", encoding="ascii")
    monkeypatch.syspath_prepend(str(tmp_path))

    def load() -> None:
        importlib.import_module("loaded_by_a_step")

    monkeypatch.setitem(TARGETS, "load", lambda _random, _folder: [Step(run=load)])
    assert list(run([Input(target="load", seed=1, number=0)], keep=tmp_path)) == [None]
