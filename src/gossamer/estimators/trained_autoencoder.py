"""A trained auto-encoder that predicts classes, codes samples and reconstructs them, in the dtype of its input."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from gossamer.device import find_device
from gossamer.errors import InputError
from gossamer.estimators.fit_context import threads
from gossamer.estimators.scaling import Matrix
from gossamer.models.autoencoder import SupervisedAutoencoder
from gossamer.training.samples import SparseRows

__all__ = ["DTYPES", "TrainedAutoencoder", "rows_of"]

Floats = NDArray[np.floating[Any]]

DTYPES = (np.float64, np.float32)
"""Dtypes in which codes and probabilities are computed."""

_CHUNK = 4096  # samples that go through the network at a time


class TrainedAutoencoder:
    """Methods of an estimator that has trained ``model_``."""

    classes_: NDArray[Any]
    model_: SupervisedAutoencoder
    n_jobs: int | None
    device: str

    @property
    def components_(self) -> NDArray[np.float32]:
        """(hidden, n_features_in_): the weights W, each row the filter of one unit."""
        check_is_fitted(self, "model_")
        return self.model_.weight.detach().cpu().numpy()

    @property
    def _n_features_out(self) -> int:
        return self.model_.hidden

    def predict(self, X: Matrix) -> NDArray[Any]:
        """Predict the most probable class of each sample.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The classes (n_samples).
        """
        best = self.predict_proba(X).argmax(1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: Matrix) -> Floats:
        """Predict the probability of each class.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The probabilities (n_samples, n_classes), in the order of ``classes_``.
        """
        return self._mapped(X, lambda model, x: model(x).softmax(1))

    def transform(self, X: Matrix) -> Floats:
        """Compute the code of each sample.

        Args:
            X: (n_samples, n_features_in_).

        Returns:
            The codes (n_samples, hidden).
        """
        return self._mapped(X, lambda model, x: model.encode(x))

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Reconstruct samples from codes, in correlation only: scale and offset are not those of the samples.

        Args:
            X: codes (n_samples, hidden).

        Returns:
            The reconstructions (n_samples, n_features_in_).

        Raises:
            InputError: ``X`` has another number of columns.
        """
        check_is_fitted(self, "model_")
        codes: Floats = check_array(X, dtype=DTYPES)
        if codes.shape[1] != self.model_.hidden:
            raise InputError(f"X must have {self.model_.hidden} columns, one a unit, got {codes.shape[1]}")
        return codes @ self.components_.astype(codes.dtype)

    def _mapped(self, X: Matrix, function: Callable[[SupervisedAutoencoder, torch.Tensor], torch.Tensor]) -> Floats:
        """``function`` of the samples, in their dtype."""
        check_is_fitted(self, "model_")
        samples: Any = validate_data(self, X, reset=False, accept_sparse="csr", dtype=DTYPES)
        device, parts = find_device(self.device), []
        model: SupervisedAutoencoder | None = None
        with threads(self.n_jobs), torch.inference_mode():
            for start in range(0, samples.shape[0], _CHUNK):
                rows = rows_of(samples[start : start + _CHUNK], None, device)
                model = copy.deepcopy(self.model_).to(device, rows.dtype) if model is None else model
                parts.append(function(model, rows if isinstance(rows, torch.Tensor) else rows[:]).cpu())
        return torch.cat(parts).numpy()


def rows_of(X: Matrix, dtype: torch.dtype | None, device: torch.device) -> torch.Tensor | SparseRows:
    """Return the same numbers, dense or sparse as ``X`` is; a copy if NumPy forbids to write to them."""
    if issparse(X):
        sparse: Any = X
        matrix: Any = csr_array(sparse)
        number = matrix.dtype if dtype is None else torch.empty(0, dtype=dtype).numpy().dtype
        return SparseRows(matrix.astype(number), device)
    return torch.from_numpy(np.require(X, requirements="W")).to(device, dtype)
