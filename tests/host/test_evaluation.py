"""The statements about podman's tools on the page of the evaluation."""

from __future__ import annotations

import pytest

from benchmarks.evaluation.limits import PROBES, measure_probes
from benchmarks.evaluation.parts import Lab


@pytest.fixture(scope="module")
def answers() -> dict[str, bool]:
    with Lab() as lab:
        return {row.variant: row.samples == (1.0,) for row in measure_probes(lab)}


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: f"{probe.about}: {probe.says}")
def test_a_statement_is_true(answers: dict[str, bool], probe: object) -> None:
    assert answers[getattr(probe, "says", "")]
