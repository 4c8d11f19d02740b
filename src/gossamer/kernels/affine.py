"""A sparse layer as one PyTorch operator: product, bias and ReLU, with derivatives.

``gossamer::linear``  Y = X Wᵀ + b, through a ReLU if asked for: X (batch, cols), Y (batch, rows)

It is one kernel call forward and one backward; its second derivative goes through the products of
`gossamer.kernels.ops`. Its result is the transposed view of a feature-major matrix: element-wise layers keep that
layout, and the next sparse layer reads it without a copy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu, native, reference
from gossamer.kernels.checks import check_bias, check_matrix, check_values
from gossamer.kernels.ops import sddmm, spmm_t
from gossamer.kernels.route import AUTOGRAD, KERNEL, OPERATOR, REFERENCE, half_as_float, in_cpp, way, way_back
from gossamer.kernels.structure import Structure, own_view, unwrapped

__all__ = ["linear"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(f"linear(Tensor values, {_INDEX}, Tensor x, Tensor? bias, bool relu) -> Tensor")
_library.define(f"linear_backward(Tensor grad, Tensor values, {_INDEX}, Tensor x) -> (Tensor, Tensor)")


# ---- computation ---------------------------------------------------------------------------------------------------


def _check(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None) -> None:
    check_values(values, s)
    check_matrix("x", x, s.shape[1], 1, values)
    check_bias(bias, s, values)


def _in_cpp(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """From feature-major ``x`` (cols, batch)."""
    return native.linear(values.contiguous(), s, x, None if bias is None else bias.contiguous(), relu)


def _in_torch(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    y = reference.spmm(values, s, x.t())
    if bias is not None:
        y = y + bias[:, None]
    return (y.relu() if relu else y).t()


@half_as_float
def _linear(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    relu: bool,
) -> Tensor:
    s = Structure(indptr, indices, t_indptr, t_indices)
    _check(values, s, x, bias)
    if in_cpp(x):
        return _in_cpp(values, s, native.feature_major(x.t()), bias, relu)
    y = _in_torch(values, s, x, bias, relu)
    return y.new_empty_strided(y.shape, (1, y.shape[0])).copy_(y)


@half_as_float
def _linear_backward(
    grad: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
) -> tuple[Tensor, Tensor]:
    s = Structure(indptr, indices, t_indptr, t_indices)
    check_values(values, s)
    check_matrix("x", x, s.shape[1], 1, values)
    check_matrix("grad", grad, s.shape[0], 1, values)
    if grad.shape[0] != x.shape[0]:
        raise InputError(f"grad and x must have the same batch, got {grad.shape[0]} and {x.shape[0]}")
    if in_cpp(x):
        grad_x, grad_values = native.spmm_t_sddmm(values.contiguous(), s, x.t(), grad.t())
        return grad_x.t(), grad_values
    return reference.spmm_t(values, s, grad.t()).t(), reference.sddmm(grad.t(), x.t(), s)


_library.impl("linear", _linear, "CompositeExplicitAutograd")
_library.impl("linear_backward", _linear_backward, "CompositeExplicitAutograd")


# ---- shapes only, for compilers ------------------------------------------------------------------------------------


def _fake_linear(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    relu: bool,
) -> Tensor:
    return x.new_empty_strided((x.shape[0], indptr.shape[0] - 1), (1, x.shape[0]))


def _fake_linear_backward(
    grad: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1], x.shape[0]).t(), values.new_empty(values.shape)


torch.library.register_fake("gossamer::linear", _fake_linear, lib=_library)
torch.library.register_fake("gossamer::linear_backward", _fake_linear_backward, lib=_library)


# ---- derivatives ---------------------------------------------------------------------------------------------------


class _Inputs(NamedTuple):
    """Of ``gossamer::linear``, or something for each of them: a gradient, or whether one is needed."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    x: Any = None
    bias: Any = None
    relu: Any = None


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, indptr, indices, t_indptr, t_indices, x, _, relu = inputs
    ctx.save_for_backward(values, indptr, indices, t_indptr, t_indices, x, output if relu else None)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, indptr, indices, t_indptr, t_indices, x, y = ctx.saved_tensors
    s, need, chosen = Structure(indptr, indices, t_indptr, t_indices), _Inputs(*ctx.needs_input_grad), way_back(grad)
    if chosen is KERNEL and in_cpp(grad):
        kept = getattr(ctx, "feature_major", None)
        kept = x.t() if kept is None else kept
        done = None if grad.is_neg() or kept.is_neg() else _cpu.linear_backward(
            values, *s, kept, grad, y, need.values, need.x, need.bias, torch.get_num_threads()
        )  # fmt: skip
        if done is not None:
            grad_values, grad_x, grad_bias = done
            return _Inputs(values=grad_values, x=grad_x, bias=grad_bias)
        return _gradient_in_cpp(values, s, kept, y, grad.t(), need)
    if y is not None:
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
    grad_x = grad_values = None
    if need.values and need.x and chosen is not AUTOGRAD:
        grad_x, grad_values = torch.ops.gossamer.linear_backward(grad, values, *s, x)
    else:  # one of the two, or both to be differentiated again or transformed
        grad_values = sddmm(grad.t(), x.t(), s) if need.values else None
        grad_x = spmm_t(values, s, grad.t()).t() if need.x else None
    return _Inputs(values=grad_values, x=grad_x, bias=grad.sum(0) if need.bias else None)


