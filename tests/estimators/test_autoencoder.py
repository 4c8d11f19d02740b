"""The supervised auto-encoder in scikit-learn: its checks, its pipelines, and what codes and components are."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gossamer import InputError, constraints, measures
from gossamer.estimators import SupervisedAutoencoderClassifier
from gossamer.models import exponential_schedule

SMALL: dict[str, Any] = {"hidden": 40, "max_epochs": 30, "random_state": 0}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits() -> list[NDArray[Any]]:
    """Pixels to train and to test with, and names of their digits."""
    x, y = load_digits(return_X_y=True)
    parts: list[NDArray[Any]] = train_test_split(x, y.astype(str), train_size=500, random_state=0, stratify=y)
    return parts


@pytest.fixture(scope="module")
def fitted(digits: list[NDArray[Any]]) -> SupervisedAutoencoderClassifier:
    x, _, y, _ = digits
    return SupervisedAutoencoderClassifier(hidden=100, random_state=0).fit(x, y)


def not_equivalent(estimator: BaseEstimator) -> dict[str, str]:
    """Repeated samples are divided into other batches, and other samples become the first weights."""
    checks = ("dense_data", "sparse_data")
    return {f"check_sample_weight_equivalence_on_{kind}": "batches and first weights are random" for kind in checks}


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [SupervisedAutoencoderClassifier(hidden=40, max_epochs=30)], expected_failed_checks=not_equivalent
)
def test_every_check_of_scikit_learn(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


def test_it_classifies_by_sparse_codes(digits: list[NDArray[Any]], fitted: SupervisedAutoencoderClassifier) -> None:
    _, x, _, y = digits
    assert fitted.score(x, y) > 0.93
    assert_array_equal(fitted.classes_, list("0123456789"))
    proba = fitted.predict_proba(x)
    assert_allclose(proba.sum(1), 1)
    assert_array_equal(fitted.classes_[proba.argmax(1)], fitted.predict(x))
    codes = fitted.transform(x)
    assert codes.shape == (len(x), 100)
    assert_allclose(measures.hoyer(torch.from_numpy(codes)), 0.8, atol=1e-9)


def test_components_are_sparse_and_codes_reconstruct(
    digits: list[NDArray[Any]], fitted: SupervisedAutoencoderClassifier
) -> None:
    x = digits[1]
    assert fitted.components_.shape == (100, 64)
    assert_allclose(measures.hoyer(torch.from_numpy(fitted.components_)), 0.75, atol=1e-5)
    again = fitted.inverse_transform(fitted.transform(x))
    rho = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, again, strict=True)]
    assert np.mean(rho) > 0.6


def test_the_dtype_of_the_samples_is_kept(digits: list[NDArray[Any]], fitted: SupervisedAutoencoderClassifier) -> None:
    x = digits[1]
    for dtype in (np.float32, np.float64):
        assert fitted.transform(x.astype(dtype)).dtype == dtype
        assert fitted.predict_proba(x.astype(dtype)).dtype == dtype
        assert fitted.inverse_transform(fitted.transform(x.astype(dtype))).dtype == dtype
    assert_allclose(fitted.transform(x.astype(np.float32)), fitted.transform(x), atol=1e-3)


def test_codes_have_names(digits: list[NDArray[Any]], fitted: SupervisedAutoencoderClassifier) -> None:
    names = fitted.get_feature_names_out()
    assert names[0] == "supervisedautoencoderclassifier0"
    assert len(names) == 100


def test_random_state_decides_and_generators_stay(digits: list[NDArray[Any]]) -> None:
    x, _, y, _ = digits
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    first, same, other = (
        SupervisedAutoencoderClassifier(hidden=20, max_epochs=2, random_state=seed).fit(x, y) for seed in (1, 1, 2)
    )
    assert torch.equal(before[0], torch.get_rng_state())
    assert_array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    assert_array_equal(first.components_, same.components_)
    assert not np.array_equal(first.components_, other.components_)


def test_it_works_in_pipelines_and_searches(digits: list[NDArray[Any]]) -> None:
    x, x_test, y, y_test = digits
    pipeline = make_pipeline(MinMaxScaler(), SupervisedAutoencoderClassifier(**SMALL))
    name = "supervisedautoencoderclassifier__"
    grid = {
        f"{name}activation": ["hoyer:0.6", "topk:8"],
        f"{name}connectivity": [None, constraints.L0(10)],
        f"{name}alpha": [exponential_schedule(10)],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(x, y)
    assert search.best_score_ > 0.8
    assert search.score(x_test, y_test) > 0.8


def test_clones_have_the_arguments_alone(fitted: SupervisedAutoencoderClassifier) -> None:
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "model_")


def test_pickles_predict_the_same(digits: list[NDArray[Any]], fitted: SupervisedAutoencoderClassifier) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.predict_proba(digits[1]), fitted.predict_proba(digits[1]))


def test_partial_fit_learns_from_a_stream(digits: list[NDArray[Any]]) -> None:
    x, x_test, y, y_test = digits
    learner = SupervisedAutoencoderClassifier(**SMALL)
    for _ in range(30):
        for part in range(5):
            learner.partial_fit(x[part::5], y[part::5], classes=np.unique(y))
    assert learner.score(x_test, y_test) > 0.9
    assert learner.n_iter_ == len(learner.loss_curve_) == 150
    again = pickle.loads(pickle.dumps(learner)).partial_fit(x, y, classes=np.unique(y))
    assert again.n_iter_ == 151
    with pytest.raises(InputError, match="'ten'"):
        learner.partial_fit(x[:2], ["ten", "0"])


def test_fit_after_partial_fit_starts_anew(digits: list[NDArray[Any]]) -> None:
    x, _, y, _ = digits
    used = SupervisedAutoencoderClassifier(**SMALL).partial_fit(x, y, classes=np.unique(y)).fit(x, y)
    fresh = SupervisedAutoencoderClassifier(**SMALL).fit(x, y)
    assert_array_equal(used.components_, fresh.components_)


def test_a_module_may_be_the_activation_and_stays_as_it_was(digits: list[NDArray[Any]]) -> None:
    x, _, y, _ = digits
    activation = torch.nn.Tanh()
    learner = SupervisedAutoencoderClassifier(**SMALL | {"activation": activation, "bias": True, "init": "random"})
    assert learner.fit(x / 16, y).score(x / 16, y) > 0.9
    assert learner.model_.activation is not activation


def test_progress_is_shown_on_demand(digits: list[NDArray[Any]], capsys: pytest.CaptureFixture[str]) -> None:
    x, _, y, _ = digits
    SupervisedAutoencoderClassifier(hidden=10, max_epochs=2).fit(x, y)
    assert capsys.readouterr().out == ""
    SupervisedAutoencoderClassifier(hidden=10, max_epochs=2, verbose=True).fit(x, y)
    assert "loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 1}, "hidden"),
        ({"activation": "loud"}, "activation"),
        ({"connectivity": 2.0}, "connectivity"),
        ({"alpha": 1.5}, "alpha"),
        ({"init": "zeros"}, "init"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"project_every": 0}, "project_every"),
    ],
)
def test_mistakes_are_named(digits: list[NDArray[Any]], change: dict[str, Any], message: str) -> None:
    x, _, y, _ = digits
    with pytest.raises(InputError, match=message):
        SupervisedAutoencoderClassifier(**SMALL | change).fit(x, y)


def test_codes_to_reconstruct_must_fit(fitted: SupervisedAutoencoderClassifier) -> None:
    with pytest.raises(InputError, match="100 columns"):
        fitted.inverse_transform(np.zeros((2, 5)))


# ---- weights, sparse matrices, files ---------------------------------------------------------------------------------


def test_it_is_exported() -> None:
    import gossamer as gs

    assert gs.SupervisedAutoencoderClassifier is SupervisedAutoencoderClassifier
    assert "SupervisedAutoencoderClassifier" in dir(gs)


def test_weights_of_samples_and_of_classes(digits: list[NDArray[Any]]) -> None:
    x, _, y, _ = digits
    zero = y == "0"
    few = zero.nonzero()[0][5:]
    rare = np.delete(np.arange(len(y)), few)
    plain = SupervisedAutoencoderClassifier(**SMALL).fit(x[rare], zero[rare])
    weighted = SupervisedAutoencoderClassifier(**SMALL).fit(x[rare], zero[rare], np.where(zero[rare], 50.0, 1.0))
    balanced = SupervisedAutoencoderClassifier(**SMALL, class_weight="balanced").fit(x[rare], zero[rare])
    given = SupervisedAutoencoderClassifier(**SMALL, class_weight={False: 1.0, True: 50.0}).fit(x[rare], zero[rare])
    means = [net.predict_proba(x)[:, 1].mean() for net in (plain, weighted, balanced, given)]
    assert min(means[1:]) > means[0]
    assert_array_equal(weighted.predict_proba(x), given.predict_proba(x))
    without = SupervisedAutoencoderClassifier(**SMALL).fit(x, y, np.where(np.arange(len(y)) < 400, 2.0, 0.0))
    alone = SupervisedAutoencoderClassifier(**SMALL).fit(x[:400], y[:400], np.ones(400))
    assert_array_equal(without.predict_proba(x), alone.predict_proba(x))


@pytest.mark.parametrize(
    ("options", "weight", "message"),
    [
        ({}, np.full(500, -1.0), "sample_weight must be finite numbers of at least 0"),
        ({}, np.ones(3), r"sample_weight must be 500 numbers, got shape \(3,\)"),
        ({}, np.zeros(500), "sample_weight must have a weight above zero"),
        ({"class_weight": {1: np.inf}}, None, "class_weight must hold finite numbers"),
    ],
)
def test_wrong_weights(digits: list[NDArray[Any]], options: dict[str, Any], weight: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SupervisedAutoencoderClassifier(**(SMALL | options)).fit(digits[0], digits[2], weight)


@pytest.mark.parametrize("init", ["samples", "random"])
def test_a_sparse_matrix_gives_the_same_network(digits: list[NDArray[Any]], init: Any) -> None:
    from scipy.sparse import csc_matrix, csr_array

    x, _, y, _ = digits
    kinds: Any = (csr_array, csc_matrix)
    few: Any = SMALL | {"max_epochs": 10, "init": init}  # later, rounding may decide which unit of a code is active
    dense = SupervisedAutoencoderClassifier(**few).fit(x, y)
    for kind in kinds:
        sparse: Any = SupervisedAutoencoderClassifier(**few).fit(kind(x), y)
        assert_allclose(sparse.components_, dense.components_, atol=1e-4)
        assert_allclose(sparse.predict_proba(kind(x)), sparse.predict_proba(x), atol=1e-9)
        assert sparse.transform(kind(x.astype(np.float32))).dtype == np.float32
    sparse.partial_fit(csr_array(x), y)


def test_a_file_gives_the_same_answers(
    digits: list[NDArray[Any]], fitted: SupervisedAutoencoderClassifier, tmp_path: Any
) -> None:
    x = digits[1]
    fitted.save(tmp_path / "soae.safetensors")
    loaded = SupervisedAutoencoderClassifier.load(tmp_path / "soae.safetensors")
    assert_array_equal(loaded.predict_proba(x), fitted.predict_proba(x))
    assert_array_equal(loaded.transform(x), fitted.transform(x))
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.n_iter_, loaded.loss_curve_) == (fitted.n_iter_, fitted.loss_curve_)
    loaded.partial_fit(digits[0], digits[2])
    damaged = bytearray((tmp_path / "soae.safetensors").read_bytes())
    damaged[-3] ^= 1
    (tmp_path / "soae.safetensors").write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        SupervisedAutoencoderClassifier.load(tmp_path / "soae.safetensors")


def test_what_a_file_cannot_hold(digits: list[NDArray[Any]], tmp_path: Any) -> None:
    x, _, y, _ = digits
    options = SMALL | {"max_epochs": 2, "bias": True}
    net = SupervisedAutoencoderClassifier(**options, connectivity=constraints.L0(5), alpha=lambda epoch: 0.5).fit(x, y)
    with pytest.warns(UserWarning, match="the file won't hold connectivity=.*alpha=.*, but None"):
        net.save(tmp_path / "net")
    loaded = SupervisedAutoencoderClassifier.load(tmp_path / "net")
    assert_array_equal(loaded.predict_proba(x), net.predict_proba(x))
    assert loaded.connectivity is None
    other = SupervisedAutoencoderClassifier(**options, activation=torch.nn.ReLU()).fit(x, y)
    with pytest.raises(InputError, match="activation must be a string for a file to hold it"):
        other.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()
