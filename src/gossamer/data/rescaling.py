"""Columns that are only divided: pixels by one number, sparse rows by a scale for each column. Zero stays zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells
from gossamer.data.column_statistics import refuse_sparse
from gossamer.data.values import column_numbers, refuse
from gossamer.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["rescaled", "rescaled_sparse"]

CHUNK = 1024  # rows of pixels handled at a time: they stay in the cache between gathering and dividing


def rescaled(
    raw: NDArray[Any] | Cells, columns: Sequence[str], divisor: float, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the ``rows`` of ``raw`` over ``divisor``, float32; `InputError` if one is not finite."""
    x = np.empty((len(rows), len(columns)), dtype=np.float32)
    if isinstance(raw, np.ndarray):
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            np.divide(raw[rows[part]], divisor, out=x[part], dtype=np.float32, casting="same_kind")
    else:
        for j, name in enumerate(columns):
            x[:, j] = column_numbers(raw[name], name, rows) / divisor
    # One sum shows whether every value is finite, without an array of flags; only then search for the wrong value.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(x.sum(dtype=np.float64))
    if not finite:
        refuse(~np.isfinite(x), rows, columns, "missing or infinite; pixels must be finite")
    return x


def rescaled_sparse(raw: csr_array, scales: NDArray[np.float64], rows: NDArray[np.int64]) -> csr_array:
    """Return the ``rows`` of ``raw`` over the scale of each column, float32; 0 where that is 0."""
    from scipy.sparse import csr_array

    x = csr_array(raw)[rows].astype(np.float64)
    refuse_sparse(x, rows)
    scale = scales[x.indices]
    np.divide(x.data, scale, out=x.data, where=scale > 0)
    x.data[scale == 0] = 0  # no row of training had this column
    with np.errstate(over="ignore"):
        out = x.astype(np.float32)
    if not np.isfinite(out.data).all():
        raise InputError("rows must be numbers near those of training, got some too large for float32")
    out.eliminate_zeros()
    return out
