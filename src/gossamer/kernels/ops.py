"""The three products of a sparse layer as PyTorch operators, with derivatives.

W is the (rows × cols) matrix that has ``values`` (nnz) at the connections of a `Structure`.

==========================  ==============================================  ========================================
``gossamer::spmm``          Y = W X                                          X (cols, batch), Y (rows, batch)
``gossamer::spmm_t``        X = Wᵀ Y                                         the other way round
``gossamer::sddmm``         v_j = ⟨A[r_j], B[c_j]⟩ at connection (r_j, c_j)   A (rows, batch), B (cols, batch)
==========================  ==============================================  ========================================

They are each other's derivatives, so they can be differentiated any number of times. `gossamer.kernels.affine` makes
one operator of them and a bias, for layers. `gossamer.kernels.route` decides where they run in C++.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.kernels import native, reference
from gossamer.kernels.checks import check_inner, check_matrix, check_values
from gossamer.kernels.route import half_as_float, in_cpp, transformed
from gossamer.kernels.structure import Structure, own_view, unwrapped

__all__ = ["sddmm", "spmm", "spmm_t"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_library = torch.library.Library("gossamer", "DEF")
_library.define(f"spmm(Tensor values, {_INDEX}, Tensor x) -> Tensor")
_library.define(f"spmm_t(Tensor values, {_INDEX}, Tensor y) -> Tensor")
_library.define(f"sddmm(Tensor a, Tensor b, {_INDEX}) -> Tensor")


# ---- computation ---------------------------------------------------------------------------------------------------


@half_as_float
def _spmm(values: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor, x: Tensor) -> Tensor:
    s = Structure(indptr, indices, t_indptr, t_indices)
    check_values(values, s)
    check_matrix("x", x, s.shape[1], 0, values)
    if not in_cpp(x):
        return reference.spmm(values, s, x)
    return native.spmm(values.contiguous(), s, x)


@half_as_float
def _spmm_t(values: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor, y: Tensor) -> Tensor:
    s = Structure(indptr, indices, t_indptr, t_indices)
    check_values(values, s)
    check_matrix("y", y, s.shape[0], 0, values)
    if not in_cpp(y):
        return reference.spmm_t(values, s, y)
    return native.spmm_t(values.contiguous(), s, y)


@half_as_float
def _sddmm(a: Tensor, b: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor) -> Tensor:
    s = Structure(indptr, indices, t_indptr, t_indices)
    check_inner(a, b, s)
    return native.sddmm(a, b, s) if in_cpp(a) else reference.sddmm(a, b, s)


for _name, _function in (
    ("spmm", _spmm),
    ("spmm_t", _spmm_t),
    ("sddmm", _sddmm),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")


# ---- shapes only, for compilers ------------------------------------------------------------------------------------


def _fake_spmm(
    values: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor, x: Tensor
) -> Tensor:
    return x.new_empty(indptr.shape[0] - 1, x.shape[1])


def _fake_spmm_t(
    values: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor, y: Tensor
) -> Tensor:
    return y.new_empty(t_indptr.shape[0] - 1, y.shape[1])


def _fake_sddmm(a: Tensor, b: Tensor, indptr: Tensor, indices: Tensor, t_indptr: Tensor, t_indices: Tensor) -> Tensor:
    return a.new_empty(indices.shape[0])


for _name, _fake in (
    ("spmm", _fake_spmm),
    ("spmm_t", _fake_spmm_t),
    ("sddmm", _fake_sddmm),
):
    torch.library.register_fake(f"gossamer::{_name}", _fake, lib=_library)


# ---- derivatives ---------------------------------------------------------------------------------------------------


def spmm(values: Tensor, s: Structure, x: Tensor) -> Tensor:
    """Compute the product W X of a sparse matrix and a dense one.

    Args:
        values: weights (nnz), in CSR order.
        s: their connections, (rows, cols).
        x: (cols, batch).

    Returns:
        (rows, batch).
    """
    if transformed():
        s = unwrapped(s)
        check_values(values, s)
        check_matrix("x", x, s.shape[1], 0, values)
        return reference.spmm(values, s, x)
    return torch.ops.gossamer.spmm(own_view(values), *s, x)  # type: ignore[no-any-return]


def spmm_t(values: Tensor, s: Structure, y: Tensor) -> Tensor:
    """Compute the product Wᵀ Y of a transposed sparse matrix and a dense one.

    Args:
        values: weights (nnz), in CSR order.
        s: their connections, (rows, cols).
        y: (rows, batch).

    Returns:
        (cols, batch).
    """
    if transformed():
        s = unwrapped(s)
        check_values(values, s)
        check_matrix("y", y, s.shape[0], 0, values)
        return reference.spmm_t(values, s, y)
    return torch.ops.gossamer.spmm_t(own_view(values), *s, y)  # type: ignore[no-any-return]


def sddmm(a: Tensor, b: Tensor, s: Structure) -> Tensor:
    """Compute ⟨a[r], b[c]⟩ at each connection (r, c), a dense product sampled at the connections.

    Args:
        a: (rows, batch).
        b: (cols, batch).
        s: the connections, (rows, cols).

    Returns:
        (nnz), in CSR order.
    """
    if transformed():
        s = unwrapped(s)
        check_inner(a, b, s)
        return reference.sddmm(a, b, s)
    return torch.ops.gossamer.sddmm(a, b, *s)  # type: ignore[no-any-return]


class _ProductInputs(NamedTuple):
    """Of ``gossamer::spmm`` and ``spmm_t``, or something for each of them: a gradient, or whether one is needed."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    x: Any = None


class _InnerInputs(NamedTuple):
    """The same of ``gossamer::sddmm``."""

    a: Any = None
    b: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _spmm_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, indptr, indices, t_indptr, t_indices, x = ctx.saved_tensors
    s, need = Structure(indptr, indices, t_indptr, t_indices), _ProductInputs(*ctx.needs_input_grad)
    return _ProductInputs(
        values=sddmm(grad, x, s) if need.values else None,
        x=spmm_t(values, s, grad) if need.x else None,
    )


def _spmm_t_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, indptr, indices, t_indptr, t_indices, y = ctx.saved_tensors
    s, need = Structure(indptr, indices, t_indptr, t_indices), _ProductInputs(*ctx.needs_input_grad)
    return _ProductInputs(
        values=sddmm(y, grad, s) if need.values else None,
        x=spmm(values, s, grad) if need.x else None,
    )


def _sddmm_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, b, indptr, indices, t_indptr, t_indices = ctx.saved_tensors
    s, need = Structure(indptr, indices, t_indptr, t_indices), _InnerInputs(*ctx.needs_input_grad)
    return _InnerInputs(
        a=spmm(grad, s, b) if need.a else None,
        b=spmm_t(grad, s, a) if need.b else None,
    )


torch.library.register_autograd("gossamer::spmm", _spmm_gradient, setup_context=_save, lib=_library)
torch.library.register_autograd("gossamer::spmm_t", _spmm_t_gradient, setup_context=_save, lib=_library)
torch.library.register_autograd("gossamer::sddmm", _sddmm_gradient, setup_context=_save, lib=_library)
