"""The largest l2 margin: optimality, the theory's capacity, and states."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from gossamer.associative.solve import l2_weights
from gossamer.associative.theory import l2_capacity
from gossamer.errors import InputError


def test_optimal_by_its_multipliers() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(15, 30)), rng.random(15) < 0.5
    found = l2_weights(x, y)
    assert found.weights is not None
    assert np.mean(found.weights**2) == pytest.approx(1)
    fields = (2.0 * y - 1) * (x @ found.weights) / np.sqrt(30)
    assert fields.min() == pytest.approx(found.robustness)
    assert fields[found.tight] == pytest.approx(found.robustness)
    Z = ((2.0 * y - 1)[:, None] * x)[found.tight]
    price = np.linalg.lstsq(Z.T, found.weights, rcond=None)[0]  # J is a non-negative sum of the tight rows
    assert Z.T @ price == pytest.approx(found.weights)
    assert (price > 0).all()


def test_margins_meet_gardner() -> None:
    for kappa, within in ((0.5, 0.08), (1.0, 0.08)):
        m, found = round(200 * float(l2_capacity(kappa))), []
        for seed in range(5):
            rng = np.random.default_rng(seed)
            found.append(l2_weights(rng.choice([-1.0, 1.0], (m, 200)), rng.random(m) < 0.5))
        assert np.mean([one.robustness for one in found]) == pytest.approx(kappa, abs=within)
        assert np.mean([one.tight.mean() for one in found]) == pytest.approx(norm.cdf(kappa), abs=0.04)


def test_infeasible_is_a_state() -> None:
    found = l2_weights([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    assert found.weights is None
    assert np.isnan(found.robustness)
    assert not found.tight.any()


def test_bad_input() -> None:
    with pytest.raises(InputError, match="inputs must be a matrix"):
        l2_weights(np.empty((0, 3)), [])
    with pytest.raises(InputError, match="inputs must be a matrix"):
        l2_weights([[np.nan]], [1])
    with pytest.raises(InputError, match="targets must be 1 zeros and ones"):
        l2_weights([[1.0]], [2])
    with pytest.raises(InputError, match="targets must be 1 zeros and ones"):
        l2_weights([[1.0]], [1, 0])
