from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gossamer.associative import theory
from gossamer.associative.fit.laws import LawTable, Model

FREE, SIGNED = Model(0.0, 0.5, 0.5, None), Model(0.05, 0.3, 0.5, 0.2)
PLACES = {"l1": (-1.2, 0.0), "l0": (-1.2, 0.4), "gap": (-1.2, 1.5)}


@pytest.mark.parametrize("model", [FREE, SIGNED])
@pytest.mark.parametrize("constraint", list(PLACES))
def test_the_table_interpolates_the_theory(constraint: str, model: Model) -> None:
    table = LawTable(constraint, model, 0.3)
    solution = table.solution(*PLACES[constraint])
    law, exact = table.law(*PLACES[constraint]), table.exact(solution)
    np.testing.assert_allclose(law.center, exact.center, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(law.connected, exact.connected, rtol=2e-3)
    assert math.exp(PLACES[constraint][0]) == pytest.approx(float(solution.robustness))


@pytest.mark.parametrize("model", [FREE, SIGNED])
@pytest.mark.parametrize("constraint", list(PLACES))
def test_the_law_is_that_of_the_theory_and_adds_up(constraint: str, model: Model) -> None:
    table = LawTable(constraint, model, 0.3)
    solution = table.solution(*PLACES[constraint])
    law = table.exact(solution)
    signs: list[Any] = [None] if model.inhibitory is None else [1, -1]
    for sign in signs:
        wanted = theory.weight_distribution(solution, sign=sign)
        sides = [0, 1] if sign is None else [0 if sign > 0 else 1]
        assert sum(law.connected[sides]) == pytest.approx(wanted.density, abs=1e-12)
        assert sum(law.mean[sides]) == pytest.approx(wanted.mean_magnitude, abs=1e-10)
        for side in sides:  # with noise the same mass, and about the same mean
            r = np.linspace(0, 60, 60001)
            density = law.density(r, np.full(len(r), side), 0.05)
            assert np.trapezoid(density, r) == pytest.approx(law.connected[side], rel=1e-5)
            assert np.trapezoid(r * density, r) == pytest.approx(law.mean[side], rel=2e-3)
