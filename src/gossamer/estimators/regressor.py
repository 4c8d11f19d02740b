"""A sparse network for regression."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from gossamer.errors import InputError
from gossamer.estimators.base import SparseEstimator
from gossamer.estimators.rows import Targets
from gossamer.estimators.scaling import Matrix, dense
from gossamer.training.task import REGRESSION, Task

__all__ = ["SparseRegressor"]


class SparseRegressor(RegressorMixin, SparseEstimator):  # type: ignore[misc]
    """A multilayer perceptron of sparse connections that are rewired while it learns, as a scikit-learn regressor.

    It learns the squared error of targets scaled to mean 0 and variance 1, of one target or of several together. A
    target that is the same in all samples is predicted exactly.

    Args, attributes and importances are those of `SparseClassifier`, without classes. ``loss_curve_`` is in units of
    the targets' variances; ``validation_scores_`` are 1 − loss of what ``early_stopping`` held back.
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
        self._constant = self._constant & (numbers == self._mean).all(axis=0)  # so far, where training goes on
        return (numbers - self._mean) / self._std

    def predict(self, X: Matrix) -> NDArray[np.float64]:
        """(n_samples) or (n_samples, n_targets), as the targets were."""
        outputs = self._raw(X)  # which says so if nothing is fitted
        y = np.where(self._constant, self._mean, outputs * self._std + self._mean)
        return y[:, 0] if self._flat else y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