def _gradient_in_cpp(
    values: Tensor, s: Structure, x: Tensor, y: Tensor | None, grad: Tensor, need: _Inputs
) -> tuple[Tensor | None, ...]:
    """The same straight in C++, for there are numbers to read: the dispatcher takes as long as a small product.

    ``x`` (cols, batch), ``grad`` (rows, batch), ``y`` (batch, rows). Forward and autograd have seen to their shapes; of
    the weights and the pattern, other tensors may have taken the place since.
    """
    check_values(values, s)
    if values.dtype != grad.dtype:
        raise InputError(f"values must have the dtype of the gradient, {grad.dtype}, got {values.dtype}")
    grad_x = grad_values = grad_bias = None
    values = values.contiguous()
    if y is not None:
        grad, grad_bias = native.relu_backward(grad, y.t())
    elif need.bias:
        grad_bias = grad.sum(1)
    if need.values and need.x:
        grad_x, grad_values = native.spmm_t_sddmm(values, s, x, grad)
    elif need.values:
        grad_values = native.sddmm(grad, x, s)
    elif need.x:
        grad_x = native.spmm_t(values, s, grad)
    return _Inputs(
        values=grad_values,
        x=None if grad_x is None else grad_x.t(),
        bias=grad_bias if need.bias else None,
    )


torch.library.register_autograd("gossamer::linear", _gradient, setup_context=_save, lib=_library)


class _Linear(torch.autograd.Function):
    """``gossamer::linear`` without the dispatcher, which takes longer than the product of a small layer."""

    @staticmethod
    def forward(  # in one with the context: half the time of a separate set-up
        ctx: Any,
        values: Tensor,
        indptr: Tensor,
        indices: Tensor,
        t_indptr: Tensor,
        t_indices: Tensor,
        x: Tensor,
        bias: Tensor | None,
        relu: bool,
    ) -> Tensor:
        done = None if x.is_neg() else _cpu.linear(
            values, indptr, indices, t_indptr, t_indices, x, bias, relu, True, torch.get_num_threads()
        )  # fmt: skip
        if done is not None:
            output, ctx.feature_major = done  # once for both passes
        elif in_cpp(x):
            s = Structure(indptr, indices, t_indptr, t_indices)
            _check(values, s, x, bias)
            ctx.feature_major = native.feature_major(x.t())
            output = _in_cpp(values, s, ctx.feature_major, bias, relu)
        else:
            output = _linear(values, indptr, indices, t_indptr, t_indices, x, bias, relu)
        ctx.save_for_backward(values, indptr, indices, t_indptr, t_indices, x, output if relu else None)
        return output

    backward = staticmethod(_gradient)


def linear(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Compute X Wᵀ + bias, through a ReLU if ``relu``.

    Args:
        values: weights (nnz), in CSR order.
        s: their connections, (rows, cols).
        x: (batch, cols).
        bias: (rows), or None.
        relu: return the positive part.

    Returns:
        (batch, rows), feature-major in memory.
    """
    chosen = way(x, values)
    if chosen is AUTOGRAD:
        return _Linear.apply(own_view(values), *s, x, bias, relu)  # type: ignore[no-any-return, no-untyped-call]
    if chosen is OPERATOR:
        return torch.ops.gossamer.linear(own_view(values), *s, x, bias, relu)  # type: ignore[no-any-return]
    if chosen is REFERENCE:
        s = unwrapped(s)
        _check(values, s, x, bias)
        return _in_torch(values, s, x, bias, relu)
    done = None if x.is_neg() else _cpu.linear(values, *s, x, bias, relu, False, torch.get_num_threads())
    return _linear(values, *s, x, bias, relu) if done is None else done
