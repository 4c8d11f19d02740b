"""The memory layout of dense tensors, for kernels that work along one dimension."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["laid_out_as", "rows_in_memory"]


def laid_out_as(model: Tensor, x: Tensor) -> Tensor:
    """Return ``x`` with the type, shape and strides of ``model``: itself, or a copy."""
    same = x.dtype == model.dtype and x.shape == model.shape and x.stride() == model.stride() and not x.is_neg()
    return x if same else torch.empty_like(model).copy_(x)


def rows_in_memory(x: Tensor, dim: int) -> tuple[int, int, int]:
    """(outer, n, inner): entry i along ``dim`` of a dense ``x`` is at (o n + i) inner + j, o < outer, j < inner."""
    n, inner = x.shape[dim], x.stride(dim)
    return x.numel() // (n * inner), n, inner
