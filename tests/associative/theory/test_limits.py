"""Closed forms of limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from gossamer.associative.theory import balanced_l1, dilution, l2_capacity, without_robustness
from gossamer.errors import InputError


def test_gardner() -> None:
    k = np.array([0.0, 0.5, 1.0, 2.0])
    assert l2_capacity(k) == pytest.approx([2, 0.96121, 0.51957, 0.20023], abs=1e-5)
    for kappa in k:
        integral, _ = quad(lambda z, k=kappa: np.exp(-z * z / 2) * (z + k) ** 2, -kappa, 12)
        assert float(l2_capacity(kappa)) == pytest.approx(np.sqrt(2 * np.pi) / integral, rel=1e-8)
    assert l2_capacity(k, balanced_signs=True) == pytest.approx(l2_capacity(k) / 2, rel=1e-12)
    assert l2_capacity(0.0, density=0.5) == pytest.approx(1.85735, abs=1e-5)


def test_the_mean_of_the_outputs_is_optimal() -> None:
    """min over M of E[(κ − s M + g)₊²], on a grid."""
    from gossamer.associative.theory.special import D

    kappa, f_out = 0.4, 0.2
    M = np.linspace(-5, 5, 200_001)
    least = (f_out * D((kappa - M) / np.sqrt(2)) + (1 - f_out) * D((kappa + M) / np.sqrt(2))).min()
    assert float(l2_capacity(kappa, f_out=f_out)) == pytest.approx(1 / least, rel=1e-8)


def test_dilution() -> None:
    g = np.random.default_rng(0).normal(size=400_000)
    for p in (0.05, 0.5, 0.9):
        large = np.sort(g * g)[::-1][: int(p * len(g))]
        assert float(dilution(p)) == pytest.approx(large.sum() / len(g), rel=0.01)
    assert float(dilution(1.0)) == 1


def test_bad_input() -> None:
    for a in (0.0, 0.1, -5.1, float("nan")):
        with pytest.raises(InputError, match=r"a must be in \[-5, 0\)"):
            balanced_l1(a)
    with pytest.raises(InputError, match="exclude each other"):
        without_robustness(density=0.5, inhibitory=0.5)
    with pytest.raises(InputError, match="exclude each other"):
        l2_capacity(0.5, density=0.5, balanced_signs=True)
    with pytest.raises(InputError, match=r"robustness must be in \[0, inf\), got -1"):
        l2_capacity(-1)
    with pytest.raises(InputError, match=r"inhibitory must be in \(0, 1\), got 0"):
        without_robustness(inhibitory=0.0)
