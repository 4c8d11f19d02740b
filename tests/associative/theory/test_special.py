"""The Gaussian functions against 30-digit values, their derivatives, and the two forms where they meet."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from gossamer.associative.theory.special import D, E, F, bell, log_F, tail_quantile, upper_tail


@pytest.mark.parametrize("x", [-3.0, -0.4, 0.0, 1.3])
def test_they_are_moments_of_a_gaussian(x: float) -> None:
    def moment(power: int) -> float:
        shift = np.sqrt(2) * x
        value, _ = quad(lambda t: t**power * np.exp(-((t - shift) ** 2) / 2), 0, max(shift, 0) + 12, epsabs=1e-15)
        return float(value / np.sqrt(2 * np.pi))

    assert E(x) == pytest.approx(moment(0), rel=1e-8)
    assert F(x) == pytest.approx(np.sqrt(2) * moment(1), rel=1e-8)
    assert D(x) == pytest.approx(moment(2), rel=1e-8)


def test_the_far_tail_keeps_its_digits() -> None:
    # iⁿerfc(z) = (2/√π) exp(−z²)/(2z)^(n+1) · (1 − (n+1)(n+2)/(2z)² + (n+1)…(n+4)/(2 (2z)⁴) − …)
    z = 20.0
    w = 1 / (2 * z) ** 2
    first = 1 - 6 * w + 60 * w**2 - 840 * w**3 + 15120 * w**4 - 332640 * w**5
    second = 1 - 12 * w + 180 * w**2 - 3360 * w**3 + 75600 * w**4 - 1995840 * w**5
    scale = 2 / np.sqrt(np.pi) * np.exp(-z * z)
    assert F(-z) == pytest.approx(scale * first / (2 * z) ** 2, rel=1e-12)
    assert D(-z) == pytest.approx(2 * scale * second / (2 * (2 * z) ** 3) * 1, rel=1e-12)
    assert log_F(-z) == pytest.approx(np.log(F(-z)), rel=1e-13)
    assert np.isfinite(log_F(-1e3))
    for function in (F, D):  # no step where the forms meet
        before, after = np.log(function(-6 + 1e-9)), np.log(function(-6 - 1e-9))
        slope = (np.log(function(-6 + 1e-4)) - np.log(function(-6 - 1e-4))) / 2e-4
        assert before - after == pytest.approx(2e-9 * slope, abs=2e-12)


def test_derivatives() -> None:
    x, step = np.linspace(-8, 1, 37), 1e-5
    for function, slope in ((E, bell(x)), (F, 2 * E(x)), (D, 2 * F(x))):
        assert (function(x + step) - function(x - step)) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_quantile_of_the_two_sided_tail() -> None:
    p = np.array([1e-9, 0.01, 0.3, 1.0])
    assert 2 * upper_tail(tail_quantile(p)) == pytest.approx(p, rel=1e-12)
