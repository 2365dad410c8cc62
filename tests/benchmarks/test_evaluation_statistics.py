"""Medians, their intervals and the comparison of runs."""

from __future__ import annotations

from math import comb
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.evaluation.statistics import CONFIDENCE, estimate, moved, ratio

SAMPLES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(1, 1, 1), (2, 1, 2), (5, 1, 5), (6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (20, 6, 15), (30, 10, 21)],
)
def test_the_interval_is_that_of_tables_of_the_sign_test(count: int, low: int, high: int) -> None:
    found = estimate(range(1, count + 1))
    assert (found.low, found.high) == (low, high)


@given(st.integers(6, 200))
def test_from_six_samples_on_the_interval_is_the_shortest_that_is_wide_enough(count: int) -> None:
    found = estimate(range(count))
    outside = int(found.low)

    def coverage(skipped: int) -> float:
        return 1 - 2 * float(sum(comb(count, below) for below in range(skipped + 1))) / 2.0**count

    assert coverage(outside) >= CONFIDENCE > coverage(outside + 1)


@given(SAMPLES)
def test_an_estimate_is_the_median_within_its_interval(samples: list[float]) -> None:
    found = estimate(samples)
    assert found.value == median(samples)
    assert min(samples) <= found.low <= found.value <= found.high <= max(samples)


def test_a_ratio_is_of_pairs_and_not_of_medians() -> None:
    # each pair doubles, while the load between pairs differs tenfold
    base = [1.0, 10.0, 3.0, 7.0, 2.0, 5.0]
    found = ratio([2 * sample for sample in base], base)
    assert (found.low, found.value, found.high) == (2.0, 2.0, 2.0)


def test_pairs_must_be_complete() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratio([1.0], [1.0, 2.0])


def test_a_difference_within_the_spread_has_not_moved() -> None:
    assert not moved([1.0, 1.2, 1.4], [1.3, 1.5, 1.7])
    assert moved([1.0, 1.2, 1.4], [1.5, 1.7, 1.9])


def test_a_count_has_moved_by_more_than_a_percent() -> None:
    assert not moved([1009], [1000])
    assert moved([1011], [1000])
