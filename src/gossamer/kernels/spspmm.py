"""The sparse × sparse product of a sparse code and a sparse layer: work falls with the product of the two densities.

Y = C Wᵀ + b for a code C (batch, slots of cols units) and W (rows × cols) with ``values`` at the connections of a
`Structure`. Only the connections that leave active units are read. The transposed structure lists them, and the
permutation CSR→CSC, which is kept as long as the pattern stays the same, locates each one's weight. Weights are
read where they are, never from a copy made earlier, so no product can see old ones.

``gossamer::spspmm`` is differentiable in the values of the code, the weights and the bias. Where there is no C++ kernel
(other devices and dtypes, second derivatives), the code is made dense and `gossamer::linear` takes over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu, native
from gossamer.kernels.affine import linear
from gossamer.kernels.checks import check_bias, check_matrix, check_values
from gossamer.kernels.code import Code
from gossamer.kernels.ops import sddmm, spmm_t
from gossamer.kernels.route import AUTOGRAD, KERNEL, PRODUCTS, REFERENCE, half_as_float, in_cpp, sums_in, way, way_back
from gossamer.kernels.structure import Structure, csc_permutation, own_view

__all__ = ["COSTS", "reads_active_units", "spspmm", "spspmm_or_linear"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(f"spspmm(Tensor values, {_INDEX}, Tensor code, Tensor units, Tensor? bias, bool relu) -> Tensor")
_library.define(f"spspmm_backward(Tensor grad, Tensor values, {_INDEX}, Tensor code, Tensor units) -> (Tensor, Tensor)")


# Nanoseconds per connection, measured: a sparse × sparse product pays for each one that an active unit of a sample
# reaches, whose weight may lie anywhere; the plain product once for all samples and a little for each; for a single one
# it has a kernel of its own.
COSTS = _SPSPMM, _PLAIN, _PLAIN_SAMPLE, _PLAIN_ONE = 0.8, 0.55, 0.015, 0.2
_FEW_CONNECTIONS = 4096  # below which the plain product takes no longer than a look at the samples
_MOST_SAMPLES = 32  # samples, above which the plain product wins at any useful activation


def _most_active(batch: int) -> float:
    """The share of active units up to which the sparse × sparse product is the faster one."""
    return (_PLAIN_ONE if batch == 1 else _PLAIN + _PLAIN_SAMPLE * batch) / (_SPSPMM * max(batch, 1))


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _refuse(units: Tensor, cols: int) -> InputError:
    low, high = int(units.min()), int(units.max())
    return InputError(f"indices of a code must be in [0, {cols}), got values from {low} to {high}")


def _check_code(code: Tensor, units: Tensor, like: Tensor) -> None:
    """Raise `InputError` unless ``code`` and ``units`` are the two matrices of a `Code`, like ``like``."""
    if code.dim() != 2 or units.shape != code.shape or units.dtype != torch.int32:
        raise InputError(
            f"code and units must be a matrix (batch, slots) and one of int32 of its shape, got {tuple(code.shape)} "
            f"and {units.dtype} of shape {tuple(units.shape)}"
        )
    if code.dtype != like.dtype or code.device != like.device or units.device != like.device:
        raise InputError(
            f"code and units must be {like.dtype} and int32 on {like.device}, as values are, "
            f"got {code.dtype} on {code.device} and units on {units.device}"
        )


@half_as_float
def _spspmm(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    code: Tensor,
    units: Tensor,
    bias: Tensor | None,
    relu: bool,
) -> Tensor:
    s = Structure(indptr, indices, t_indptr, t_indices)
    check_values(values, s)
    _check_code(code, units, values)
    check_bias(bias, s, values)
    rows, cols = s.shape
    if not in_cpp(code):
        return linear(values, s, _dense(code, units, cols), bias, bool(relu))
    bias = None if bias is None else bias.contiguous()
    code, units, values = code.contiguous(), units.contiguous(), values.contiguous()
    batch, slots = code.shape
    if slots > _most_active(batch) * cols:
        x = _dense(code, units, cols)
        return native.linear(values, s, native.feature_major(x.t()), bias, bool(relu)).contiguous()
    y: Tensor = code.new_empty(batch, rows)
    if not _cpu.spspmm(
        PRODUCTS[code.dtype],
        torch.get_num_threads(),
        s.t_indptr.data_ptr(),
        s.t_indices.data_ptr(),
        values.data_ptr(),
        csc_permutation(s, keep=True).data_ptr(),
        units.data_ptr(),
        code.data_ptr(),
        batch,
        slots,
        _pointer(bias),
        relu,
        y.data_ptr(),
        cols,
        rows,
    ):
        raise _refuse(units, cols)
    return y


def _dense(code: Tensor, units: Tensor, cols: int) -> Tensor:
    """The code as a matrix (batch, cols), outside the C++ kernels, which look at the units themselves."""
    if units.numel() and not (int(units.min()) >= 0 and int(units.max()) < cols):
        raise _refuse(units, cols)
    return Code(code, units, cols).to_dense()


@half_as_float
def _spspmm_backward(
    grad: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    code: Tensor,
    units: Tensor,
) -> tuple[Tensor, Tensor]:
    s = Structure(indptr, indices, t_indptr, t_indices)
    rows, cols = s.shape
    check_values(values, s)
    _check_code(code, units, values)
    check_matrix("grad", grad, rows, 1, values)
    if grad.shape[0] != code.shape[0]:
        raise InputError(f"grad and code must have the same batch, got {grad.shape[0]} and {code.shape[0]}")
    if not in_cpp(code):
        return _dense_backward(grad, values, s, code, units)
    code, units, grad = code.contiguous(), units.contiguous(), grad.contiguous()
    place = csc_permutation(s, keep=True).long()
    ordered = values.detach().index_select(0, place)
    batch, slots = code.shape
    grad_code = torch.empty_like(code)
    grad_values = code.new_zeros(s.nnz, dtype=sums_in(code.dtype))
    if not _cpu.spspmm_backward(
        PRODUCTS[code.dtype],
        torch.get_num_threads(),
        s.t_indptr.data_ptr(),
        s.t_indices.data_ptr(),
        ordered.data_ptr(),
        units.data_ptr(),
        code.data_ptr(),
        batch,
        slots,
        grad.data_ptr(),
        grad_code.data_ptr(),
        grad_values.data_ptr(),
        cols,
        rows,
    ):
        raise _refuse(units, cols)
    return grad_code, torch.empty_like(ordered).index_copy_(0, place, grad_values.to(code.dtype))


def _dense_backward(grad: Tensor, values: Tensor, s: Structure, code: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    x = _dense(code, units, s.shape[1])
    grad_code = spmm_t(values, s, grad.t()).t().gather(1, units.long())
    return grad_code.contiguous(), sddmm(grad.t(), x.t(), s)


def _fake_spspmm(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    code: Tensor,
    units: Tensor,
    bias: Tensor | None,
    relu: bool,
) -> Tensor:
    return code.new_empty(code.shape[0], indptr.shape[0] - 1)


def _fake_spspmm_backward(
    grad: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    code: Tensor,
    units: Tensor,
) -> tuple[Tensor, Tensor]:
    return code.new_empty(code.shape), values.new_empty(values.shape)


class _Inputs(NamedTuple):
    """Of ``gossamer::spspmm``, or something for each of them: a gradient, or whether one is needed."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    code: Any = None
    units: Any = None
    bias: Any = None
    relu: Any = None


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, indptr, indices, t_indptr, t_indices, code, units, _, relu = inputs
    ctx.save_for_backward(values, indptr, indices, t_indptr, t_indices, code, units, output if relu else None)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, indptr, indices, t_indptr, t_indices, code, units, y = ctx.saved_tensors
    s, need = Structure(indptr, indices, t_indptr, t_indices), _Inputs(*ctx.needs_input_grad)
    if y is not None:
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
    if way_back(grad) is AUTOGRAD:
        grad_code, grad_values = _dense_backward(grad, values, s, code, units)
    else:
        grad_code, grad_values = torch.ops.gossamer.spspmm_backward(grad, values, *s, code, units)
    return _Inputs(values=grad_values, code=grad_code, bias=grad.sum(0) if need.bias else None)


