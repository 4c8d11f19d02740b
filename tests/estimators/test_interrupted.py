"""After an error or Ctrl-C in a fit, an estimator is whole: what it was before, or as if it had never been fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from gossamer.errors import InputError
from gossamer.estimators import (
    DictionaryLearner,
    SparseClassifier,
    SparseFeatureSelector,
    SparseRegressor,
    SupervisedAutoencoderClassifier,
)
from gossamer.plasticity import Rewire
from gossamer.training import compiled
from gossamer.training.compiled import CompiledSteps

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {"hidden": (12,), "density": 0.4, "activation": "relu", "max_epochs": 4, "random_state": 0}

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "classifier": lambda: SparseClassifier(**SMALL),
    "warm classifier": lambda: SparseClassifier(**SMALL, warm_start=True),
    "early stopping": lambda: SparseClassifier(**SMALL, early_stopping=True),
    "regressor": lambda: SparseRegressor(**SMALL),
    "selector": lambda: SparseFeatureSelector(hidden=(12,), max_epochs=2, random_state=0),
    "auto-encoder selector": lambda: SparseFeatureSelector("QuickSelection", hidden=12, max_epochs=4, random_state=0),
    "supervised auto-encoder": lambda: SupervisedAutoencoderClassifier(hidden=12, max_epochs=4, random_state=0),
    "dictionary": lambda: DictionaryLearner(6, max_iter=4, batch_size=32, random_state=0),
}
INCREMENTAL = ("classifier", "regressor", "supervised auto-encoder", "dictionary")


def samples(seed: int = 0, features: int = 10, names: str = "ab") -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((120, features))
    return x, np.where(x[:, 0] > 0, names[0], names[1])


def targets(estimator: object, y: NDArray[Any]) -> NDArray[Any]:
    return (y == y[0]).astype(float) if isinstance(estimator, SparseRegressor) else y


def answers(estimator: Any, x: NDArray[Any]) -> list[NDArray[Any]]:
    found = [estimator.predict(x)] if hasattr(estimator, "predict") else []
    found += [estimator.predict_proba(x)] if hasattr(estimator, "predict_proba") else []
    return found + ([estimator.transform(x)] if hasattr(estimator, "transform") else [])


class Interrupt:
    """An exception in a call of a function of the library, counted from the moment it is armed; 0 for never."""

    def __init__(self) -> None:
        self.left = 0
        self.error: type[BaseException] = KeyboardInterrupt

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """In an optimizer's step, after it has changed the weights; or after a step of a dictionary."""
    from gossamer.models import Dictionary

    state = Interrupt()

    def after(function: Callable[..., Any]) -> Callable[..., Any]:
        def whole(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            state.check()
            return result

        return whole

    monkeypatch.setattr(torch.optim.Adam, "step", after(torch.optim.Adam.step))
    monkeypatch.setattr(CompiledSteps, "_train", after(CompiledSteps._train))
    monkeypatch.setattr(compiled, "_SECONDS", 0.0)  # a step at a time
    monkeypatch.setattr(Dictionary, "step", after(Dictionary.step))
    return state


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_second_fit_that_fails_leaves_the_first(name: str, at: int, interrupt: Interrupt) -> None:
    estimator = ESTIMATORS[name]()
    x, y = samples()
    estimator.fit(x, targets(estimator, y))
    before, known = answers(estimator, x), set(vars(estimator))
    # Other classes and, where training does not go on, another number of features.
    other, labels = samples(1, 10 if name == "warm classifier" else 7, "ab" if name == "warm classifier" else "xy")
    errors: tuple[type[BaseException], ...] = (KeyboardInterrupt, MemoryError)
    for error in errors:
        interrupt.left, interrupt.error = at, error
        with pytest.raises(error):
            estimator.fit(other, targets(estimator, labels))
        interrupt.left = 0
        for now, then in zip(answers(estimator, x), before, strict=True):
            assert_array_equal(now, then)
        assert set(vars(estimator)) == known
    estimator.fit(other, targets(estimator, labels))
    assert len(answers(estimator, other)[0]) == len(other)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_first_fit_that_fails_leaves_nothing(name: str, interrupt: Interrupt) -> None:
    estimator = ESTIMATORS[name]()
    known = dict(vars(estimator))
    interrupt.left = 2
    x, y = samples()
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(x, targets(estimator, y))
    assert vars(estimator) == known


@pytest.mark.parametrize("name", INCREMENTAL)
def test_a_failed_partial_fit_changes_nothing_that_follows(name: str, interrupt: Interrupt) -> None:
    results = []
    for fails in (False, True):
        estimator = ESTIMATORS[name]().set_params(batch_size=32)
        x, y = samples()
        y = targets(estimator, y)
        first = {} if name in ("regressor", "dictionary") else {"classes": np.unique(y)}
        estimator.partial_fit(x, y, **first)
        before = answers(estimator, x)
        if fails:
            interrupt.left = 1 if name == "dictionary" else 3
            with pytest.raises(KeyboardInterrupt):
                estimator.partial_fit(x, y)
            interrupt.left = 0
            for now, then in zip(answers(estimator, x), before, strict=True):
                assert_array_equal(now, then)
        for _ in range(2):
            estimator.partial_fit(x, y)
        results.append(answers(estimator, x))
    for once, again in zip(*results, strict=True):
        assert_array_equal(once, again)


def test_a_partial_fit_that_fails_after_rewiring_has_the_old_pattern(interrupt: Interrupt) -> None:
    estimator = SparseClassifier(**SMALL, batch_size=1)
    x, y = samples()
    estimator.partial_fit(x, y, classes=["a", "b"])  # 120 updates: the next call rewires
    before = {name: tensor.clone() for name, tensor in estimator.network_.state_dict().items()}
    interrupt.left = 3
    with pytest.raises(KeyboardInterrupt):
        estimator.partial_fit(x, y)
    assert all(torch.equal(tensor, before[name]) for name, tensor in estimator.network_.state_dict().items())
    interrupt.left = 0
    estimator.partial_fit(x, y)
    after = estimator.network_.state_dict()
    assert not all(torch.equal(after[n], t) for n, t in before.items() if not t.is_floating_point())


def test_ctrl_c_during_rewiring(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = SparseClassifier(**SMALL)
    x, y = samples()
    before = estimator.fit(x, y).predict_proba(x)

    def stopped(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Rewire, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(x, np.where(y == "a", "u", "v"))
    assert_array_equal(estimator.predict_proba(x), before)
    assert_array_equal(estimator.classes_, ["a", "b"])


@pytest.mark.parametrize("kind", [SparseClassifier, SupervisedAutoencoderClassifier])
def test_the_first_partial_fit_must_know_all_classes(kind: type[Any]) -> None:
    x, y = samples()
    estimator = kind(max_epochs=2, random_state=0, hidden=12)
    with pytest.raises(InputError, match="classes must be all labels that will occur in the first call"):
        estimator.partial_fit(x, y)
    assert not hasattr(estimator, "n_features_in_")
    estimator.partial_fit(x[:50], y[:50], classes=["a", "b", "c"]).partial_fit(x[50:], y[50:])
    assert estimator.predict_proba(x).shape == (120, 3)
    with pytest.raises(InputError, match="classes must be those of the first call"):
        estimator.partial_fit(x, y, classes=["a", "b"])


def test_an_indicator_matrix_says_its_labels_itself() -> None:
    x, _ = samples()
    labels = (x[:, :3] > 0).astype(int)
    assert_array_equal(SparseClassifier(**SMALL).partial_fit(x, labels).classes_, [0, 1, 2])


@pytest.mark.parametrize("kind", [SparseClassifier, SupervisedAutoencoderClassifier])
@pytest.mark.parametrize("by_class", [False, True])
def test_a_class_without_weight_stays_a_class(kind: type[Any], by_class: bool) -> None:
    x, _ = samples()
    y = np.arange(120) % 3
    weight = {0: 1.0, 1: 0.0, 2: 1.0}
    estimator = kind(hidden=12, max_epochs=5, random_state=0, class_weight=weight if by_class else None)
    estimator.fit(x, y, None if by_class else np.where(y == 1, 0.0, 1.0))
    assert_array_equal(estimator.classes_, [0, 1, 2])
    proba = estimator.predict_proba(x)
    assert proba.shape == (120, 3)
    assert proba[:, 1].mean() < 1 / 3


def test_a_class_without_weight_stays_with_early_stopping_and_in_a_vote() -> None:
    from sklearn.ensemble import BaggingClassifier, VotingClassifier

    x, _ = samples()
    y = np.arange(120) % 3
    weight = np.where(y == 1, 0.0, 1.0)
    stopping = SparseClassifier(**SMALL, early_stopping=True, validation_fraction=0.2)
    assert stopping.fit(x, y, weight).predict_proba(x).shape == (120, 3)
    vote = VotingClassifier([("a", SparseClassifier(**SMALL)), ("b", SparseClassifier(**SMALL))], voting="soft")
    assert vote.fit(x, y, sample_weight=weight).predict_proba(x).shape == (120, 3)
    bag = BaggingClassifier(SparseClassifier(**SMALL), n_estimators=2, random_state=0)
    assert bag.fit(x, y).predict_proba(x).shape == (120, 3)
