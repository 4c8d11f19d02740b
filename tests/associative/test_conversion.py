"""Weights with units and without."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.associative.conversion import Conversion
from gossamer.associative.problem import random_associations
from gossamer.errors import InputError


def test_there_and_back() -> None:
    unit = Conversion(400, 0.25)
    for there, back, factor in (
        (unit.weights, unit.scaled_weights, 0.25),
        (unit.threshold, unit.scaled_threshold, 100.0),
        (unit.robustness, unit.scaled_robustness, 5.0),
        (unit.gap, unit.scaled_gap, 0.25),
    ):
        assert there([0.0, 2.0]) == pytest.approx([0, 2 * factor])
        assert back(there(3.0)) == pytest.approx(3)


def test_both_forms_of_the_condition_agree() -> None:
    problem, unit = random_associations(50, 20, np.random.default_rng(0)), Conversion(50, 0.3)
    scaled, h = np.random.default_rng(1).normal(size=50), 0.1
    plain = problem.labels * (problem.inputs @ unit.weights(scaled) - unit.threshold(h))
    ours = np.sqrt(50) * problem.labels * (problem.inputs @ scaled / 50 - h)
    assert unit.scaled_robustness(plain) == pytest.approx(ours)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"mean_weight must be in \(0, inf\), got 0"):
        Conversion(10, 0)
    with pytest.raises(InputError, match="n_inputs must be a whole number of at least 1"):
        Conversion(0)
    with pytest.raises(InputError, match="weights must be finite, got nan"):
        Conversion(10).scaled_weights(float("nan"))
    with pytest.raises(InputError, match=r"gap must be in \[0, inf\), got -1"):
        Conversion(10).scaled_gap(-1)
