"""Scaling of inputs that never makes a sparse matrix dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gossamer.errors import InputError
from gossamer.training.samples import SparseRows

__all__ = ["Matrix", "Scaling", "dense"]

Matrix = Any
"""(n, features): an array, or a sparse matrix in CSR form."""

_CHUNK = 1 << 20  # numbers that are scaled at a time, in float64


def dense(x: Matrix) -> NDArray[Any]:
    """Return ``x`` as an array."""
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Scaling of columns, x ↦ (x − mean) / scale; ``mean`` and ``scale`` (features) are None for the identity.

    A scaling learned from dense rows makes mean 0 and variance 1; a constant column is not divided. A scaling learned
    from a sparse matrix leaves zero at zero, and gives the non-zero entries mean square 1: the standard deviation of a
    column with few of them would make them very large. Either way equal numbers give equal inputs, in any form.
    """

    mean: NDArray[np.float64] | None
    scale: NDArray[np.float64] | None

    @classmethod
    def learn(cls, X: Matrix, weight: NDArray[np.float64] | None) -> Scaling:
        """Learn a scaling from the rows of ``X``, each of which counts ``weight`` times."""
        if not issparse(X):
            with np.errstate(over="ignore", invalid="ignore"):
                scaler = StandardScaler().fit(X, sample_weight=weight)
            return cls(scaler.mean_, _finite(scaler.scale_))
        matrix: Any = X
        counts = np.ones(matrix.shape[0]) if weight is None else weight
        counts = np.repeat(counts, np.diff(matrix.indptr)) * (matrix.data != 0)
        with np.errstate(over="ignore"):
            squares = counts * matrix.data.astype(np.float64) ** 2
        nonzero, total = (np.bincount(matrix.indices, each, minlength=matrix.shape[1]) for each in (counts, squares))
        return cls(None, _finite(np.sqrt(np.divide(total, nonzero, out=np.ones_like(total), where=total > 0))))

    def rows(self, X: Matrix, dtype: torch.dtype, device: torch.device) -> Tensor | SparseRows:
        """Scale ``X`` as a network reads it: a copy, dense or sparse as ``X`` is."""
        number = torch.empty(0, dtype=dtype).numpy().dtype
        sparse: bool = issparse(X)
        if sparse:
            matrix = X.tocsr().astype(number)
            if self.scale is not None:
                matrix.data /= self.scale[matrix.indices]
            shift = None if self.mean is None or self.scale is None else torch.from_numpy(self.mean / self.scale)
            return SparseRows(matrix, device, None if shift is None else shift.to(device, dtype))
        out = np.empty(X.shape, number)
        size = max(1, _CHUNK // max(1, X.shape[1]))
        for start in range(0, len(X), size):
            part = X[start : start + size]
            if self.mean is not None:
                part = part - self.mean
            out[start : start + size] = part if self.scale is None else part / self.scale
        return torch.from_numpy(out).to(device)


def _finite(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(scale).all():
        column = int(np.flatnonzero(~np.isfinite(scale))[0])
        raise InputError(
            f"X must be numbers whose squares are finite to be standardised, got larger ones in column {column}"
        )
    return scale
