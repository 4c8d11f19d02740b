"""How sure an accuracy is, and the difference of two.

**Over seeds** s = 1..n the accuracy a_s is reported as its mean with the t interval
mean(a) ± t_{n-1, 0.975} · sd(a)/√n, which covers the randomness of training but not that of the test set. The
difference is paired: the same interval for d_s = a_s(sparse) - a_s(dense), whose twins share seed, split and epochs.

**With one seed**, or where all seeds agree and the t interval would shrink to nothing, only the test set is random:
c of n samples are right, p = c/n, and with z = 1.96 Wilson's interval
(E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927) is
(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n). The difference takes Newcombe's hybrid of two Wilson intervals
(R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17,
1998, method 10): from d - √((p₁-l₁)² + (u₂-p₂)²) to d + √((u₁-p₁)² + (p₂-l₂)²). It takes the two counts as independent;
twins see the same samples, so it is wider than need be rather than too narrow.
"""

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