_library.impl("spspmm", _spspmm, "CompositeExplicitAutograd")
_library.impl("spspmm_backward", _spspmm_backward, "CompositeExplicitAutograd")
torch.library.register_fake("gossamer::spspmm", _fake_spspmm, lib=_library)
torch.library.register_fake("gossamer::spspmm_backward", _fake_spspmm_backward, lib=_library)
torch.library.register_autograd("gossamer::spspmm", _gradient, setup_context=_save, lib=_library)


def spspmm(values: Tensor, s: Structure, code: Code, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """Compute C Wᵀ + bias for a sparse code C, through a ReLU if ``relu``.

    Args:
        values: weights (nnz), in CSR order.
        s: their connections, (rows, cols).
        code: a code of ``cols`` units, (batch, slots).
        bias: (rows), or None.
        relu: return the positive part.

    Returns:
        (batch, rows).
    """
    code.check(s.shape[1])
    chosen = way(code.values, values)
    if chosen is KERNEL:
        return _spspmm(values, *s, code.values, code.indices, bias, relu)
    if chosen is REFERENCE:
        return linear(values, s, code.to_dense(), bias, relu)
    return torch.ops.gossamer.spspmm(own_view(values), *s, code.values, code.indices, bias, relu)  # type: ignore[no-any-return]


def reads_active_units(x: Tensor, values: Tensor) -> bool:
    """Whether `spspmm_or_linear` may compute the product: of a few samples, without derivatives and autocast."""
    return (
        way(x, values) is KERNEL
        and x.dim() == 2
        and x.shape[0] <= _MOST_SAMPLES
        and x.is_cpu
        and in_cpp(values)
        and not torch.is_autocast_enabled("cpu")
    )


def spspmm_or_linear(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """X Wᵀ + bias for a dense x (batch, cols), by its non-zero entries alone where that is faster; no derivative.

    For a CPU and a dtype with C++ kernels.
    """
    (rows, cols), batch = s.shape, x.shape[0]
    if not 0 < batch <= _MOST_SAMPLES or s.nnz < max(8 * cols, _FEW_CONNECTIONS):
        return linear(values, s, x, bias, relu)
    check_values(values, s)
    check_matrix("x", x, cols, 1, values)
    check_bias(bias, s, values)
    kept, weights, samples = None if bias is None else bias.contiguous(), values.contiguous(), x.resolve_neg()
    y: Tensor = x.new_empty(batch, rows)
    done = _cpu.spspmm_if_sparse(
        PRODUCTS[x.dtype],
        torch.get_num_threads(),
        s.t_indptr.data_ptr(),
        s.t_indices.data_ptr(),
        weights.data_ptr(),
        csc_permutation(s, keep=True).data_ptr(),
        samples.data_ptr(),
        batch,
        cols,
        samples.stride(0),
        samples.stride(1),
        _most_active(batch),
        _pointer(kept),
        relu,
        y.data_ptr(),
        rows,
    )
    return y if done else linear(values, s, x, bias, relu)
