from __future__ import annotations

import io
import pickle
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.datasets import load_digits, make_classification, make_multilabel_classification
from sklearn.exceptions import NotFittedError

import gossamer as gs
from gossamer import InputError
from gossamer.estimators import SparseClassifier
from gossamer.models import MLP
from gossamer.plasticity import PRESETS
from gossamer.training import DivergedError

pytestmark = pytest.mark.usefixtures("one_thread")

Numbers = NDArray[np.float64]


def blobs(rows: int = 120, classes: int = 3, seed: int = 0) -> tuple[Numbers, NDArray[np.int64]]:
    """Rows whose first features tell the class, among others that tell nothing."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    return rng.normal(size=(rows, 12)) + 4 * np.eye(12)[y], y


def small(**arguments: Any) -> SparseClassifier:
    defaults: dict[str, Any] = {"hidden": (30, 20), "density": 0.3, "activation": "relu", "max_epochs": 12}
    return SparseClassifier(**({"random_state": 0, "learning_rate": 0.01} | defaults | arguments))


def first(classifier: SparseClassifier) -> gs.SparseLinear:
    """The layer that reads the inputs."""
    layer = classifier.network_.linear1
    assert isinstance(layer, gs.SparseLinear)
    return layer


def number(classifier: SparseClassifier) -> torch.dtype:
    """Of what the network consists."""
    return next(classifier.network_.parameters()).dtype


# ---- what it learns --------------------------------------------------------------------------------------------------


def test_handwritten_digits() -> None:
    x, y = load_digits(return_X_y=True)
    classifier = SparseClassifier((300,), max_epochs=10, random_state=0).fit(x[:1200], y[:1200])
    assert classifier.score(x[1200:], y[1200:]) > 0.85
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 10
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0]
    assert isinstance(classifier.network_, MLP)
    assert first(classifier).density == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ant", "bee", "cow"]),
        np.array(["ant", "bee", "cow"], dtype=object),
        np.array([-1.0, 0.0, 7.0]),
        np.array([10, 20, 30], dtype=np.uint8),
        np.array(["2001-01-01", "2002-01-01", "2003-01-01"], dtype="datetime64[D]").astype(str),
    ],
)
def test_classes_may_be_of_any_kind(names: NDArray[Any]) -> None:
    x, y = blobs()
    classifier = small().fit(x, names[y])
    assert_array_equal(classifier.classes_, names)
    assert classifier.classes_.dtype == names.dtype
    assert classifier.score(x, names[y]) > 0.9
    assert_allclose(classifier.predict_proba(x).sum(1), 1)


def test_two_classes_have_one_decision_value() -> None:
    x, y = blobs(classes=2)
    classifier = small().fit(x, y.astype(bool))
    decision = classifier.decision_function(x)
    assert decision.shape == (120,)
    assert_array_equal(classifier.predict(x), decision > 0)
    assert_allclose(classifier.predict_proba(x)[:, 1], 1 / (1 + np.exp(-decision)))
    assert_allclose(np.exp(classifier.predict_log_proba(x)), classifier.predict_proba(x))


@pytest.mark.parametrize("sparse", [False, True])
def test_several_labels_at_once(sparse: bool) -> None:
    x, y = make_multilabel_classification(200, n_features=12, n_classes=4, random_state=0)
    classifier = small(hidden=(60,), max_epochs=60).fit(x, sp.csr_array(y) if sparse else y)
    predicted, chances = classifier.predict(x), classifier.predict_proba(x)
    assert predicted.shape == chances.shape == (200, 4)
    assert_array_equal(predicted, chances > 0.5)
    assert (predicted == y).mean() > 0.9
    assert classifier.score(x, y) == (predicted == y).all(1).mean()


def test_importance_finds_the_features_that_matter() -> None:
    x, y = make_classification(600, 40, n_informative=5, n_redundant=0, shuffle=False, class_sep=2, random_state=0)
    classifier = SparseClassifier((60, 60), rewire="CoDACoRSET", max_epochs=30, random_state=0).fit(x, y)
    importances = classifier.feature_importances_
    assert importances.shape == classifier.input_degrees_.shape == (40,)
    assert importances.sum() == pytest.approx(1)
    assert importances[:5].mean() > 2 * importances[5:].mean()
    assert classifier.input_degrees_[:5].mean() > 2 * classifier.input_degrees_[5:].mean()


def test_degrees_are_those_before_growth() -> None:
    x, y = blobs()
    classifier = small(schedule="constant", fraction=0.5).fit(x, y)
    connections = first(classifier).nnz
    assert 0.4 * connections < classifier.input_degrees_.sum() < 0.6 * connections
    stopped = small(schedule="constant", fraction=0.5, early_stopping=True).fit(x, y)
    assert_array_equal(stopped.input_degrees_, first(stopped).pattern.fan_out)


def test_importance_of_a_first_layer_that_never_moved() -> None:
    x, y = blobs()
    classifier = small(rewire="none").fit(x, y)
    assert_array_equal(classifier.input_degrees_, first(classifier).pattern.fan_out)
    strength = first(classifier).to_dense().weight.detach().abs().sum(0).numpy()
    assert_allclose(classifier.feature_importances_, strength / strength.sum(), rtol=1e-5)


def test_weights_of_samples_and_of_classes() -> None:
    x, y = blobs()
    noise = np.random.default_rng(1).integers(3, size=120)
    wrong = np.arange(120) < 60
    labels = np.where(wrong, noise, y)
    trusting = small(max_epochs=40).fit(x, labels)
    wary = small(max_epochs=40).fit(x, labels, sample_weight=np.where(wrong, 0.0, 2.0))
    assert wary.score(x, y) > 0.95 > trusting.score(x, y)
    without = small(max_epochs=40).fit(x[~wrong], labels[~wrong])
    assert_allclose(wary.predict_proba(x), without.predict_proba(x), rtol=1e-9)
    rng = np.random.default_rng(0)
    rare = (rng.random(400) < 0.08).astype(int)
    x = rng.normal(size=(400, 3)) + rare[:, None]
    plain, balanced, given = (
        small(class_weight=weight, max_epochs=5).fit(x, rare) for weight in (None, "balanced", {0: 1, 1: 12})
    )
    recall = [classifier.predict(x)[rare == 1].mean() for classifier in (plain, balanced, given)]
    assert recall[0] < 0.3 < 0.6 < min(recall[1:])


# ---- sparse matrices and data frames ---------------------------------------------------------------------------------


def words(rows: int = 300) -> tuple[sp.csr_array, NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    x = rng.random((rows, 400)) * (rng.random((rows, 400)) < 0.02)
    y = rng.integers(2, size=rows)
    x[np.arange(rows), y] += 1
    return sp.csr_array(x), y


@pytest.mark.parametrize("rewire", ["SET", "CoDACoRSET", "RigL"])
@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_a_sparse_matrix_says_the_same_as_the_dense_one(rewire: str, form: Any) -> None:
    x, y = words(100)
    arguments = {"rewire": rewire, "standardize": False, "dtype": "float64", "max_epochs": 3}
    dense = small(**arguments).fit(x.toarray(), y)
    sparse = small(**arguments).fit(form(x), y)
    for matrix in (x, x.toarray()):
        assert_allclose(sparse.predict_proba(matrix), dense.predict_proba(x), rtol=1e-6)


def test_a_sparse_matrix_is_never_made_dense_beyond_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = words()
    sizes: list[int] = []
    original = sp.csr_array.toarray

    def counted(matrix: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(matrix.shape[0])
        return original(matrix, *args, **kwargs)

    monkeypatch.setattr(sp.csr_array, "toarray", counted)
    monkeypatch.setattr(sp.csr_array, "todense", None)
    monkeypatch.setattr("gossamer.training.samples._PAGE", 13 * 400)
    options: dict[str, Any] = {"batch_size": 20, "early_stopping": True, "rewire": "CoDACoRSET"}
    small(**options).fit(x, y)
    assert set(sizes) == {10, 13, 4}  # pages of 270 rows and of the 30 held back; the compiled step reads the matrix
    classifier = small(**options, step="autograd").fit(x, y)
    assert set(sizes) == {20, 10, 13, 4}  # and batches
    monkeypatch.setattr("gossamer.estimators.base._CELLS", 7 * 400)
    sizes.clear()
    whole = classifier.predict_proba(x)
    assert max(sizes) == 7
    assert_allclose(whole, classifier.predict_proba(x.toarray()), rtol=1e-5)
    assert classifier.score(x, y) > 0.9


def test_scaling_treats_the_same_numbers_alike_in_whatever_form() -> None:
    x, y = words(60)
    for fitted in (small(max_epochs=2).fit(x, y), small(max_epochs=2).fit(x.toarray(), y)):
        assert_allclose(fitted.predict_proba(x), fitted.predict_proba(x.toarray()), rtol=1e-6)


def test_data_frames_give_their_names_and_are_asked_for_them() -> None:
    x, y = blobs()
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(12)])
    classifier = small().fit(frame, pd.Series(y))
    assert_array_equal(classifier.feature_names_in_, frame.columns)
    assert classifier.n_features_in_ == 12
    assert_array_equal(classifier.predict(frame), small().fit(x, y).predict(x))
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame[frame.columns[::-1]])


# ---- how it trains ---------------------------------------------------------------------------------------------------


def test_chance_is_the_seeds_alone_and_the_process_keeps_its_own() -> None:
    x, y = blobs()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()  # type: ignore[index]  # noqa: NPY002
    first, same, another, new, newer = (
        small(dropout=0.3, random_state=state, rewire="CoPACoRSET", activation="srelu").fit(x, y).predict_proba(x)
        for state in (3, 3, np.random.RandomState(3), None, None)
    )
    assert torch.equal(before[0], torch.get_rng_state())
    assert_array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    assert torch.get_num_threads() == before[2]
    assert_array_equal(first, same)
    assert_array_equal(first, another)
    assert not np.array_equal(first, new)
    assert not np.array_equal(new, newer)


def test_threads_are_put_back_even_after_an_error(threads: None) -> None:
    torch.set_num_threads(2)
    x, y = blobs()
    seen: list[int] = []
    classifier = small(n_jobs=1)
    classifier.fit(x, y)
    handle = classifier.network_.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    classifier.predict(x)
    handle.remove()
    assert seen == [1]
    assert torch.get_num_threads() == 2
    with pytest.raises(DivergedError):
        small(n_jobs=1, optimizer="sgd", learning_rate=1e30).fit(x, y)
    assert torch.get_num_threads() == 2


def test_fits_in_several_threads_do_not_disturb_each_other() -> None:
    x, y = blobs()
    alone = [small(dropout=0.5, random_state=seed).fit(x, y).predict_proba(x) for seed in range(4)]
    together: dict[int, Numbers] = {}

    def fit(seed: int) -> None:
        together[seed] = small(dropout=0.5, random_state=seed).fit(x, y).predict_proba(x)

    workers = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for seed in range(4):
        assert_array_equal(together[seed], alone[seed])


def test_early_stopping_returns_to_the_best_epoch() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 12)), rng.integers(2, size=200)  # nothing to learn
    classifier = small(early_stopping=True, patience=3, max_epochs=100, validation_fraction=0.25).fit(x, y)
    assert 3 < classifier.n_iter_ < 100
    assert classifier.validation_scores_ is not None
    assert len(classifier.validation_scores_) == classifier.n_iter_
    assert small().fit(x, y).validation_scores_ is None
    with pytest.raises(InputError, match="early_stopping needs samples"):
        small(early_stopping=True, validation_fraction=0.9).fit(x[:4], y[:4])


def test_early_stopping_with_classes_of_one_sample() -> None:
    x, y = blobs()
    y = np.where(np.arange(120) == 7, 9, y)
    assert 9 in small(early_stopping=True).fit(x, y).classes_


@pytest.mark.parametrize("rewire", [*PRESETS, "none", None, "codacorset", gs.CTRE])
def test_every_rule_can_be_named(rewire: Any) -> None:
    x, y = blobs(60)
    classifier = small(rewire=rewire, max_epochs=20).fit(x, y)
    assert first(classifier).nnz == round(0.3 * (12 * 30 + 30 * 20) * 42 / (42 + 50))
    assert classifier.score(x, y) > 0.8


def test_a_pair_of_rules_is_the_published_one_that_it_spells() -> None:
    x, y = blobs()
    named = small(rewire="SET", schedule="constant").fit(x, y)
    spelled = small(rewire=(gs.drop.signed_magnitude(0.3), gs.grow.uniform()), schedule="constant").fit(x, y)
    assert_array_equal(named.predict_proba(x), spelled.predict_proba(x))
    other = small(rewire=(gs.drop.signed_magnitude(0.1), gs.grow.uniform()), schedule="constant").fit(x, y)
    assert not np.array_equal(named.predict_proba(x), other.predict_proba(x))


def test_epsilon_counts_connections() -> None:
    x, y = blobs()
    network = small(hidden=(40, 30), density=None, epsilon=2.5).fit(x, y).network_
    counts = [layer.nnz for layer in network.children() if isinstance(layer, gs.SparseLinear)]
    assert counts == [2.5 * (12 + 40), 2.5 * (40 + 30)]


def test_what_is_not_said_is_chosen_as_on_the_command_line() -> None:
    x, y = blobs(40)
    network = SparseClassifier(max_epochs=1).fit(x, y).network_
    assert [layer.out_features for layer in network.children() if isinstance(layer, gs.SparseLinear)] == [300, 300]


def test_small_tables_of_double_precision_are_computed_in_it() -> None:
    x, y = blobs(40)
    assert number(small(max_epochs=1).fit(x, y)) == torch.float64
    assert number(small(max_epochs=1).fit(x.astype(np.float32), y)) == torch.float32
    assert number(small(max_epochs=1, dtype="float32").fit(x, y)) == torch.float32
    large = np.random.default_rng(0).normal(size=(600, 100))
    assert number(small(max_epochs=1).fit(large, np.arange(600) % 2)) == torch.float32


def test_no_hidden_layer_is_a_linear_classifier() -> None:
    x, y = blobs()
    classifier = small(hidden=(), max_epochs=60).fit(x, y)
    assert classifier.score(x, y) > 0.9
    assert small(hidden=(), output_density=0.5, max_epochs=3).fit(x, y).input_degrees_.sum() < 36


def test_warm_start_goes_on() -> None:
    x, y = blobs()
    classifier = small(max_epochs=5, warm_start=True, schedule="constant").fit(x, y)
    network, loss = classifier.network_, classifier.loss_curve_[-1]
    classifier.fit(x, y)
    assert classifier.network_ is network
    assert classifier.loss_curve_[0] < loss
    with pytest.raises(InputError, match="y must hold the classes"):
        classifier.fit(x, y + 1)
    classifier.set_params(warm_start=False).fit(x, y + 1)
    assert classifier.network_ is not network


# ---- samples that come bit by bit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rewire", ["SET", "CoDACoRSET", "RigL", "CTRE_seq"])
def test_partial_fit_learns_and_rewires_every_hundred_updates(rewire: str) -> None:
    x, y = blobs(200)
    classifier = small(rewire=rewire, batch_size=20)
    patterns = []
    for call in range(30):
        classifier.partial_fit(x, y, classes=[0, 1, 2] if call == 0 else None)
        patterns.append(first(classifier).pattern.flat_indices)
    changed = [not torch.equal(before, after) for before, after in pairwise(patterns)]
    assert [call for call, change in enumerate(changed, start=1) if change] == [10, 20]
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 30
    assert classifier.score(x, y) > 0.9


@pytest.mark.parametrize("rewire", ["SET", "RigL", "CoDASET"])
def test_a_stream_goes_on_after_pickling_and_after_fit(rewire: str) -> None:
    x, y = blobs(200)
    classifier = small(rewire=rewire, batch_size=2, max_epochs=3).fit(x, y)
    for _ in range(2):
        classifier = pickle.loads(pickle.dumps(classifier.partial_fit(x, y)))
        classifier.partial_fit(sp.csr_array(x), y)
    assert classifier.score(x, y) > 0.9
    fresh = small(rewire=rewire, batch_size=2, max_epochs=3).fit(x, y)
    assert_array_equal(classifier.fit(x, y).predict_proba(x), fresh.predict_proba(x))
    assert not classifier.network_._forward_pre_hooks


def test_partial_fit_wants_all_classes_at_first() -> None:
    x, y = blobs()
    first = y < 2
    classifier = small().partial_fit(x[first], y[first], classes=[0, 1, 2])
    classifier.partial_fit(x, y)
    with pytest.raises(InputError, match=r"classes must be those of the first call, \[0, 1, 2\]"):
        classifier.partial_fit(x, y, classes=[0, 1])
    with pytest.raises(InputError, match=r"y must hold the classes \[0, 1\] only, got \[2\] too"):
        small().partial_fit(x[first], y[first], classes=[0, 1]).partial_fit(x, y)
    with pytest.raises(InputError, match="class_weight"):
        small(class_weight="balanced").partial_fit(x, y)
    hasty = small(optimizer="sgd", learning_rate=1e30)
    with pytest.raises(InputError, match="diverged"):
        hasty.partial_fit(x, y, classes=[0, 1, 2])


# ---- progress, copies, mistakes --------------------------------------------------------------------------------------


def test_progress_with_rich_and_without(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(30)
    small(verbose=True, max_epochs=3).fit(x, y)
    assert "SparseClassifier" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "rich", None)
    small(verbose=True, max_epochs=3, early_stopping=True).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("SparseClassifier: epoch 1 of 3, loss ")
    assert lines[3] == "SparseClassifier: step: compiled"
    assert "validation" in lines[0]
    small(max_epochs=3).fit(x, y)
    assert capsys.readouterr().out == ""


def test_joblib_and_pickle_keep_what_was_learned() -> None:
    x, y = blobs()
    classifier = small(rewire="RigL").fit(x, y)
    file = io.BytesIO()
    joblib.dump(classifier, file)
    file.seek(0)
    for copy in (joblib.load(file), pickle.loads(pickle.dumps(classifier))):
        assert_array_equal(copy.predict_proba(x), classifier.predict_proba(x))
        assert_array_equal(copy.feature_importances_, classifier.feature_importances_)


def test_gossamer_is_imported_without_scikit_learn_and_says_so_when_it_is_missed() -> None:
    code = """
