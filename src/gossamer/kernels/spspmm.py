"""The sparse × sparse product of a sparse code and a sparse layer: work falls with the product of the two densities.

Y = C Wᵀ + b for a code C (batch, slots of cols units) and W (rows × cols) with ``values`` at the connections of a
`Structure`. Only the live connections that leave live units are read. The transposed structure lists them; with
``csc_values`` (the values in its order, kept by layers in evaluation mode) they are read one after the other.

``gossamer::spspmm`` is differentiable in the values of the code, the weights and the bias. Where there is no C++ kernel
(other devices and dtypes, second derivatives), the code is made dense and `gossamer::linear` takes over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu, native, ops
from gossamer.kernels.code import Code
from gossamer.kernels.structure import Structure, csc_permutation, validate

__all__ = ["SPSPMM_BATCH", "CSCValues", "spspmm", "spspmm_or_linear", "still_current", "to_csc"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(
    f"spspmm(Tensor values, {_INDEX}, Tensor code, Tensor units, Tensor? bias, bool relu, Tensor? csc_values) -> Tensor"
)
_library.define(f"spspmm_backward(Tensor grad, Tensor values, {_INDEX}, Tensor code, Tensor units) -> (Tensor, Tensor)")


_SAMPLES = 64


class CSCValues(NamedTuple):
    """The weights in column order, and a sample of them: its positions in row order and in column order, int32."""

    values: Tensor
    source: Tensor
    target: Tensor


def to_csc(values: Tensor, s: Structure) -> CSCValues:
    """The values in the order of the transposed structure, which is on the CPU."""
    place = csc_permutation(s)
    to = torch.linspace(0, max(s.nnz - 1, 0), min(s.nnz, _SAMPLES), dtype=torch.float64, device="cpu").to(torch.int32)
    return CSCValues(values.detach().index_select(0, place), place.index_select(0, to), to)


def still_current(ordered: CSCValues, values: Tensor) -> bool:
    """Whether ``ordered`` is `to_csc` of the values as they are now, judged by its sample.

    Writing through ``values.data`` leaves no trace in PyTorch; this notices an update of all weights, as by an
    exponential moving average.
    """
    kept, source, target = ordered
    return _cpu.same_values(
        native.DTYPES[values.dtype],
        values.data_ptr(),
        source.data_ptr(),
        kept.data_ptr(),
        target.data_ptr(),
        source.numel(),
    )


def _pointer(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _refuse(units: Tensor, cols: int) -> InputError:
    low, high = int(units.min()), int(units.max())
    return InputError(f"indices of a code must be in [0, {cols}), got values from {low} to {high}")


def _runs_native(code: Tensor, values: Tensor) -> bool:
    return code.is_cpu and code.dtype in native.DTYPES and code.dtype == values.dtype


def _spspmm(values: Tensor, *rest: Any) -> Tensor:
    s = Structure(*rest[:4])
    validate(s)
    return _validated_spspmm(values, s, *rest[4:])


def _validated_spspmm(
    values: Tensor,
    s: Structure,
    code: Tensor,
    units: Tensor,
    bias: Tensor | None,
    relu: bool,
    csc_values: Tensor | None,
) -> Tensor:
    rows, cols = s.shape
    if not _runs_native(code, values):
        return ops.linear(values, s, Code(code, units, cols).to_dense(), bias, bool(relu))
    for v in (values, csc_values):
        if v is not None and (v.dim() != 1 or v.numel() != s.nnz):
            raise InputError(f"values must be a vector of {s.nnz} numbers, got shape {tuple(v.shape)}")
    ops.check_bias(bias, s, code)
    bias = None if bias is None else bias.contiguous()
    code, units = code.contiguous(), units.contiguous()
    batch, slots = code.shape
    ordered = to_csc(values, s).values if csc_values is None else csc_values
    y: Tensor = code.new_empty(batch, rows)
    if not _cpu.spspmm(
        native.DTYPES[code.dtype],
        torch.get_num_threads(),
        s.t_indptr.data_ptr(),
        s.t_indices.data_ptr(),
        ordered.data_ptr(),
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


def _spspmm_backward(grad: Tensor, values: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    *index, code, units = rest
    s = Structure(*index)
    rows, cols = s.shape
    if not _runs_native(code, values):
        return _dense_backward(grad, values, s, code, units)
    validate(s)
    code, units, grad = code.contiguous(), units.contiguous(), grad.contiguous()
    place = csc_permutation(s).long()
    ordered = values.detach().index_select(0, place)
    batch, slots = code.shape
    grad_code = torch.empty_like(code)
    wide = torch.float32 if code.dtype == torch.bfloat16 else code.dtype
    grad_values = code.new_zeros(s.nnz, dtype=wide)
    if not _cpu.spspmm_backward(
        native.DTYPES[code.dtype],
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
    x = Code(code, units, s.shape[1]).to_dense()
    grad_code = ops.spmm_t(values, s, grad.t()).t().gather(1, units.long())
    return grad_code.contiguous(), ops.sddmm(grad.t(), x.t(), s)


def _fake_spspmm(values: Tensor, *rest: Any) -> Tensor:
    code: Tensor = rest[4]
    return code.new_empty(code.shape[0], rest[0].shape[0] - 1)


def _fake_spspmm_backward(grad: Tensor, values: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    return rest[4].new_empty(rest[4].shape), values.new_empty(values.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *saved, _, relu, _ = inputs
    ctx.save_for_backward(*saved, output if relu else None)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, *index, code, units, y = ctx.saved_tensors
    if y is not None:
        grad = torch.ops.aten.threshold_backward(grad, y, 0)
    if torch.is_grad_enabled():
        grad_code, grad_values = _dense_backward(grad, values, Structure(*index), code, units)
    else:
        grad_code, grad_values = torch.ops.gossamer.spspmm_backward(grad, values, *index, code, units)
    grad_bias = grad.sum(0) if ctx.needs_input_grad[7] else None
    return grad_values, None, None, None, None, grad_code, None, grad_bias, None, None


_library.impl("spspmm", _spspmm, "CompositeExplicitAutograd")
_library.impl("spspmm_backward", _spspmm_backward, "CompositeExplicitAutograd")
torch.library.register_fake("gossamer::spspmm", _fake_spspmm, lib=_library)
torch.library.register_fake("gossamer::spspmm_backward", _fake_spspmm_backward, lib=_library)
torch.library.register_autograd("gossamer::spspmm", _gradient, setup_context=_save, lib=_library)


def spspmm(
    values: Tensor,
    s: Structure,
    code: Code,
    bias: Tensor | None = None,
    relu: bool = False,
    csc_values: Tensor | None = None,
) -> Tensor:
    """C Wᵀ + bias, through a ReLU if asked for: a code of ``cols`` units -> (batch, rows)."""
    code.check(s.shape[1])
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return torch.ops.gossamer.spspmm(values, *s, code.values, code.indices, bias, relu, csc_values)  # type: ignore[no-any-return]
    if csc_values is None:  # whoever has ordered the values has checked the structure
        validate(s)
    return _validated_spspmm(values, s, code.values, code.indices, bias, relu, csc_values)


# Nanoseconds per live connection, measured: a sparse × sparse product pays for each one that a live unit of a sample
# reaches, the plain product once for all samples and a little for each; for a single one it has a kernel of its own.
_SPSPMM, _PLAIN, _PLAIN_SAMPLE, _PLAIN_ONE = 0.4, 0.55, 0.015, 0.2
SPSPMM_BATCH = 32  # samples, above which the plain product wins at any useful activation


def spspmm_or_linear(
    values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, relu: bool, csc_values: Tensor
) -> Tensor:
    """X Wᵀ + bias for a dense x (batch, cols), by its non-zero entries alone where that is faster; no derivative.

    For a CPU, a dtype with C++ kernels and ``csc_values`` from `to_csc` of these values.
    """
    rows, cols = s.shape
    ops.check_matrix("x", x, cols, 1, values)
    ops.check_bias(bias, s, values)
    bias = None if bias is None else bias.contiguous()
    x, batch = x.resolve_neg(), x.shape[0]
    if 0 < batch <= SPSPMM_BATCH and s.nnz >= 8 * cols:
        plain = _PLAIN_ONE if batch == 1 else _PLAIN + _PLAIN_SAMPLE * batch
        y: Tensor = x.new_empty(batch, rows)
        if _cpu.spspmm_if_sparse(
            native.DTYPES[x.dtype],
            torch.get_num_threads(),
            s.t_indptr.data_ptr(),
            s.t_indices.data_ptr(),
            csc_values.data_ptr(),
            x.data_ptr(),
            batch,
            cols,
            x.stride(0),
            x.stride(1),
            plain / (_SPSPMM * batch),
            _pointer(bias),
            relu,
            y.data_ptr(),
            rows,
        ):
            return y
    return native.linear(values.contiguous(), s, native.feature_major(x.t()), bias, relu)
