"""The products of a sparse layer as PyTorch operators, with derivatives.

W is the (rows × cols) matrix that has ``values`` (nnz) at the connections of a `Structure`.

==========================  ==============================================  ========================================
``gossamer::spmm``          Y = W X                                          X (cols, batch), Y (rows, batch)
``gossamer::spmm_t``        X = Wᵀ Y                                         the other way round
``gossamer::sddmm``         v_j = ⟨A[r_j], B[c_j]⟩ at connection (r_j, c_j)   A (rows, batch), B (cols, batch)
``gossamer::linear``        Y = X Wᵀ + b, through a ReLU if asked for        X (batch, cols), Y (batch, rows)
==========================  ==============================================  ========================================

The first three are each other's derivatives, so they can be differentiated any number of times. ``linear`` is one
kernel call forward and one backward; its second derivative goes through the first three. Its result is the transposed
view of a feature-major matrix: element-wise layers keep that layout, and the next sparse layer reads it without a copy.

On the CPU, float32, float64 and bfloat16 run in C++, float16 is computed in float32; other dtypes and devices run the
torch reference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import native, reference
from gossamer.kernels.layout import observed
from gossamer.kernels.structure import Structure, own_view, transformed, validate

__all__ = ["check_bias", "check_matrix", "check_values", "linear", "sddmm", "spmm", "spmm_t"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_library = torch.library.Library("gossamer", "DEF")
_library.define(f"spmm(Tensor values, {_INDEX}, Tensor x) -> Tensor")
_library.define(f"spmm_t(Tensor values, {_INDEX}, Tensor y) -> Tensor")
_library.define(f"sddmm(Tensor a, Tensor b, {_INDEX}) -> Tensor")
_library.define(f"linear(Tensor values, {_INDEX}, Tensor x, Tensor? bias, bool relu) -> Tensor")
_library.define(f"linear_backward(Tensor grad, Tensor values, {_INDEX}, Tensor x) -> (Tensor, Tensor)")


# ---- what is computed ----------------------------------------------------------------------------------------------


def _compiled(x: Tensor) -> bool:
    return x.is_cpu and x.dtype in native.DTYPES


def check_matrix(name: str, x: Tensor, features: int, dim: int, values: Tensor) -> None:
    """Raise `InputError` unless ``x`` is a matrix with so many features along ``dim``, like ``values``."""
    if x.dim() != 2 or x.shape[dim] != features:
        wanted = f"({features}, batch)" if dim == 0 else f"(batch, {features})"
        raise InputError(f"{name} must have shape {wanted}, got {tuple(x.shape)}")
    if x.dtype != values.dtype:
        raise InputError(f"{name} must have the dtype of values, {values.dtype}, got {x.dtype}")
    if x.device != values.device:
        raise InputError(f"{name} must be on the device of values, {values.device}, got {x.device}")


def check_values(values: Tensor, s: Structure) -> None:
    """Raise `InputError` unless ``s`` is sound and ``values`` has a floating-point number for each of its entries."""
    if values.dim() != 1 or values.numel() != s.nnz:
        raise InputError(f"values must be a vector of {s.nnz} numbers, got shape {tuple(values.shape)}")
    if not values.is_floating_point():
        raise InputError(f"values must be floating point, got {values.dtype}")
    _check_structure(s, values)


def _check_structure(s: Structure, like: Tensor) -> None:
    if s.indptr.device != like.device:
        raise InputError(f"the pattern must be on the device of the numbers, {like.device}, got {s.indptr.device}")
    validate(s)


def check_bias(bias: Tensor | None, s: Structure, values: Tensor) -> None:
    """Raise `InputError` unless ``bias`` is none, or one number for each row, like ``values``."""
    if bias is None:
        return
    if bias.shape != (s.shape[0],) or bias.dtype != values.dtype or bias.device != values.device:
        raise InputError(
            f"bias must be a vector of {s.shape[0]} {values.dtype} on {values.device}, "
            f"got {bias.dtype} of shape {tuple(bias.shape)} on {bias.device}"
        )


def _check_inner(a: Tensor, b: Tensor, s: Structure) -> None:
    if not a.is_floating_point():
        raise InputError(f"a must be floating point, got {a.dtype}")
    _check_structure(s, a)
    check_matrix("a", a, s.shape[0], 0, a)
    check_matrix("b", b, s.shape[1], 0, a)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"a and b must have the same batch, got {a.shape[1]} and {b.shape[1]}")


@native.half_as_float
def _spmm(values: Tensor, *rest: Tensor) -> Tensor:
    *index, x = rest
    s = Structure(*index)
    check_values(values, s)
    check_matrix("x", x, s.shape[1], 0, values)
    if not _compiled(x):
        return reference.spmm(values, s, x)
    return native.spmm(values.contiguous(), s, x)


@native.half_as_float
def _spmm_t(values: Tensor, *rest: Tensor) -> Tensor:
    *index, y = rest
    s = Structure(*index)
    check_values(values, s)
    check_matrix("y", y, s.shape[0], 0, values)
    if not _compiled(y):
        return reference.spmm_t(values, s, y)
    return native.spmm_t(values.contiguous(), s, y)


@native.half_as_float
def _sddmm(a: Tensor, b: Tensor, *index: Tensor) -> Tensor:
    s = Structure(*index)
    _check_inner(a, b, s)
    return native.sddmm(a, b, s) if _compiled(a) else reference.sddmm(a, b, s)


def _check_linear(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None) -> None:
    check_values(values, s)
    check_matrix("x", x, s.shape[1], 1, values)
    check_bias(bias, s, values)


def _native_linear(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    return native.linear(values.contiguous(), s, x, None if bias is None else bias.contiguous(), relu)


@native.half_as_float
def _linear(values: Tensor, *rest: Any) -> Tensor:
    *index, x, bias, relu = rest
    s = Structure(*index)
    _check_linear(values, s, x, bias)
    if _compiled(x):
        return _native_linear(values, s, native.feature_major(x.t()), bias, relu)
    y = _plain_linear(values, s, x, bias, relu)
    return y.new_empty_strided(y.shape, (1, y.shape[0])).copy_(y)


def _plain_linear(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    y = reference.spmm(values, s, x.t())
    if bias is not None:
        y = y + bias[:, None]
    return (y.relu() if relu else y).t()


@native.half_as_float
def _linear_backward(grad: Tensor, values: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    *index, x = rest
    s = Structure(*index)
    check_values(values, s)
    check_matrix("x", x, s.shape[1], 1, values)
    check_matrix("grad", grad, s.shape[0], 1, values)
    if grad.shape[0] != x.shape[0]:
        raise InputError(f"grad and x must have the same batch, got {grad.shape[0]} and {x.shape[0]}")
    if _compiled(x):
        grad_x, grad_values = native.spmm_t_sddmm(values.contiguous(), s, x.t(), grad.t())
        return grad_x.t(), grad_values
    return reference.spmm_t(values, s, grad.t()).t(), reference.sddmm(grad.t(), x.t(), s)


for _name, _function in (
    ("spmm", _spmm),
    ("spmm_t", _spmm_t),
    ("sddmm", _sddmm),
    ("linear", _linear),
    ("linear_backward", _linear_backward),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")


# ---- shapes only, for compilers ------------------------------------------------------------------------------------


def _fake_spmm(values: Tensor, *rest: Tensor) -> Tensor:
    return rest[-1].new_empty(rest[0].shape[0] - 1, rest[-1].shape[1])


def _fake_spmm_t(values: Tensor, *rest: Tensor) -> Tensor:
    return rest[-1].new_empty(rest[2].shape[0] - 1, rest[-1].shape[1])


def _fake_sddmm(a: Tensor, b: Tensor, *index: Tensor) -> Tensor:
    return a.new_empty(index[1].shape[0])


def _fake_linear(values: Tensor, *rest: Any) -> Tensor:
    x: Tensor = rest[4]
    return x.new_empty_strided((x.shape[0], rest[0].shape[0] - 1), (1, x.shape[0]))


def _fake_linear_backward(grad: Tensor, values: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    x = rest[-1]
    return x.new_empty(x.shape[1], x.shape[0]).t(), values.new_empty(values.shape)


for _name, _fake in (
    ("spmm", _fake_spmm),
    ("spmm_t", _fake_spmm_t),
    ("sddmm", _fake_sddmm),
    ("linear", _fake_linear),
    ("linear_backward", _fake_linear_backward),
):
    torch.library.register_fake(f"gossamer::{_name}", _fake, lib=_library)


# ---- derivatives ---------------------------------------------------------------------------------------------------


def _bare(s: Structure) -> Structure:
    """The index tensors themselves, where torch.func.grad has wrapped them as arguments of its function."""
    functorch = torch._C._functorch

    def bare(t: Tensor) -> Tensor:
        while functorch.is_gradtrackingtensor(t):
            t = functorch.get_unwrapped(t)
        if functorch.is_batchedtensor(t):
            raise InputError("the pattern must be the same for all samples of a vmap: give its buffers the in_dim None")
        return t

    return Structure(*map(bare, s))


def spmm(values: Tensor, s: Structure, x: Tensor) -> Tensor:
    """Compute the product W X of a sparse matrix and a dense one.

    Args:
        values: weights (nnz), in row order.
        s: their connections, (rows, cols).
        x: (cols, batch).

    Returns:
        (rows, batch).
    """
    if transformed():
        s = _bare(s)
        check_values(values, s)
        check_matrix("x", x, s.shape[1], 0, values)
        return reference.spmm(values, s, x)
    return torch.ops.gossamer.spmm(own_view(values), *s, x)  # type: ignore[no-any-return]


def spmm_t(values: Tensor, s: Structure, y: Tensor) -> Tensor:
    """Compute the product Wᵀ Y of a transposed sparse matrix and a dense one.

    Args:
        values: weights (nnz), in row order.
        s: their connections, (rows, cols).
        y: (rows, batch).

    Returns:
        (cols, batch).
    """
    if transformed():
        s = _bare(s)
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
        (nnz), in row order.
    """
    if transformed():
        s = _bare(s)
        _check_inner(a, b, s)
        return reference.sddmm(a, b, s)
    return torch.ops.gossamer.sddmm(a, b, *s)  # type: ignore[no-any-return]


