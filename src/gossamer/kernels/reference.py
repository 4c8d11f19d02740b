"""The products of a sparse layer in plain torch: any device, any floating dtype. The oracle of the tests.

With W the (rows × cols) matrix that has ``values`` at the connections of ``s``:

``spmm``     Y = W X          (cols, batch) -> (rows, batch)
``spmm_t``   X = Wᵀ Y         (rows, batch) -> (cols, batch)
``sddmm``    v_j = ⟨A[r_j], B[c_j]⟩   A (rows, batch), B (cols, batch) -> (nnz)

No (rows × cols) array is made; temporaries are cut to ``_BLOCK`` numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gossamer.kernels.structure import Structure, rows_of

__all__ = ["sddmm", "spmm", "spmm_t"]

_BLOCK = 1 << 24


def _blocks(nnz: int, batch: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(batch, 1))
    return (slice(start, start + step) for start in range(0, nnz, step))


def _scatter_product(values: Tensor, to: Tensor, source: Tensor, x: Tensor, size: int) -> Tensor:
    """out[to_j] += values_j · x[source_j], summed in float32 at least."""
    wide = torch.promote_types(x.dtype, torch.float32)
    out = torch.zeros(size, x.shape[1], dtype=wide, device=x.device)
    for block in _blocks(values.numel(), x.shape[1]):
        terms = values[block, None].to(wide) * x[source[block].long()].to(wide)
        out = out.index_add(0, to[block].long(), terms)  # in place, it would refuse the transforms of torch.func
    return out.to(x.dtype)


def spmm(values: Tensor, s: Structure, x: Tensor) -> Tensor:
    """Compute W X: (cols, batch) -> (rows, batch)."""
    return _scatter_product(values, rows_of(s.indptr), s.indices, x, s.shape[0])


def spmm_t(values: Tensor, s: Structure, y: Tensor) -> Tensor:
    """Compute Wᵀ Y: (rows, batch) -> (cols, batch)."""
    return _scatter_product(values, s.indices, rows_of(s.indptr), y, s.shape[1])


def sddmm(a: Tensor, b: Tensor, s: Structure) -> Tensor:
    """Compute ⟨A[r], B[c]⟩ at each connection (r, c): (nnz)."""
    wide = torch.promote_types(a.dtype, torch.float32)
    rows = rows_of(s.indptr)
    parts = [
        (a[rows[block]].to(wide) * b[s.indices[block].long()].to(wide)).sum(1).to(a.dtype)
        for block in _blocks(s.nnz, a.shape[1])
    ]
    return torch.cat(parts) if parts else a.new_zeros(0)
