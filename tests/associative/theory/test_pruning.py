"""Errors after pruning: the table of the theory, and a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.associative.solve import l2_weights
from gossamer.associative.theory import capacity, l1_pruning_error, l2_capacity, l2_pruning_error
from gossamer.errors import InputError


def test_table() -> None:
    assert l2_pruning_error(0.5, [0.7, 0.5, 0.3]) == pytest.approx([0.0000, 0.0259, 0.1327], abs=5e-5)
    assert l1_pruning_error(capacity(0.3), [0.4, 0.3, 0.2]) == pytest.approx([0.0179, 0.0964, 0.1923], abs=5e-5)
    assert l1_pruning_error(capacity(0.5), [0.4, 0.3, 0.2]) == pytest.approx([0.0000, 0.0038, 0.0778], abs=5e-5)


def test_nothing_pruned_nothing_wrong() -> None:
    s = capacity(0.3)
    assert l1_pruning_error(s, float(s.density)) == pytest.approx(0, abs=1e-12)
    assert l2_pruning_error(0.5, 1.0) == 0
    assert float(l2_pruning_error(0.0, 1e-6)) == pytest.approx(0.5, abs=0.01)
    assert (np.diff(l2_pruning_error(0.5, np.linspace(0.05, 1, 20))) <= 1e-15).all()


def test_simulation() -> None:
    n, wrong = 200, []
    m = round(n * float(l2_capacity(0.5)))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, y = rng.choice([-1.0, 1.0], (m, n)), rng.random(m) < 0.5
        J = l2_weights(x, y).weights
        assert J is not None
        kept = np.where(np.abs(J) >= np.sort(np.abs(J))[int(0.7 * n)], J, 0)
        wrong.append(float((((x @ kept) > 0) != y).mean()))
    assert np.mean(wrong) == pytest.approx(float(l2_pruning_error(0.5, 0.3)), abs=0.03)


def test_bad_input() -> None:
    s = capacity(0.3)
    with pytest.raises(InputError, match=r"density must be in \(0, 0.68503\], got 0.7"):
        l1_pruning_error(s, 0.7)
    for other in (capacity(0.3, f_out=0.3), capacity(0.3, inhibitory=0.2), capacity(0.3, gap=1.0), capacity([0.3])):
        with pytest.raises(InputError, match="solution must be one point of l1 alone"):
            l1_pruning_error(other, 0.1)
    with pytest.raises(InputError, match=r"density must be in \(0, 1\], got 0"):
        l2_pruning_error(0.3, 0.0)
