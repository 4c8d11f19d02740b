"""A sparse network for regression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from gossamer.errors import InputError
from gossamer.estimators.base import SparseEstimator
from gossamer.estimators.sample_weights import Targets
from gossamer.estimators.scaling import Matrix, dense
from gossamer.training.task import REGRESSION, Task

__all__ = ["SparseRegressor"]


class SparseRegressor(RegressorMixin, SparseEstimator):  # type: ignore[misc]
    """A multilayer perceptron of sparse connections that are rewired during training, as a scikit-learn regressor.

    It learns the squared error of targets scaled to mean 0 and variance 1, of one target or of several together. A
    target that is the same in all samples is predicted exactly. Arguments, attributes and importances are those of
    `SparseClassifier`, without classes.

    Args:
        hidden: units of each hidden layer, such as ``(300, 300)``; a number is one layer.
        density: fraction of the connections of all hidden layers together, in (0, 1]; None for 0.1.
        epsilon: instead of ``density``: ε (n_in + n_out) connections in each hidden layer.
        output_density: fraction of the connections of the output layer; None leaves it dense.
        allocate: how the hidden layers share connections: ``"er"``, ``"erk"`` or ``"uniform"``.
        activation: the activation function, such as ``"hoyer:0.7"``, ``"topk:100"``, ``"relu"`` or
            ``"relu+sparseout:q=1.5,p=0.3"``.
        dropout: probability of dropping a hidden unit in training, in [0, 1).
        weight_noise: noise on the weights of the hidden layers in training, ``"bridgeout:q=1.5,p=0.3"``.
        rewire: a published rule, ``"none"``, or a pair of rules.
        fraction: share of the connections that moves, in (0, 1); None takes the rule's own.
        constraint: a set in which the weights of the hidden layers are kept, by projection after each step:
            ``"gap:0.02"``, ``"sign"``, ``"hoyer:0.8"``, ``"l0:20"``, ``"l1:2"``, ``"l1norm:0.01"``, or several joined
            by ``+``; see `gossamer.constraints.parse`.
        prune: remove connections while the network learns, until training has used 3/4 of its steps: ``"gap:0.1"``
            eliminates weak connections and finds the density itself, ``"gradual:0.05"`` and ``"magnitude:0.05"`` end at
            this density; see `gossamer.training.Pruning`. The start then has ``density`` 0.5 by default.
        max_epochs: passes through the data; None chooses by its size.
        batch_size: samples in a step; None likewise.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        learning_rate: None for 0.001, with sgd 0.1.
        schedule: of learning rate and fraction: ``"cosine"`` or ``"constant"``.
        momentum: of sgd, in [0, 1).
        weight_decay: strength of weight decay, ≥ 0.
        early_stopping: hold back samples and stop after ``patience`` epochs without a better loss on them.
        validation_fraction: share of the samples that ``early_stopping`` holds back, in (0, 1).
        patience: epochs without a better loss until ``early_stopping`` stops, ≥ 1.
        standardize: scale inputs, as `SparseClassifier` does.
        warm_start: `fit` continues with the network of the last one.
        random_state: seed of all random choices; None is different each time.
        n_jobs: threads for training and prediction, −1 for all; None leaves them unchanged.
        device: ``"cpu"``, ``"cuda"``, …
        dtype: ``"float32"``, ``"float64"``, or None to choose by the data.
        step: ``"compiled"`` or ``"autograd"``, as in `SparseClassifier`.
        verbose: show progress, and which step it was.

    Attributes:
        network_: the trained `gossamer.models.MLP`.
        feature_importances_: (n_features_in_) share of Σ|w| over the connections that leave an input.
        input_degrees_: (n_features_in_) connections of each input that survived the last removal.
        n_iter_: number of epochs.
        loss_curve_: mean loss of each epoch, in units of the targets' variances.
        validation_scores_: 1 − loss after each epoch on the samples that ``early_stopping`` held back, else None.
        n_features_in_: number of features.
        feature_names_in_: (n_features_in_) their names, if ``X`` has names.

    Raises:
        InputError: from `fit` and `partial_fit`, for an argument outside its range.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(300, 5))
        >>> reg = gs.SparseRegressor((50,), density=0.3, activation="relu", max_epochs=30, random_state=0)
        >>> reg.fit(X, X[:, 0] - 2 * X[:, 1]).predict(X[:3]).shape
        (3,)
    """

    _stored = (*SparseEstimator._stored, "_mean", "_std", "_constant", "_flat")

    @property
    def _task(self) -> Task:
        return REGRESSION

    def _outputs(self) -> int:
        return len(self._mean)

    def _numbers(self, y: Targets) -> NDArray[np.float64]:
        numbers = dense(y).astype(np.float64)
        return numbers[:, None] if numbers.ndim == 1 else numbers

    def _learn_targets(self, y: Targets, counted: Targets, weight: NDArray[np.float64] | None) -> None:
        numbers = self._numbers(counted)
        self._flat = y.ndim == 1
        self._mean = np.average(numbers, axis=0, weights=weight)
        with np.errstate(over="ignore", invalid="ignore"):
            std = np.sqrt(np.average((numbers - self._mean) ** 2, axis=0, weights=weight))
        if not np.isfinite(std).all():
            raise InputError(f"y must be numbers whose squares are finite, got {np.abs(numbers).max():g}")
        # Rounding leaves a constant like 0.1 a tiny standard deviation: compare the values themselves.
        self._constant = numbers.max(axis=0) == numbers.min(axis=0)
        self._std = np.where(self._constant, 1.0, std)
        self._mean = np.where(self._constant, numbers[0], self._mean)

    def _encode(self, y: Targets) -> NDArray[Any]:
        numbers = self._numbers(y)
        if numbers.shape[1] != len(self._mean):
            raise InputError(f"y must have {len(self._mean)} columns as before, got shape {y.shape}")
        self._constant = self._constant & (numbers == self._mean).all(axis=0)  # so far, where training continues
        return (numbers - self._mean) / self._std

    def predict(self, X: Matrix) -> NDArray[np.float64]:
        """Predict the targets.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The predictions (n_samples) or (n_samples, n_targets), as the targets were.
        """
        outputs = self._raw(X)  # which raises an error if nothing is fitted
        y = np.where(self._constant, self._mean, outputs * self._std + self._mean)
        return y[:, 0] if self._flat else y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
