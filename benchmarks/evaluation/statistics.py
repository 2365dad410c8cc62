"""Medians and their confidence intervals, by order statistics, and comparisons of paired samples.

The interval of a median needs no model of the noise and no random numbers: of independent samples the number that lie
below the true median is binomial. From six samples on, the interval holds the median with at least 95 %. Fewer samples
have their whole range.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, log, sqrt
from statistics import mean, median, variance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CONFIDENCE = 0.95
ENOUGH = 6
"""The number of samples from which on an interval holds the median with that confidence."""

SMALLEST_CHANGE = 0.01
"""Changes from run to run that are smaller are not reported."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median, and the interval that holds it with the confidence above."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Tell whether a value is within the interval."""
        return self.low <= value <= self.high

    def overlaps(self, other: Estimate) -> bool:
        """Tell whether two intervals have a value in common."""
        return self.low <= other.high and other.low <= self.high


def estimate(samples: Sequence[float]) -> Estimate:
    """Return the median of at least one sample, and its interval."""
    ordered = sorted(samples)
    skipped = _skipped(len(ordered))
    return Estimate(median(ordered), ordered[skipped], ordered[-1 - skipped])


def _skipped(count: int) -> int:
    """Return the number of samples at each end that lie outside of the interval."""
    outside, skipped = 0.0, 0
    # the median lies below the k-th smallest sample if fewer than k samples lie below the median
    while skipped < (count - 1) // 2:
        outside += comb(count, skipped) / 2**count
        if 1 - 2 * (outside + comb(count, skipped + 1) / 2**count) < CONFIDENCE:
            break
        skipped += 1
    return skipped


def ratio(samples: Sequence[float], base: Sequence[float]) -> Estimate:
    """Return the median of the ratios of paired samples, and its interval.

    Both must have the same number of samples. Without noise, one of each is enough.
    """
    return estimate([ours / theirs for ours, theirs in zip(samples, base, strict=True)])


def noise(figures: Iterable[Sequence[float]]) -> float:
    """Return the relative standard deviation of a sample, pooled over figures of one kind, each with all its samples.

    Two samples of a figure tell little of how much it varies; all figures of a table do. It is 0 if none has two.
    """
    several = [[log(sample) for sample in samples] for samples in figures if len(samples) > 1 and min(samples) > 0]
    return sqrt(mean(variance(samples) for samples in several)) if several else 0.0


def moved(now: Sequence[float], before: Sequence[float], noise: float = 0.0) -> bool:
    """Tell whether a figure differs from that of an earlier run by more than the spread of both, and by one percent.

    The intervals of two samples are apart by chance in one case of three; so the change must also be more than three
    times what the noise of such figures, a relative standard deviation, makes of that many samples.
    """
    current, former = estimate(now), estimate(before)
    if current.overlaps(former) or abs(current.value - former.value) <= SMALLEST_CHANGE * abs(former.value):
        return False
    if min(current.value, former.value) <= 0:
        return True
    return abs(log(current.value / former.value)) > 3 * noise * sqrt(1 / len(now) + 1 / len(before))
