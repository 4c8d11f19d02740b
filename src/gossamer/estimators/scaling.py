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

from gossamer.training.samples import SparseRows

__all__ = ["Matrix", "Scaling", "dense"]

Matrix = Any
"""(n, features): an array, or a sparse matrix in CSR form."""

_CHUNK = 1 << 20  # numbers that are scaled at a time, in float64


def dense(x: Matrix) -> NDArray[Any]:
    """``x`` as an array."""
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)


@dataclass(frozen=True, eq=False)
class Scaling:
    """x ↦ (x − mean) / std of each column; ``mean`` and ``std`` (features) are None where nothing is done.

    What was learned from a sparse matrix does not centre: a zero stays a zero. What was learned from dense rows does,
    for sparse rows too, so that the same numbers always give the same inputs. A constant column is not divided.
    """

    mean: NDArray[np.float64] | None
    std: NDArray[np.float64] | None

    @classmethod
    def learn(cls, X: Matrix, weight: NDArray[np.float64] | None) -> Scaling:
        """From the rows of ``X``, each of which counts ``weight`` times."""
        scaler = StandardScaler(with_mean=not issparse(X)).fit(X, sample_weight=weight)
        return cls(scaler.mean_ if scaler.with_mean else None, scaler.scale_)

    def rows(self, X: Matrix, dtype: torch.dtype, device: torch.device) -> Tensor | SparseRows:
        """``X`` scaled, as a network reads it: a copy, dense or sparse as ``X`` is."""
        number = torch.empty(0, dtype=dtype).numpy().dtype
        sparse: bool = issparse(X)
        if sparse:
            matrix = X.tocsr().astype(number)
            if self.std is not None:
                matrix.data /= self.std[matrix.indices]
            shift = None if self.mean is None or self.std is None else torch.from_numpy(self.mean / self.std)
            return SparseRows(matrix, device, None if shift is None else shift.to(device, dtype))
        out = np.empty(X.shape, number)
        size = max(1, _CHUNK // max(1, X.shape[1]))
        for start in range(0, len(X), size):
            part = X[start : start + size]
            if self.mean is not None:
                part = part - self.mean
            out[start : start + size] = part if self.std is None else part / self.std
        return torch.from_numpy(out).to(device)
