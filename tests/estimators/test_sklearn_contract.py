"""scikit-learn's own checks, whole, with small networks; and the ways in which it runs many fits."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import gossamer as gs
from gossamer.estimators import SparseClassifier, SparseFeatureSelector, SparseRegressor

SMALL: dict[str, Any] = {"hidden": (20,), "density": 0.5, "activation": "relu", "learning_rate": 0.02, "max_epochs": 30}

X, Y = load_iris(return_X_y=True)


@pytest.mark.usefixtures("one_thread")
@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        SparseClassifier(**SMALL),
        SparseRegressor(**SMALL),
        SparseFeatureSelector(hidden=(20,), max_epochs=3),
        SparseFeatureSelector("QuickSelection", hidden=20, max_epochs=3),
    ]
)
def test_every_check_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


def search(n_jobs: int | None = None) -> GridSearchCV:
    selector = SparseFeatureSelector(hidden=(20,), max_epochs=3, k=3, random_state=0)
    classifier = SparseClassifier(**SMALL, random_state=0)
    grid = {
        "sparseclassifier__rewire": ["SET", "none", gs.CoDACoRSET, (gs.drop.magnitude(0.2), gs.grow.gradient())],
        "sparseclassifier__max_epochs": np.array([2, 30]),
    }
    return GridSearchCV(make_pipeline(selector, classifier), grid, cv=2, n_jobs=n_jobs)


def test_a_pipeline_in_a_grid_search_is_the_same_in_other_processes() -> None:
    alone = search().fit(X, Y)
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        together = search(2).fit(X, Y)
    assert alone.best_score_ > 0.8
    assert_array_equal(alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"])
    assert_array_equal(alone.predict(X), together.predict(X))


@pytest.mark.parametrize("backend", ["threading", "multiprocessing", "ray", "dask"])
def test_any_backend_of_joblib_gives_the_same_scores(backend: str) -> None:
    if backend in ("ray", "dask"):
        module = "ray" if backend == "ray" else "distributed"
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} isn't installed")
        if backend == "ray":
            from ray.util.joblib import register_ray  # type: ignore[import-not-found, unused-ignore]

            register_ray()
        else:
            from distributed import Client  # type: ignore[import-not-found, unused-ignore]

            Client(processes=False)
    torch.rand(1 << 20).exp()  # wakes OpenMP's threads, which a forked child is without
    classifier = SparseClassifier(**SMALL, dropout=0.3, random_state=0)
    alone = cross_val_score(classifier, X, Y, cv=4)
    with joblib.parallel_config(backend, n_jobs=2):
        assert_array_equal(cross_val_score(classifier, X, Y, cv=4), alone)


def test_clones_have_the_same_arguments_and_nothing_that_was_learned() -> None:
    rules = (gs.drop.signed_magnitude(0.1), gs.grow.cosine())
    fitted = SparseClassifier(**SMALL, rewire=rules, class_weight={0: 1.0, 1: 2.0, 2: 1.0}).fit(X, Y)
    copy = clone(fitted)
    assert not hasattr(copy, "network_")
    assert repr(copy) == repr(fitted)
