"""The statements about podman's tools on the page of the evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.evaluation.limits import PROBES, binds, measure_probes
from benchmarks.evaluation.parts import Lab

if TYPE_CHECKING:
    from benchmarks.evaluation.statements import Probe


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], bool]:
    with Lab(binds=binds) as lab:
        return {(row.subject, row.variant): row.samples == (1.0,) for row in measure_probes(lab)}


@pytest.mark.parametrize(
    "probe", [probe for probe in PROBES if not probe.long], ids=lambda probe: f"{probe.about}: {probe.says}"
)
def test_a_statement_is_true(answers: dict[tuple[str, str], bool], probe: Probe) -> None:
    assert answers[probe.about, probe.says]