def _save_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _spmm_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, *index, x = ctx.saved_tensors
    s = Structure(*index)
    grad_values = sddmm(grad, x, s) if ctx.needs_input_grad[0] else None
    grad_x = spmm_t(values, s, grad) if ctx.needs_input_grad[5] else None
    return grad_values, None, None, None, None, grad_x


def _spmm_t_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, *index, y = ctx.saved_tensors
    s = Structure(*index)
    grad_values = sddmm(y, grad, s) if ctx.needs_input_grad[0] else None
    grad_y = spmm(values, s, grad) if ctx.needs_input_grad[5] else None
    return grad_values, None, None, None, None, grad_y


def _sddmm_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    a, b, *index = ctx.saved_tensors
    s = Structure(*index)
    grad_a = spmm(grad, s, b) if ctx.needs_input_grad[0] else None
    grad_b = spmm_t(grad, s, a) if ctx.needs_input_grad[1] else None
    return grad_a, grad_b, None, None, None, None


def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *saved, _, relu = inputs
    ctx.save_for_backward(*saved, output if relu else None)


def _linear_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, *index, x, y = ctx.saved_tensors
    s = Structure(*index)
    need_values, need_x, need_bias = (ctx.needs_input_grad[i] for i in (0, 5, 6))
    plain = not torch.is_grad_enabled() and not transformed()
    batched = torch._C._functorch.is_legacy_batchedtensor(grad)  # by is_grads_batched
    if plain and not batched and type(grad) is Tensor and _compiled(grad):
        return _native_gradient(values, s, getattr(ctx, "feature_major", x.t()), y, grad.t(), ctx.needs_input_grad)
    if y is not None:
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
    grad_x = grad_values = None
    if need_values and need_x and plain:
        grad_x, grad_values = torch.ops.gossamer.linear_backward(grad, values, *s, x)
    else:  # one of the two, or both to be differentiated again or transformed
        grad_values = sddmm(grad.t(), x.t(), s) if need_values else None
        grad_x = spmm_t(values, s, grad.t()).t() if need_x else None
    return grad_values, None, None, None, None, grad_x, grad.sum(0) if need_bias else None, None


