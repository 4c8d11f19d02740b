"""Gated recurrent units with sparse recurrent weights, a whole sequence as one PyTorch operator, with derivatives.

With σ the logistic function, h₀ the state before the sequence, W the sparse recurrent weights, b their bias and x_t the
projection of the input at step t, ``gossamer::gru`` is

    u = W h_{t−1} + b               r, z = σ(x_r + u_r), σ(x_z + u_z)       n = tanh(x_n + r u_n)
    h_t = (1 − z) n + z h_{t−1}

The gates r, z, n stand in this order in the rows of W (3 units, units), as in `torch.nn.GRU`. A step is one sparse
product for all gates and one pass over them; the gradient of the weights is one product of the whole sequence.

References:
    Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014, arXiv 1406.1078; with r behind
    the product of n as in PyTorch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.kernels import _cpu, reference
from gossamer.kernels.route import ELEMENTWISE, in_cpp, transformed
from gossamer.kernels.sequence import (
    INDEX,
    as_float,
    by_features,
    check_sequence,
    compact,
    differentiably,
    is_half,
    laid_out,
    new_sequence,
    order,
    recurrent_part,
    weight_gradient,
)
from gossamer.kernels.structure import Structure, csc_permutation, own_view, unwrapped

__all__ = ["gru", "gru_cell"]

_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(f"gru(Tensor values, {INDEX}, Tensor x, Tensor? bias, Tensor h0, bool reverse) -> (Tensor, Tensor)")
_library.define(
    f"gru_backward(Tensor dy, Tensor values, {INDEX}, Tensor h0, Tensor gates, Tensor y, bool reverse)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)


# ---- computation ----------------------------------------------------------------------------------------------------


def gru_cell(x: Tensor, u: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """One step in plain torch from ``x`` and ``u`` = W h + b: the next h and the gates, all (batch, features)."""
    (x_r, x_z, x_n), (u_r, u_z, u_n) = x.chunk(3, 1), u.chunk(3, 1)
    r, z = (x_r + u_r).sigmoid(), (x_z + u_z).sigmoid()
    n = (x_n + r * u_n).tanh()
    return n + z * (h - n), torch.cat([r, z, n, u_n], 1)


def _gru_in_torch(
    values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, h: Tensor, reverse: bool
) -> tuple[Tensor, Tensor]:
    made: list[tuple[Tensor, Tensor]] = []
    for t in order(x.shape[0], reverse):
        h, gates = gru_cell(x[t], recurrent_part(values, s, bias, h), h)
        made.append((h, gates))
    y, gates = (torch.stack(parts) for parts in zip(*(reversed(made) if reverse else made), strict=True))
    return y, gates


def _gru(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    h0: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    s = Structure(indptr, indices, t_indptr, t_indices)
    check_sequence(values, s, x, bias, 3, h0=h0)
    (steps, batch), units = x.shape[:2], s.shape[1]
    y, gates = new_sequence(x, units), new_sequence(x, 4 * units)
    if not in_cpp(x, ELEMENTWISE):
        made_y, made_gates = _gru_in_torch(values, s, x, bias, h0, reverse)
        return y.copy_(made_y), gates.copy_(made_gates)
    x, h0, values = by_features(x), compact(h0), values.contiguous()
    bias = None if bias is None else bias.contiguous()
    _cpu.gru(
        ELEMENTWISE[x.dtype], torch.get_num_threads(), indptr.data_ptr(), indices.data_ptr(), values.data_ptr(),
        0 if bias is None else bias.data_ptr(), units, steps, batch, reverse, x.data_ptr(), x.stride(0), h0.data_ptr(),
        gates.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    return y, gates


def _gru_backward(
    dy: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    h0: Tensor,
    gates: Tensor,
    y: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of values, x, the bias and h0."""
    s = Structure(indptr, indices, t_indptr, t_indices)
    (steps, batch), units = y.shape[:2], s.shape[1]
    dx, du = new_sequence(y, 3 * units), new_sequence(y, 3 * units)
    if in_cpp(y, ELEMENTWISE):
        t_values = values[csc_permutation(s, keep=True)]
        g, start, dh = by_features(dy), compact(h0), y.new_empty(units, batch)
        gates, y = laid_out(gates), laid_out(y)
        _cpu.gru_backward(
            ELEMENTWISE[y.dtype], torch.get_num_threads(), t_indptr.data_ptr(), t_indices.data_ptr(),
            t_values.data_ptr(), units, steps, batch, reverse, start.data_ptr(), gates.data_ptr(), y.data_ptr(),
            g.data_ptr(), g.stride(0), dx.data_ptr(), du.data_ptr(), dh.data_ptr(),
        )  # fmt: skip
        dh = dh.t()
    else:
        dh = torch.zeros_like(h0)
        for t in reversed(order(steps, reverse)):
            r, z, n, inner = gates[t].chunk(4, 1)
            first = t == (steps - 1 if reverse else 0)
            before = h0 if first else y[t + 1 if reverse else t - 1]
            dh = dh + dy[t]
            dn = dh * (1 - z) * (1 - n * n)
            dr, dz = dn * inner * r * (1 - r), dh * (before - n) * z * (1 - z)
            dx[t], du[t] = torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1)
            dh = dh * z + reference.spmm_t(values, s, du[t].t()).t()
    du = by_features(du)
    return weight_gradient(du, by_features(y), compact(h0), s, reverse), dx, du.sum(1), dh


