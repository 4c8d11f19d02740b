"""The same products on the CPU in C++: float32, float64, and bfloat16 with sums in float32.

Matrices are feature-major, (features, batch) with contiguous rows, so that a row's product stays in registers.
Addresses and sizes go to C++; the tensors behind them are checked here.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor

from gossamer.kernels import _cpu
from gossamer.kernels.route import PRODUCTS, sums_in
from gossamer.kernels.structure import Structure

__all__ = [
    "feature_major",
    "linear",
    "relu_backward",
    "sddmm",
    "spmm",
    "spmm_t",
    "spmm_t_sddmm",
]

if hasattr(os, "register_at_fork"):
    # OpenMP's threads stay behind in the parent, and operators of torch would wait for them forever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def feature_major(x: Tensor) -> Tensor:
    """``x`` (features, batch) with the batch contiguous inside each row; a copy only if it is laid out otherwise."""
    x, batch = x.resolve_neg(), x.shape[1]
    if batch == 1:  # compilers make another loop of stride one, with other roundings
        return x if x.stride(0) == 1 else x.contiguous()
    if x.stride(1) == 1 and x.stride(0) >= batch:
        return x
    if x.stride(0) != 1 or x.stride(1) < x.shape[0] or x.dtype not in PRODUCTS:
        return x.contiguous()
    copy = x.new_empty(x.shape)
    _cpu.copy_transposed(
        x.element_size(), torch.get_num_threads(), x.data_ptr(), copy.data_ptr(), batch, x.shape[0], x.stride(1)
    )
    return copy


def _product(
    values: Tensor,
    x: Tensor,
    indptr: Tensor,
    indices: Tensor,
    by_rows: Structure | None,
    y: Tensor,
    bias: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Into ``y`` (rows, batch), from feature-major ``x`` (cols, batch)."""
    cols, batch = x.shape
    _cpu.spmm(
        PRODUCTS[x.dtype],
        torch.get_num_threads(),
        indptr.data_ptr(),
        indices.data_ptr(),
        indptr.numel() - 1,
        cols,
        0 if by_rows is None else by_rows.indptr.data_ptr(),
        0 if by_rows is None else by_rows.indices.data_ptr(),
        values.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        x.data_ptr(),
        y.data_ptr(),
        batch,
        x.stride(0),
        batch,
        relu,
    )
    return y


def spmm(values: Tensor, s: Structure, x: Tensor) -> Tensor:
    """W X."""
    x = feature_major(x)
    return _product(values, x, s.indptr, s.indices, None, x.new_empty(s.shape[0], x.shape[1]))


def spmm_t(values: Tensor, s: Structure, y: Tensor) -> Tensor:
    """Wᵀ Y."""
    y = feature_major(y)
    return _product(values, y, s.t_indptr, s.t_indices, s, y.new_empty(s.shape[1], y.shape[1]))


def linear(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """(W X + bias)ᵀ, through a ReLU if asked for: (cols, batch) -> (batch, rows), feature-major in memory both.

    Its own memory rather than a transposed view, which an in-place function after the layer could not change.
    """
    batch = x.shape[1]
    y = x.new_empty_strided((batch, s.indptr.numel() - 1), (1, batch))
    return _product(values, x, s.indptr, s.indices, None, y, bias, relu)


def relu_backward(grad: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient before a ReLU and its sum over the batch, from those behind it: (rows, batch) each, y its output."""
    g, y = feature_major(grad), feature_major(y)
    rows, batch = g.shape
    out, dbias = g.new_empty(g.shape), g.new_empty(rows)
    _cpu.relu_gradient(
        PRODUCTS[g.dtype],
        torch.get_num_threads(),
        g.data_ptr(),
        y.data_ptr(),
        out.data_ptr(),
        dbias.data_ptr(),
        rows,
        batch,
        g.stride(0),
        y.stride(0),
        batch,
    )
    return out, dbias


def _inner(
    values: Tensor | None, a: Tensor, b: Tensor, indptr: Tensor, indices: Tensor, by_rows: Structure | None
) -> tuple[Tensor | None, Tensor]:
    a, b = feature_major(a), feature_major(b)
    rows, batch = a.shape
    da = None if values is None else a.new_empty(rows, batch)
    products = (a.new_empty if batch else a.new_zeros)(indices.numel(), dtype=sums_in(a.dtype))
    _cpu.spmm_sddmm(
        PRODUCTS[a.dtype],
        torch.get_num_threads(),
        indptr.data_ptr(),
        indices.data_ptr(),
        rows,
        b.shape[0],
        0 if by_rows is None else by_rows.indptr.data_ptr(),
        0 if by_rows is None else by_rows.indices.data_ptr(),
        0 if values is None else values.data_ptr(),
        a.data_ptr(),
        b.data_ptr(),
        0 if da is None else da.data_ptr(),
        products.data_ptr(),
        batch,
        a.stride(0),
        b.stride(0),
        batch,
    )
    return da, products.to(a.dtype)


def sddmm(a: Tensor, b: Tensor, s: Structure) -> Tensor:
    """⟨A[r], B[c]⟩ for each connection (r, c)."""
    return _inner(None, a, b, s.indptr, s.indices, None)[1]


_APART = 1 << 23  # bytes of values and their gradients, above which they lie in no second-level cache
_FEW = 64  # samples


def spmm_t_sddmm(values: Tensor, s: Structure, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """(Wᵀ grad, sddmm(grad, x)): each row of ``grad`` is read once for both.

    By the rows of Wᵀ, values and their gradients lie anywhere. Where both are far and a row of ``grad`` is short,
    reading it twice costs less: then gradients are made by the rows of W.
    """
    if x.shape[1] <= _FEW and 2 * values.numel() * values.element_size() > _APART:
        x, grad = feature_major(x), feature_major(grad)
        return spmm_t(values, s, grad), sddmm(grad, x, s)
    grad_x, grad_values = _inner(values, x, grad, s.t_indptr, s.t_indices, s)
    assert grad_x is not None
    return grad_x, grad_values