import sys
import gossamer
assert not {"sklearn", "scipy", "pandas", "rich"} & set(sys.modules)
assert {"SparseClassifier", "estimators"} <= set(dir(gossamer))
try:
    gossamer.SparseNothing
except AttributeError as error:
    assert "SparseNothing" in str(error)
sys.modules["sklearn"] = None
try:
    gossamer.SparseClassifier
except ModuleNotFoundError as error:
    assert "pip install 'gossamer[sklearn]'" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert gs.SparseClassifier is SparseClassifier


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": (3, 0)}, "hidden must be a whole number of at least 1, got 0"),
        ({"hidden": "many"}, "hidden"),
        ({"density": 0.0}, r"density must be in \(0, 1\], got 0.0"),
        ({"density": 0.1, "epsilon": 2.0}, "give one of them, got density = 0.1 and epsilon = 2.0"),
        ({"density": None, "epsilon": 2.0, "allocate": "uniform"}, "allocate must be 'er' or 'erk' where epsilon"),
        ({"density": None, "epsilon": -1}, "epsilon must be a finite number above 0"),
        ({"activation": "tanh"}, "activation must be"),
        ({"dropout": 1}, "dropout"),
        ({"rewire": "SETT"}, "rewire must be one of 'none', 'SET'"),
        ({"rewire": (1, 2)}, "or a pair of rules"),
        ({"rewire": (gs.drop.magnitude(0.1), gs.grow.uniform()), "fraction": 0.2}, "fraction must be None"),
        ({"fraction": 1.0}, "fraction"),
        ({"max_epochs": 0}, "^max_epochs must be a whole number of at least 1, got 0"),
        ({"rewire": 3}, "or a pair of rules"),
        ({"n_jobs": "all"}, "n_jobs must be None or a whole number other than 0, got 'all'"),
        ({"n_jobs": 0}, "n_jobs must be None or a whole number other than 0, got 0"),
        ({"class_weight": {0: -2.0}}, r"class_weight must hold finite numbers of at least 0, got \{0: -2.0\}"),
        ({"class_weight": {0: np.inf}}, "class_weight must hold finite numbers of at least 0"),
        ({"batch_size": 0.5}, "batch_size"),
        ({"optimizer": "lion"}, "optimizer must be one of 'adam', 'adamw', 'sgd'"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"early_stopping": True, "patience": 0}, "patience"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction"),
        ({"device": "tpu9"}, "device must be one that this machine has"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'float64'"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    x, y = blobs(30)
    with pytest.raises(InputError, match=message):
        small(**change).fit(x, y)


def test_samples_that_can_not_be_used() -> None:
    x, y = blobs(30)
    with pytest.raises(ValueError, match="NaN"):
        small().fit(np.where(x > 2, np.nan, x), y)
    for form in (np.asarray, sp.csr_array):
        with pytest.raises(InputError, match=r"X must be numbers whose squares are finite .* column 0"):
            small().fit(form(x * 1e200), y)
    with pytest.raises(ValueError, match="zero"):
        small().fit(x, y, sample_weight=np.zeros(30))
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        small().fit(x, y, sample_weight=-np.ones(30))
    with pytest.raises(InputError, match="several columns"):
        small().fit(x, np.stack([y, y], 1))
    with pytest.raises(InputError, match="y must have 3 columns as before"):
        small().partial_fit(x, np.eye(3)[y]).partial_fit(x, np.eye(3)[y][:, :2])
    with pytest.raises(NotFittedError):
        _ = small().feature_importances_


@pytest.mark.parametrize(
    "options",
    [{"prune": "gap:0.15"}, {"prune": "magnitude:0.1"}, {"constraint": "sign:0.5+gap:0.02", "density": 0.5}],
    ids=str,
)
def test_pruned_and_constrained_networks_are_saved_and_loaded(options: dict[str, Any], tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    classifier = SparseClassifier((30, 30), activation="relu", max_epochs=20, random_state=0, **options)
    classifier.fit(x[:600], y[:600])
    assert classifier.score(x[600:], y[600:]) > 0.5
    layer = first(classifier)
    if "prune" in options:
        assert layer.density < 0.45
        assert gs.SparseClassifier(**options).get_params()["rewire"] == "auto"
    if "constraint" in options:
        assert gs.constraints.parse("gap:0.02").holds(layer)
    classifier.save(tmp_path / "it")
    loaded = SparseClassifier.load(tmp_path / "it")
    assert (loaded.predict(x) == classifier.predict(x)).all()
    assert loaded.get_params() == classifier.get_params()
    if "prune" in options:
        with pytest.raises(InputError, match="prune must be None for partial_fit"):
            classifier.partial_fit(x, y)
    else:
        assert gs.constraints.parse("gap:0.02").holds(first(classifier.partial_fit(x, y)))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "compiled"),
        ({"step": "autograd"}, "autograd (the compiled step is turned off)"),
        ({"rewire": "RigL"}, "autograd (a hook watches the network)"),
    ],
)
def test_the_step_is_told(options: dict[str, Any], told: str) -> None:
    x, y = blobs(60)
    classifier = small(max_epochs=2, **options).fit(x, y)
    assert classifier.step_ == told
    assert small(max_epochs=2, **options).partial_fit(x, y, classes=np.unique(y)).step_ == told
    with pytest.raises(InputError, match="step must be"):
        small(step="fast").fit(x, y)
