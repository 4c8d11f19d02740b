from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from gossamer import InputError
from gossamer.data.catalogue import MADELON_INFORMATIVE
from gossamer.estimators import SparseClassifier, SparseFeatureSelector

pytestmark = pytest.mark.usefixtures("one_thread")

MADELON = Path(os.environ.get("GOSSAMER_DATA", "nowhere")) / "madelon"
INFORMATIVE = set(MADELON_INFORMATIVE)

Numbers = NDArray[np.float64]


def problem() -> tuple[Numbers, NDArray[np.int64]]:
    """Features 3, 11 and 20 tell the class between them, and look like one another; the others are noise."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    x = rng.normal(size=(400, 30))
    x[:, [3, 11, 20]] = 0.5 * x[:, [3, 11, 20]] + (2 * y - 1)[:, None]
    return x, y


def small(method: Any = "CoDACoRSET", **arguments: Any) -> SparseFeatureSelector:
    defaults: dict[str, Any] = {"hidden": 40, "max_epochs": 30, "random_state": 0}
    return SparseFeatureSelector(method, **(defaults | arguments))


@pytest.mark.parametrize("method", ["SET", "CoDACoRSET"])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_features_that_tell_the_class_come_first(sparse: bool, method: str) -> None:
    x, y = problem()
    given = sp.csr_array(x) if sparse else x
    selector = small(method, hidden=(40, 40), k=3, batch_size=20).fit(given, y)
    assert selector.get_support(indices=True).tolist() == [3, 11, 20]
    assert selector.transform(given).shape == (400, 3)
    assert_array_equal(np.sort(selector.ranking_), np.arange(1, 31))
    assert set(np.argsort(selector.ranking_)[:3]) == {3, 11, 20}
    assert (np.diff(selector.scores_[np.argsort(selector.ranking_)]) <= 0).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_the_features_that_belong_together_come_first(sparse: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 100))
    x[:, 40:50] = rng.normal(size=(600, 2)) @ rng.normal(size=(2, 10)) + 0.1 * x[:, 40:50]
    selector = SparseFeatureSelector("QuickSelection", hidden=200, k=10, batch_size=20, random_state=0)
    selector.fit(sp.csr_array(x) if sparse else x)
    assert selector.get_support()[40:50].sum() >= 8


@pytest.mark.parametrize("method", ["SET", "CoDACoRSET"])
def test_numbers_can_be_the_target(method: str) -> None:
    x, y = problem()
    selector = small(method, k=3, batch_size=20).fit(x, y + 0.1 * np.random.default_rng(0).normal(size=400))
    assert selector.get_support(indices=True).tolist() == [3, 11, 20]


def test_an_auto_encoder_does_without_a_target() -> None:
    x, y = problem()
    first, second = small("QuickSelection").fit(x), small("QuickSelection").fit(x, y)
    assert_array_equal(first.scores_, second.scores_)
    with pytest.raises(ValueError, match="requires y"):
        small().fit(x)


def test_thresholds() -> None:
    x, y = problem()
    selector = small().fit(x, y)
    scores = selector.scores_
    for threshold, value in (("mean", scores.mean()), ("median", np.median(scores)), (12.0, 12.0)):
        selector.set_params(threshold=threshold)
        assert_array_equal(selector.get_support(), scores >= value)
    with pytest.warns(UserWarning, match="No features were selected"):
        assert selector.set_params(threshold=1e9).transform(x).shape == (400, 0)
    equal = small(threshold="mean", epsilon=1e6, max_epochs=1).fit(x, y)  # dense: all have as many connections
    assert equal.get_support().all()


def test_names_and_pandas_output() -> None:
    x, y = problem()
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(30)])
    selector = small(k=3).set_output(transform="pandas").fit(frame, y)
    assert selector.get_feature_names_out().tolist() == ["f3", "f11", "f20"]
    assert selector.transform(frame).columns.tolist() == ["f3", "f11", "f20"]
    pipeline = make_pipeline(small(k=3), LogisticRegression()).fit(x, y)
    assert pipeline.score(x, y) > 0.95


@pytest.mark.parametrize("method", ["SET", "CoDACoRSET", "QuickSelection"])
def test_chance_is_the_seeds_alone(method: str) -> None:
    x, y = problem()
    before = torch.get_rng_state()
    first, same, other = (small(method, max_epochs=3, random_state=seed).fit(x, y).scores_ for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "CTRE"}, "method must be one of 'SET', 'CoDACoRSET', 'QuickSelection'"),
        ({"k": 0}, "k must be a whole number from 1 to 30"),
        ({"k": 31}, "k must be a whole number from 1 to 30"),
        ({"threshold": "most"}, "threshold must be one of 'mean', 'median'"),
        ({"method": "QuickSelection", "hidden": (4, 4)}, "hidden must be one layer"),
        ({"hidden": 0}, "hidden"),
        ({"max_epochs": 0}, "epochs"),
        ({"epsilon": 0.0}, "epsilon"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**change).fit(*problem())


def test_published_sizes() -> None:
    x, y = problem()
    selector = SparseFeatureSelector("CoDACoRSET", max_epochs=1, random_state=0).fit(x, y)
    assert [m.out_features for m in selector.network_.children() if hasattr(m, "out_features")] == [300, 300, 300, 2]
    assert selector.scores_.sum() == pytest.approx(0.5 * 30 * 300, abs=1)


@pytest.mark.skipif(not MADELON.is_dir(), reason="GOSSAMER_DATA names no folder with madelon")
def test_madelon() -> None:
    x, y = np.loadtxt(MADELON / "madelon_train.data"), np.loadtxt(MADELON / "madelon_train.labels")
    selector = SparseFeatureSelector("CoDACoRSET", k=20, hidden=(1000, 1000), max_epochs=12, random_state=0).fit(x, y)
    assert len(INFORMATIVE & set(selector.get_support(indices=True).tolist())) >= 18
    chosen = SparseClassifier((300,), max_epochs=10, random_state=0).fit(selector.transform(x), y)
    valid = np.loadtxt(MADELON / "madelon_valid.data")
    assert chosen.score(selector.transform(valid), np.loadtxt(MADELON / "madelon_valid.labels")) > 0.7


def test_the_usual_network_has_one_hidden_layer() -> None:
    selector = SparseFeatureSelector(max_epochs=1, random_state=0).fit(*problem())
    assert [m.out_features for m in selector.network_.children() if hasattr(m, "out_features")] == [300, 2]
    assert selector.scores_.sum() == pytest.approx(1)  # shares of strength
