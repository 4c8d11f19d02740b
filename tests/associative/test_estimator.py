"""Associative units and networks as estimators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from scipy.optimize import linprog
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from gossamer.associative.estimator import AssociativeNetwork, AssociativeUnit
from gossamer.associative.problem import Associations
from gossamer.errors import InputError

RNG = np.random.default_rng(0)
X, Y = RNG.random((25, 100)) < 0.5, RNG.random((25, 6)) < 0.5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("one_thread")
@parametrize_with_checks([AssociativeUnit(0.0, binarize=0.0, max_iter=500)])  # type: ignore[untyped-decorator]
def test_every_check_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


def test_a_unit_stores_its_samples_under_every_constraint() -> None:
    unit = AssociativeUnit(0.3, gap=1.5, signs=0.2, random_state=0).fit(X, Y[:, 0])
    sizes, margins = np.abs(unit.coef_), np.where(Y[:, 0], 1, -1) * unit.decision_function(X)
    assert unit.score(X, Y[:, 0]) == 1
    assert margins.min() >= 0.3 * np.sqrt(100)
    assert not ((sizes > 0) & (sizes < 1.5)).any()
    assert unit.signs_ is not None
    assert (unit.coef_ * unit.signs_ >= 0).all()
    assert np.asarray(unit.signs_ == -1).sum() == 20
    assert unit.sparsity_ == (unit.coef_ == 0).mean() > 1 - 1 / 1.5 - 0.01
    assert unit.conditions_.met().all()
    again = clone(unit).fit(X, Y[:, 0])
    assert_array_equal(again.coef_, unit.coef_)


def test_units_are_scaled_by_the_weight_norm() -> None:
    unit = AssociativeUnit(0.3, gap=1.5, threshold=0.05, weight_norm=0.01, random_state=0).fit(X, Y[:, 0])
    assert unit.threshold_ == pytest.approx(100 * 0.01 * 0.05)
    assert np.abs(unit.coef_).mean() == pytest.approx(0.01, rel=1e-3)
    assert unit.score(X, Y[:, 0]) == 1


def test_labels_may_be_anything() -> None:
    names = np.where(Y[:, 0], "yes", "no")
    assert_array_equal(AssociativeUnit(random_state=0).fit(X, names).predict(X), names)


@pytest.mark.parametrize(("label", "positive"), [(0, False), (1, True), ("a", True)])
def test_targets_may_all_be_equal(label: Any, positive: bool) -> None:
    unit = AssociativeUnit(random_state=0).fit(X, np.full(25, label))
    assert_array_equal(unit.decision_function(X) > 0, np.full(25, positive))
    assert_array_equal(unit.predict(X), np.full(25, label))


def test_a_network_is_its_units() -> None:
    network = AssociativeNetwork(0.3, gap=1.5, random_state=0).fit(X, Y)
    assert network.score(X, Y) == 1
    assert network.coef_.shape == (6, 100)
    assert_array_equal(network.predict(X), Y)
    assert network.conditions_.met().all()


def test_a_recurrent_network_recalls_a_sequence_and_noise_harms_it() -> None:
    sequence = np.random.default_rng(1).random((20, 100)) < 0.5
    network = AssociativeNetwork(0.5, gap=1.5, signs=0.2, random_state=0).fit_sequence(sequence)
    assert network.signs_ is not None
    assert (network.coef_ * network.signs_ >= 0).all()
    assert_array_equal(network.run(sequence[0], 19), sequence)
    assert network.recall(sequence, trials=3).complete == 1
    inputs = [network.recall(sequence, input_noise=p, trials=40, random_state=0).final for p in (0.01, 0.1, 0.5)]
    synapses = [network.recall(sequence, synaptic_noise=r, trials=40, random_state=0).final for r in (0.1, 1.0, 20.0)]
    assert inputs[0] > inputs[1] > inputs[2]
    assert inputs[2] == pytest.approx(0.5, abs=0.06)
    assert synapses[0] > synapses[1] > synapses[2]
    assert synapses[0] > 0.99


def maximum_margin(associations: Associations, **_: Any) -> NDArray[np.float64]:
    """The l1 linear program, unit after unit."""
    m, n = associations.inputs.shape
    rows = []
    for s in associations.labels.T:
        z = s[:, None] * associations.inputs
        margins = np.hstack([-z, z, np.ones((m, 1))])
        norm = np.hstack([np.ones((1, 2 * n)), [[0.0]]])
        cost = np.r_[np.zeros(2 * n), -1.0]
        bounds = [*[(0, None)] * (2 * n), (None, None)]
        j = linprog(cost, A_ub=margins, b_ub=np.zeros(m), A_eq=norm, b_eq=[n], bounds=bounds, method="highs-ds").x
        assert j is not None
        rows.append(j[:n] - j[n : 2 * n])
    return np.stack(rows)


def test_the_method_may_be_a_solver() -> None:
    network = AssociativeNetwork(0.1, method=maximum_margin).fit(X, Y[:, :2])
    margins = (np.where(Y[:, :2], 1, -1) * network.decision_function(X)).min(0)
    assert (margins > 0.1 * 10).all()
    tight = np.isclose(np.where(Y[:, :2], 1, -1) * network.decision_function(X), margins, atol=1e-9).sum(0)
    assert_array_equal(tight, (np.abs(network.coef_) > 1e-9).sum(1))  # a vertex


def test_the_method_may_be_exact() -> None:
    solve = pytest.importorskip("gossamer.associative.solve")
    unit = AssociativeUnit(0.0, method="exact", weight_norm=2.0).fit(X, Y[:, 0])
    best = solve.robust_weights(Associations(X, Y[:, 0]))
    assert_array_equal(unit.coef_, 2 * best.weights)
    margins = np.where(Y[:, 0], 1, -1) * unit.decision_function(X)
    assert margins.min() == pytest.approx(best.robustness * 2 * 10)
    few = AssociativeUnit(0.0, method="greedy", density=0.15).fit(X, Y[:, 0])
    assert few.sparsity_ >= 0.85
    assert few.score(X, Y[:, 0]) == 1
    gap = AssociativeUnit(0.0, method="exact", gap=1.2).fit(X[:10, :20], Y[:10, 0])
    assert gap.conditions_.gap_violations[0] == 0
    assert (np.abs(gap.coef_[gap.coef_ != 0]) >= 1.2).all()
    with pytest.raises(InputError, match="unit 0 under these constraints: infeasible"):
        AssociativeUnit(method="exact").fit(np.repeat(X[:1], 2, 0), [0, 1])


def test_what_cannot_be_stored_is_said() -> None:
    with pytest.warns(ConvergenceWarning, match="1 of 1 units do not store"):
        unit = AssociativeUnit(max_iter=50, random_state=0).fit(np.repeat(X[:1], 2, 0), [0, 1])
    assert unit.conditions_.violated[0] >= 1


@pytest.mark.parametrize(
    ("arguments", "x", "y", "message"),
    [
        ({}, 2 * X, Y[:, 0], "X must be of zeros and ones, got 2"),
        ({}, X, np.arange(25) % 3, "at most 2 classes, got 3"),
        ({"robustness": -1}, X, Y[:, 0], "robustness must be in"),
        ({"robustness": np.nan}, X, Y[:, 0], "robustness must be in"),
        ({"weight_norm": 0}, X, Y[:, 0], "weight_norm must be in"),
        ({"gap": -1}, X, Y[:, 0], "gap must be finite and ≥ 0, got -1"),
        ({"signs": 1.5}, X, Y[:, 0], "signs must be in"),
        ({"signs": np.ones(3)}, X, Y[:, 0], "signs must have shape"),
        ({"method": "magic"}, X, Y[:, 0], "method must be one of 'online'"),
        ({"density": 0.5}, X, Y[:, 0], "density must be None for method='online'"),
        ({"method": "exact", "gap": np.ones(100)}, X, Y[:, 0], "gap must be one number|No module named"),
        ({"method": lambda *_, **__: np.zeros(3)}, X, Y[:, 0], "cannot reshape|method must return"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AssociativeUnit(**arguments).fit(x, y)


def test_targets_of_a_network_are_zeros_and_ones() -> None:
    with pytest.raises(InputError, match="y must be zeros and ones"):
        AssociativeNetwork().fit(X, 2 * Y)