def _native_gradient(
    values: Tensor, s: Structure, x: Tensor, y: Tensor | None, grad: Tensor, need: tuple[bool, ...]
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
    elif need[6]:
        grad_bias = grad.sum(1)
    if need[0] and need[5]:
        grad_x, grad_values = native.spmm_t_sddmm(values, s, x, grad)
    elif need[0]:
        grad_values = native.sddmm(grad, x, s)
    elif need[5]:
        grad_x = native.spmm_t(values, s, grad)
    return (
        grad_values,
        None,
        None,
        None,
        None,
        None if grad_x is None else grad_x.t(),
        grad_bias if need[6] else None,
        None,
    )


torch.library.register_autograd("gossamer::spmm", _spmm_gradient, setup_context=_save_product, lib=_library)
torch.library.register_autograd("gossamer::spmm_t", _spmm_t_gradient, setup_context=_save_product, lib=_library)
torch.library.register_autograd("gossamer::sddmm", _sddmm_gradient, setup_context=_save_product, lib=_library)
torch.library.register_autograd("gossamer::linear", _linear_gradient, setup_context=_save_linear, lib=_library)


class _Linear(torch.autograd.Function):
    """``gossamer::linear`` without the dispatcher, which takes longer than the product of a small layer."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:  # in one with the context: half the time of a separate set-up
        values, *index, x, bias, relu = inputs
        if _compiled(x):
            s = Structure(*index)
            _check_linear(values, s, x, bias)
            ctx.feature_major = native.feature_major(x.t())  # once for both passes
            output = _native_linear(values, s, ctx.feature_major, bias, relu)
        else:
            output = _linear(*inputs)
        ctx.save_for_backward(values, *index, x, output if relu else None)
        return output

    backward = staticmethod(_linear_gradient)


def linear(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Compute X Wᵀ + bias, through a ReLU if ``relu``.

    Args:
        values: weights (nnz), in row order.
        s: their connections, (rows, cols).
        x: (batch, cols).
        bias: (rows), or None.
        relu: return the positive part.

    Returns:
        (batch, rows), feature-major in memory.
    """
    if torch.compiler.is_compiling() or type(x) is not Tensor or values.is_meta or observed():
        return torch.ops.gossamer.linear(own_view(values), *s, x, bias, relu)  # type: ignore[no-any-return]
    if transformed():
        s = _bare(s)
        _check_linear(values, s, x, bias)
        return _plain_linear(values, s, x, bias, relu)
    if torch.is_grad_enabled():
        return _Linear.apply(own_view(values), *s, x, bias, relu)  # type: ignore[no-any-return, no-untyped-call]
    return _linear(values, *s, x, bias, relu)
