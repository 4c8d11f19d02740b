from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.datasets import make_regression

from gossamer import InputError
from gossamer.estimators import SparseRegressor

pytestmark = pytest.mark.usefixtures("one_thread")

Numbers = NDArray[np.float64]


def problem(targets: int = 1) -> tuple[Numbers, Numbers]:
    x, y = make_regression(300, 10, n_informative=4, n_targets=targets, shuffle=False, random_state=0)
    return x, 1000 + y


def small(**arguments: Any) -> SparseRegressor:
    defaults: dict[str, Any] = {"hidden": (60,), "density": 0.5, "activation": "relu", "max_epochs": 40}
    return SparseRegressor(**({"random_state": 0, "learning_rate": 0.01} | defaults | arguments))


def test_numbers_of_any_size() -> None:
    x, y = problem()
    for scale in (1e-6, 1.0, 1e9):
        regressor = small().fit(x[:200], scale * y[:200])
        assert regressor.score(x[200:], scale * y[200:]) > 0.9
        assert regressor.predict(x).shape == (300,)
    assert regressor.loss_curve_[-1] < 0.05 < regressor.loss_curve_[0]
    assert regressor.feature_importances_[:4].mean() > 1.3 * regressor.feature_importances_[4:].mean()


@pytest.mark.parametrize("sparse", [False, True])
def test_several_targets(sparse: bool) -> None:
    x, y = problem(3)
    regressor = small().fit(x, sp.csr_array(y) if sparse else y)
    assert regressor.predict(x).shape == (300, 3)
    assert regressor.score(x, y) > 0.9
    assert small(max_epochs=1).fit(x, y[:, :1]).predict(x).shape == (300, 1)


def test_a_constant_target_is_predicted() -> None:
    x, _ = problem()
    assert_allclose(small().fit(x, np.full(300, 0.1)).predict(x), 0.1, atol=0.2)


def test_weights_count_samples() -> None:
    x, y = problem()
    wrong = np.arange(300) < 100
    spoiled = np.where(wrong, -5000.0, y)
    wary = small().fit(x, spoiled, sample_weight=np.where(wrong, 0, 3))
    assert wary.score(x, y) > 0.9
    assert_allclose(wary.predict(x), small().fit(x[~wrong], y[~wrong]).predict(x), rtol=1e-9)


def test_early_stopping_scores_what_it_held_back() -> None:
    x, y = problem()
    regressor = small(early_stopping=True, patience=5, max_epochs=100).fit(x, y)
    assert regressor.validation_scores_ is not None
    assert 0.8 < max(regressor.validation_scores_) <= 1
    assert regressor.score(x, y) > 0.8


def test_partial_fit_keeps_its_scaling() -> None:
    x, y = problem(2)
    regressor = small(batch_size=25)
    for _ in range(40):
        regressor.partial_fit(x, y)
    assert regressor.score(x, y) > 0.9
    scaling = regressor._scaling
    regressor.partial_fit(100 * x[:10], y[:10])
    assert regressor._scaling is scaling
    with pytest.raises(InputError, match="y must have 2 columns as before"):
        regressor.partial_fit(x, y[:, 0])


def test_targets_that_can_not_be_used() -> None:
    x, y = problem()
    with pytest.raises(ValueError, match="NaN"):
        small().fit(x, np.where(y > 1000, np.nan, y))
    with pytest.raises(ValueError, match="could not convert"):
        small().fit(x, np.array(["a"] * 300, dtype=object))
    with pytest.raises(InputError, match="y must be numbers whose squares are finite"):
        small().fit(x, y * 1e300)


@pytest.mark.parametrize("constant", [0.1, -3.0, 0.0, 1e12])
def test_a_constant_target_predicts_itself(constant: float) -> None:
    x = np.random.default_rng(0).standard_normal((50, 4))
    network = SparseRegressor((10,), max_epochs=3, random_state=0)
    assert_array_equal(network.fit(x, np.full(50, constant)).predict(x), np.full(50, constant))
    both = np.column_stack([np.full(50, constant), x[:, 0]])
    predicted = network.fit(x, both).predict(x)
    assert_array_equal(predicted[:, 0], np.full(50, constant))
    assert np.ptp(predicted[:, 1]) > 0
    weight = np.r_[np.ones(40), np.zeros(10)]  # constant in all samples that count
    y = np.where(weight > 0, constant, constant + 1)
    assert_array_equal(network.fit(x, y, weight).predict(x), np.full(50, constant))


def test_a_target_is_constant_until_it_changes() -> None:
    x = np.random.default_rng(0).standard_normal((200, 4))
    network = SparseRegressor((10,), max_epochs=3, random_state=0)
    network.partial_fit(x, np.full(200, 2.5))
    assert_array_equal(network.predict(x), np.full(200, 2.5))
    network.partial_fit(x, 2.5 + x[:, 0])
    assert np.ptp(network.predict(x)) > 0
