"""Weight distributions: mass, moments, atoms, samples, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from gossamer.associative.theory import WeightDistribution, capacity, weight_distribution
from gossamer.errors import InputError

CASES: list[dict[str, Any]] = [
    {},
    {"density": 0.2},
    {"gap": 2.0},
    {"gap": 2.0, "inhibitory": 0.2},
    {"density": 0.2, "f_in": [0.2, 0.3, 0.5], "threshold": 0.1},
    {"gap": 1.5, "f_in": [0.2, 0.5], "signs": [1, -1], "threshold": 0.02, "f_out": 0.3},
]


def edges(law: WeightDistribution) -> list[float]:
    """Where the density jumps, and ends beyond which nothing is left."""
    places = [0.0, -60.0, 60.0, *(law.sign * law.cut / law.rate)]
    return sorted(set(map(float, places)))


@pytest.mark.parametrize("case", CASES)
def test_mass_and_moments(case: dict[str, Any]) -> None:
    solution = capacity(0.3, **case)
    law = weight_distribution(solution)
    place, mass = law.atoms

    def total(power: int) -> float:
        parts = [
            quad(lambda w: w**power * float(law.pdf(w)), low, high, limit=200, epsabs=1e-11)[0]
            for low, high in pairwise(edges(law))
        ]
        return float(sum(parts) + (place**power * mass).sum())

    assert total(0) == pytest.approx(1, abs=1e-8)
    assert total(1) == pytest.approx(law.mean, abs=1e-7)
    assert total(2) == pytest.approx(law.mean_square, rel=1e-7)
    assert law.mean_magnitude == pytest.approx(1, rel=1e-9)
    assert law.density == pytest.approx(float(solution.density), rel=1e-9)
    if solution.f.shape == (1,):  # homogeneous: ⟨f J̃⟩ = h̃ and q = σ² E J̃²
        f = float(solution.f[0])
        assert f * law.mean == pytest.approx(float(solution.threshold), abs=1e-9)
        assert f * (1 - f) * law.mean_square == pytest.approx(float(solution.variance), rel=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_cumulative_and_samples(case: dict[str, Any]) -> None:
    law = weight_distribution(capacity(0.3, **case))
    points = np.array([-60, -3, -2.001, -1.2, -1e-9, 0, 0.5, 1.2, 2.001, 3, 60])
    for low, high in pairwise(points):
        inner = [low, *[e for e in edges(law) if low < e < high], high]
        area = sum(quad(lambda w: float(law.pdf(w)), a, b, epsabs=1e-11)[0] for a, b in pairwise(inner))
        place, mass = law.atoms
        area += mass[(place > low) & (place <= high)].sum()
        assert law.cdf(high) - law.cdf(low) == pytest.approx(area, abs=1e-8)
    assert law.cdf([-60, 60]) == pytest.approx([0, 1], abs=1e-9)
    sample = law.rvs(40_000, np.random.default_rng(0))
    assert (sample[:, None] <= points).mean(0) == pytest.approx(law.cdf(points), abs=0.01)
    assert (sample == 0).mean() == pytest.approx(law.zero, abs=0.01)
    assert np.array_equal(sample, law.rvs(40_000, np.random.default_rng(0)))


def test_no_weak_weights() -> None:
    solution = capacity(0.3, density=0.2)
    law = weight_distribution(solution)
    least = float(solution.cut / (0.5 * solution.Q))
    assert (law.pdf([0.99 * least, -0.99 * least]) == 0).all()
    assert (law.pdf([1.01 * least, -1.01 * least]) > 0).all()
    gap = weight_distribution(capacity(0.3, gap=2.0))
    assert gap.atoms[0].tolist() == [-2.0, 0.0, 2.0]
    assert (gap.pdf([1.99, -1.99]) == 0).all()


def test_one_sign() -> None:
    solution = capacity(0.3, inhibitory=0.2)
    both, plus, minus = (weight_distribution(solution, sign=sign) for sign in (None, 1, -1))
    assert both.zero == pytest.approx(0.8 * plus.zero + 0.2 * minus.zero)
    assert both.mean == pytest.approx(0.8 * plus.mean + 0.2 * minus.mean, abs=1e-12)
    assert plus.cdf(-1e-12) == 0
    assert minus.cdf(0) == pytest.approx(1)
    assert plus.density < 0.5 < minus.density  # excitatory below one half, inhibitory above


def test_bad_input() -> None:
    curve = capacity([0.1, 0.2])
    with pytest.raises(InputError, match=r"solution must be of one point, got a curve of shape \(2,\)"):
        weight_distribution(curve)
    with pytest.raises(InputError, match="sign must be None, or −1 or 1 with a solution that has signs, got 1"):
        weight_distribution(curve[0], sign=1)
    with pytest.raises(InputError, match="sign must be that of some inputs, got -1"):
        weight_distribution(capacity(0.1, f_in=[0.2, 0.4], signs=[1, 1], threshold=0.3), sign=-1)
