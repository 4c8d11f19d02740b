"""Jacobians against differences; averages over the targets; moments that meet where constraints do."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.associative.theory.equations import System
from gossamer.associative.theory.moments import gap_moments, l0_moments
from gossamer.associative.theory.outputs import balance, outputs
from gossamer.associative.theory.special import E, F


@pytest.mark.parametrize("by_load", [False, True])
@pytest.mark.parametrize("l0", [False, True])
def test_jacobian(by_load: bool, l0: bool) -> None:
    rng = np.random.default_rng(0)
    share = rng.uniform(0.05, 0.3, (4, 3, 2))
    system = System(
        f=rng.uniform(0.1, 0.9, (4, 3)),
        share=share,
        threshold=rng.uniform(-0.1, 0.1, 4),
        f_out=rng.uniform(0.2, 0.8, 4),
        target=np.full(4, 0.3),
        by_load=by_load,
        density=np.log(np.full(4, 0.3)) if l0 else None,
        gap=np.zeros(4) if l0 else np.array([0.0, 0.5, 1.0, 3.0]),
    )
    x = rng.normal(0, 0.4, (4, system.size))
    x[:, 4] = np.abs(x[:, 4])
    _, jacobian = system.residuals(x)
    for i in range(system.size):
        step = np.zeros(system.size)
        step[i] = 1e-6
        difference = (system.residuals(x + step)[0] - system.residuals(x - step)[0]) / 2e-6
        assert jacobian[:, :, i] == pytest.approx(difference, rel=1e-6, abs=1e-7)


def test_targets_are_balanced() -> None:
    U, f_out = np.array([0.0, 0.0, 0.3, 2.0, 10.0, 30.0]), np.array([0.5, 1e-6, 0.2, 0.99, 0.999, 0.5])
    plus, minus = balance(U, f_out)
    assert plus + minus == pytest.approx(U, abs=1e-14)
    assert f_out * F(minus) == pytest.approx((1 - f_out) * F(plus), rel=1e-12)
    found = outputs(U, f_out)
    assert found.margin == pytest.approx(f_out * E(minus) + (1 - f_out) * E(plus), rel=1e-13)
    assert found.log_ratio[0] == pytest.approx(np.log(2.0), rel=1e-13)  # Ē = D̄ = ½


def test_l0_without_a_cut_and_no_gap_are_l1() -> None:
    a, zero = np.linspace(-4, 2, 7), np.zeros(7)
    for ours, theirs in zip(l0_moments(a, zero)[0], gap_moments(a, zero)[0], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-15)
