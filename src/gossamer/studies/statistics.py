"""Which of several methods is better, judged over seeds or over data sets.

**Two methods, paired over seeds** (`paired`): with d_s = a_s − b_s, the mean of d with its t interval, Student's paired
t-test, and Wilcoxon's signed-rank test (F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin
1, 1945). The p of the latter is exact, also with ties: zero differences are left out, the others' absolute values get
ranks (ties their mean), and under the hypothesis of no difference each of the 2ⁿ assignments of signs is equally
likely; p is the share of those whose rank sum W⁺ is at least as far from its mean as the observed one. With n pairs it
can't be less than 2^(1−n).

**Several comparisons at once** (`holm`): S. Holm, "A simple sequentially rejective multiple test procedure",
Scandinavian Journal of Statistics 6, 1979. With p sorted ascending, p̃₍ᵢ₎ = max over j ≤ i of min(1, (m − j + 1) p₍ⱼ₎).

**Several methods over data sets** (`friedman`): J. Demšar, "Statistical comparisons of classifiers over multiple data
sets", JMLR 7, 2006. Within each of N blocks the k methods are ranked, 1 for the best; Friedman's χ² tests whether the
average ranks differ, F is its correction by Iman & Davenport, F = (N − 1) χ² / (N (k − 1) − χ²), with k − 1 and
(k − 1)(N − 1) degrees of freedom. Two average ranks differ by more than chance (Nemenyi's test, all pairs at once) if
they are further apart than the critical difference q_α √(k (k + 1) / 6N), where q_α is the quantile 1 − α of the
studentized range of k with infinitely many degrees of freedom, divided by √2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import InputError, check_fraction
from gossamer.report.intervals import Interval, mean_interval

__all__ = ["Friedman", "Gain", "Interval", "Paired", "friedman", "gains", "holm", "mean_interval", "paired"]


@dataclass(frozen=True)
class Paired:
    """The difference a − b over ``n`` pairs: its mean with the 95 % interval, and the two-sided p of both tests."""

    n: int
    difference: Interval
    t_p: float
    wilcoxon_p: float


def paired(a: ArrayLike, b: ArrayLike) -> Paired:
    """Compare two methods by their scores (n,) for the same seeds in the same order, n ≥ 2.

    Where all differences are equal the t-test has no spread to judge by: its p is 1 for no difference, else 0, and
    Wilcoxon's is the one to look at.
    """
    from scipy.stats import ttest_rel

    first, second = _scores("a", a, 1), _scores("b", b, 1)
    if first.shape != second.shape or len(first) < 2:
        raise InputError(f"a and b must have equal length of at least 2, got {len(first)} and {len(second)}")
    d = first - second
    interval, spread = mean_interval(d.tolist()), float(np.std(d, ddof=1)) / math.sqrt(len(d))
    if spread <= 1e-12 * float(np.abs(d).max()):  # equal up to rounding
        t_p = 1.0 if interval.center == 0 else 0.0
    else:
        t_p = float(ttest_rel(first, second).pvalue)
    return Paired(len(d), interval, t_p, _signed_rank_p(d))


def _signed_rank_p(d: NDArray[np.float64]) -> float:
    """Exact two-sided p, by counting sign assignments; SciPy's exact method does not account for ties."""
    from scipy.stats import rankdata

    d = d[d != 0]
    if not len(d):
        return 1.0
    size = np.round(np.abs(d), 12)  # differences that are equal up to rounding are ties
    twice = np.rint(2 * rankdata(size)).astype(int)  # mean ranks are halves
    ways = np.ones(1)
    for rank in twice:
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways
        longer[rank:] += ways
        ways = longer
    middle = twice.sum() / 2
    far = np.abs(np.arange(len(ways)) - middle) >= abs(twice[d > 0].sum() - middle)
    return float(ways[far].sum() / ways.sum())


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p, in the order given: comparison i is significant at α, all errors together, if it is at most α.

    Six lines of our own, since SciPy adjusts by the false discovery rate alone and statsmodels is a large dependency.
    """
    for value in p:
        check_fraction("p", value)
    adjusted, worst = [0.0] * len(p), 0.0
    for place, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = worst
    return adjusted


@dataclass(frozen=True)
class Gain:
    """How much better a method is than another over data sets: the mean, how often it wins and loses, adjusted p."""

    mean: float
    won: int
    lost: int
    p: float


def gains(pairs: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> dict[str, Gain]:
    """Compute the gain of the first over the second of each pair of scores (n,), one score for each data set.

    The p of Wilcoxon's test over the data sets is adjusted by `holm` for all pairs together; it is 1 where n = 1.
    """
    differences = {name: _scores("a", a, 1) - _scores("b", b, 1) for name, (a, b) in pairs.items()}
    adjusted = holm([_signed_rank_p(d) for d in differences.values()])
    return {
        name: Gain(float(d.mean()), int((d > 0).sum()), int((d < 0).sum()), p)
        for (name, d), p in zip(differences.items(), adjusted, strict=True)
    }


@dataclass(frozen=True)
class Friedman:
    """Average ranks (1 is best) in the order of the methods, the test of equality, and the critical difference.

    ``p`` belongs to ``f``, ``chi2_p`` to ``chi2``.
    """

    blocks: int
    ranks: tuple[float, ...]
    chi2: float
    chi2_p: float
    f: float
    p: float
    critical_difference: float


def friedman(scores: ArrayLike, *, alpha: float = 0.05) -> Friedman:
    """Compare k ≥ 2 methods over N ≥ 2 blocks by ``scores`` (N, k), the higher the better."""
    from scipy.special import chdtrc, fdtrc
    from scipy.stats import rankdata, studentized_range

    table = _scores("scores", scores, 2)
    check_fraction("alpha", alpha, open_low=True, open_high=True)
    n, k = table.shape
    if n < 2 or k < 2:
        raise InputError(f"scores must have at least 2 blocks and 2 methods, got shape {table.shape}")
    ranks = rankdata(-table, axis=1)
    average = ranks.mean(axis=0)
    # (k + 1) / 2 in every block without an effect; the denominator is k (k + 1) / 12 without ties
    between = n * float(((average - (k + 1) / 2) ** 2).sum())
    within = float(((ranks - (k + 1) / 2) ** 2).sum()) / (n * (k - 1))
    chi2 = between / within if within else 0.0
    left = n * (k - 1) - chi2
    f = (n - 1) * chi2 / left if left > 1e-9 else math.inf
    quantile = float(studentized_range.ppf(1 - alpha, k, math.inf)) / math.sqrt(2)
    return Friedman(
        blocks=n,
        ranks=tuple(average.tolist()),
        chi2=chi2,
        chi2_p=float(chdtrc(k - 1, chi2)),
        f=f,
        p=float(fdtrc(k - 1, (k - 1) * (n - 1), f)) if math.isfinite(f) else 0.0,
        critical_difference=quantile * math.sqrt(k * (k + 1) / (6 * n)),
    )


def _scores(name: str, values: ArrayLike, dimensions: int) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != dimensions or not np.isfinite(found).all():
        raise InputError(f"{name} must be finite numbers in {dimensions} dimension{'s' * (dimensions > 1)}")
    return found
