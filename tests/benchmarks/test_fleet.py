"""The model of a fleet: what its assumptions say for fleets that can be counted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.fleet import CADENCES, DAYS, FLEETS, OVERHEAD, main, simulate

if TYPE_CHECKING:
    from benchmarks.fleet import Traffic

LAYERS, DELTA = 1_000_000, 10_000


def traffic(*, days: int = 1, missed: float = 0.0, bases: int = 3, delta: int = DELTA) -> Traffic:
    return simulate(layers=LAYERS, delta=delta, days_between=days, missed=missed, bases=bases)


@pytest.mark.parametrize("days", CADENCES.values())
def test_machines_that_miss_nothing_fetch_one_delta_a_release(days: int) -> None:
    found = traffic(days=days)
    releases = DAYS // days
    assert found.without == pytest.approx(releases * LAYERS / DAYS)
    assert found.with_deltas == pytest.approx(releases * (DELTA + OVERHEAD) / DAYS)


def test_those_who_are_behind_fetch_more_and_those_far_behind_all() -> None:
    """In the long run, of the machines that come a part of `missed` to the power of n has missed n releases."""
    missed = 0.5
    found = traffic(missed=missed, bases=2)
    share = [(1 - missed) * missed**count for count in range(200)]
    expected = share[0] * DELTA + share[1] * 2 * DELTA + sum(share[2:]) * LAYERS + OVERHEAD
    assert found.without == pytest.approx((1 - missed) * LAYERS)
    assert found.with_deltas == pytest.approx((1 - missed) * expected, rel=0.01)
    assert traffic(missed=missed, bases=9).with_deltas < found.with_deltas


def test_a_delta_is_never_more_than_the_layers() -> None:
    found = traffic(missed=0.5, delta=LAYERS // 2)
    assert found.with_deltas <= found.without + OVERHEAD
    assert found.kept == LAYERS // 2 + 2 * LAYERS


def test_a_table_of_the_recorded_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    text = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 2 * len(CADENCES)
    for row in rows[2:]:
        assert len(row) == 2 + len(FLEETS)
        assert row[-1] == "1.000" if row[0].endswith("layers") else 0 < float(row[-1]) < 0.1
    main([])
    assert capsys.readouterr().out == text