_library.impl("gru", _gru, "CompositeExplicitAutograd")
_library.impl("gru_backward", _gru_backward, "CompositeExplicitAutograd")


# ---- shapes only, for compilers -------------------------------------------------------------------------------------


def _fake_gru(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    h0: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    return new_sequence(x, h0.shape[1]), new_sequence(x, 4 * h0.shape[1])


def _fake_gru_backward(
    dy: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    h0: Tensor,
    gates: Tensor,
    y: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    units = h0.shape[1]
    dx = new_sequence(y, 3 * units)
    return values.new_empty(values.shape), dx, y.new_empty(3 * units), y.new_empty(h0.t().shape).t()


torch.library.register_fake("gossamer::gru", _fake_gru, lib=_library)
torch.library.register_fake("gossamer::gru_backward", _fake_gru_backward, lib=_library)


# ---- derivatives ----------------------------------------------------------------------------------------------------


class _Inputs(NamedTuple):
    """Of ``gossamer::gru``, or something for each of them: a gradient, or whether one is needed."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    x: Any = None
    bias: Any = None
    h0: Any = None
    reverse: Any = None


def _save_gru(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.reverse = inputs
    y, gates = output
    ctx.save_for_backward(*tensors, gates, y)
    ctx.mark_non_differentiable(gates)


def _gru_gradient(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *saved, gates, y = ctx.saved_tensors
    inputs, need = _Inputs._make((*saved, ctx.reverse)), _Inputs(*ctx.needs_input_grad)
    if torch.is_grad_enabled():
        return _Inputs(*differentiably(_gru_in_torch, inputs, need, (dy,)))
    dvalues, dx, dbias, dh = torch.ops.gossamer.gru_backward(dy, *inputs[:5], inputs.h0, gates, y, ctx.reverse)
    return _Inputs(values=dvalues, x=dx, bias=dbias if need.bias else None, h0=dh)


torch.library.register_autograd("gossamer::gru", _gru_gradient, setup_context=_save_gru, lib=_library)


def gru(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, h0: Tensor, *, reverse: bool = False) -> Tensor:
    """Run a GRU over a sequence; float16 and bfloat16 on the CPU are computed in float32.

    Args:
        values: recurrent weights (nnz), in CSR order.
        s: their connections, (3 units, units).
        x: projection of the input, (steps, batch, 3 units).
        bias: (3 units), or None.
        h0: state before the sequence (batch, units).
        reverse: walk from the last step to the first.

    Returns:
        Of each step its state, (steps, batch, units), feature-major in memory.
    """
    if is_half(values):
        wide_values, *rest = as_float(values, x, bias, h0)
        return gru(wide_values, s, *rest, reverse=reverse).to(values.dtype)
    if transformed():
        s = unwrapped(s)
        check_sequence(values, s, x, bias, 3, h0=h0)
        return _gru_in_torch(values, s, x, bias, h0, reverse)[0]
    y: Tensor = torch.ops.gossamer.gru(own_view(values), *s, x, bias, h0, reverse)[0]
    return y
