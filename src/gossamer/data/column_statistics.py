"""Location and spread of the columns of training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gossamer.data.values import refuse
from gossamer.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["column_scales", "column_statistics", "refuse_sparse", "standardised"]


def column_scales(matrix: csr_array, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Root of the mean square of those entries of each column that aren't zero; 0 for a column without any."""
    part = matrix[rows]
    refuse_sparse(part, rows)
    data = part.data.astype(np.float64)
    count = np.bincount(part.indices, data != 0, part.shape[1])
    total = np.bincount(part.indices, data**2, part.shape[1])
    return np.sqrt(np.divide(total, count, out=np.zeros_like(total), where=count > 0))


def refuse_sparse(matrix: csr_array, rows: NDArray[np.int64]) -> None:
    """Raise `InputError` for the first entry that is no finite number, naming its row."""
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if len(bad):
        row = int(rows[np.searchsorted(matrix.indptr, bad[0], side="right") - 1])
        raise InputError(f"entries of sparse rows must be finite numbers, got {matrix.data[bad[0]]} in row {row + 1}")


def column_statistics(
    x: NDArray[np.float64], names: Sequence[str], *, standardise: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Median, mean and standard deviation of each column of ``x``; its gaps are filled with the median.

    Unless ``standardise``, the mean is 0 and the deviation 1, or 0 for a constant.
    """
    gaps = np.isnan(x)
    median = np.nanmedian(x, axis=0) if gaps.any() else np.median(x, axis=0)
    x[gaps] = np.broadcast_to(median, x.shape)[gaps]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(axis=0)
        std = x.std(axis=0)
    for j in np.flatnonzero(~np.isfinite(std) | ~np.isfinite(median)):
        raise InputError(
            f"column {names[int(j)]!r} must hold numbers whose variance fits float64, got up to {x[:, j].max():g}"
        )
    # Rounding leaves a constant like 0.1 a tiny standard deviation: compare the values themselves.
    std[x.max(axis=0) == x.min(axis=0)] = 0
    return (median, mean, std) if standardise else (median, np.zeros_like(mean), (std > 0).astype(np.float64))


def standardised(
    block: NDArray[np.float64],
    median: NDArray[np.float64],
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    rows: NDArray[np.int64],
    names: Sequence[str],
) -> NDArray[np.float64]:
    """(x − mean) / std of each column, in place, with the median in its gaps; 0 where std is 0.

    `InputError` if a result does not fit float32, naming its row.
    """
    gaps = np.isnan(block)
    block[gaps] = np.broadcast_to(median, block.shape)[gaps]
    with np.errstate(over="ignore"):
        block -= mean
        np.divide(block, std, out=block, where=std > 0)
    block[:, std == 0] = 0
    refuse(np.abs(block) > np.finfo(np.float32).max, rows, names, "too far from the training rows for float32")
    return block
