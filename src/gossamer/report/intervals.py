"""Intervals of an accuracy, and of the difference of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "mean_interval", "newcombe", "wilson"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval around ``center`` and the ``method`` that made it."""

    low: float
    center: float
    high: float
    method: str

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of n ≥ 2 values with its t interval."""
    from scipy.special import stdtrit

    n = len(values)
    center = float(np.mean(values))
    half = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(center - half, center, center + half, f"t interval over {n} seeds")


def wilson(correct: int, n: int) -> Interval:
    """The share ``correct / n`` with Wilson's interval."""
    from scipy.stats import binomtest

    p = correct / n
    low, high = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return Interval(min(float(low), p), p, max(float(high), p), "Wilson interval")  # p lies inside but for rounding


def newcombe(correct: int, other: int, n: int) -> Interval:
    """The difference ``correct / n - other / n`` with Newcombe's interval, which SciPy does not have."""
    one, two = wilson(correct, n), wilson(other, n)
    d = one.center - two.center
    low = d - math.hypot(one.center - one.low, two.high - two.center)
    high = d + math.hypot(one.high - one.center, two.center - two.low)
    return Interval(low, d, high, "Newcombe interval")
