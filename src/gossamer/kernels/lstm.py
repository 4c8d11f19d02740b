"""A long short-term memory with sparse recurrent weights, a whole sequence as one PyTorch operator, with derivatives.

With σ the logistic function, h₀ and c₀ the state before the sequence, W the sparse recurrent weights, b their bias and
x_t the projection of the input at step t, ``gossamer::lstm`` is

    a = x_t + W h_{t−1} + b         i, f, o = σ(a_i), σ(a_f), σ(a_o)        g = tanh(a_g)
    c_t = f c_{t−1} + i g           h_t = o tanh(c_t)

The gates i, f, g, o stand in this order in the rows of W (4 units, units), as in `torch.nn.LSTM`. A step is one sparse
product for all gates and one pass over them; the gradient of the weights is one product of the whole sequence.

References:
    Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997).
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
    last_of,
    new_sequence,
    order,
    recurrent_part,
    weight_gradient,
)
from gossamer.kernels.structure import Structure, csc_permutation, own_view, unwrapped

__all__ = ["lstm", "lstm_cell"]

_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(
    f"lstm(Tensor values, {INDEX}, Tensor x, Tensor? bias, Tensor h0, Tensor c0, bool reverse)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"lstm_backward(Tensor dy, Tensor dc, Tensor values, {INDEX}, Tensor h0, Tensor c0, Tensor gates, Tensor cells,"
    " Tensor y, bool reverse) -> (Tensor, Tensor, Tensor, Tensor)"
)


# ---- computation ----------------------------------------------------------------------------------------------------


def lstm_cell(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step in plain torch from the sums ``a`` of its gates: h, c and the gates, all (batch, features)."""
    i, f, g, o = a.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c, torch.cat([i, f, g, o], 1)


def _lstm_in_torch(
    values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, h: Tensor, c: Tensor, reverse: bool
) -> tuple[Tensor, ...]:
    made: list[tuple[Tensor, ...]] = []
    for t in order(x.shape[0], reverse):
        h, c, gates = lstm_cell(x[t] + recurrent_part(values, s, bias, h), c)
        made.append((h, c, gates))
    y, cells, gates = (torch.stack(parts) for parts in zip(*(reversed(made) if reverse else made), strict=True))
    return y, c, cells, gates


def _lstm(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s = Structure(indptr, indices, t_indptr, t_indices)
    check_sequence(values, s, x, bias, 4, h0=h0, c0=c0)
    (steps, batch), units = x.shape[:2], s.shape[1]
    y, cells, gates = new_sequence(x, units), new_sequence(x, units), new_sequence(x, 4 * units)
    if not in_cpp(x, ELEMENTWISE):
        made_y, c, made_cells, made_gates = _lstm_in_torch(values, s, x, bias, h0, c0, reverse)
        return y.copy_(made_y), last_of(c), cells.copy_(made_cells), gates.copy_(made_gates)
    x, h0, c0, values = by_features(x), compact(h0), compact(c0), values.contiguous()
    bias = None if bias is None else bias.contiguous()
    _cpu.lstm(
        ELEMENTWISE[x.dtype], torch.get_num_threads(), indptr.data_ptr(), indices.data_ptr(), values.data_ptr(),
        0 if bias is None else bias.data_ptr(), units, steps, batch, reverse, x.data_ptr(), x.stride(0), h0.data_ptr(),
        c0.data_ptr(), gates.data_ptr(), cells.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    return y, last_of(cells[0 if reverse else -1]), cells, gates


def _lstm_backward(
    dy: Tensor,
    dc: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    h0: Tensor,
    c0: Tensor,
    gates: Tensor,
    cells: Tensor,
    y: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of values, x, h0 and c0; that of the bias is the sum of x's."""
    s = Structure(indptr, indices, t_indptr, t_indices)
    (steps, batch), units = y.shape[:2], s.shape[1]
    dx = new_sequence(y, 4 * units)
    if in_cpp(y, ELEMENTWISE):
        t_values = values[csc_permutation(s, keep=True)]
        g, start, dh = by_features(dy), compact(c0), y.new_empty(units, batch)
        dc = dc.t().clone(memory_format=torch.contiguous_format)  # becomes the gradient of c0
        gates, cells = laid_out(gates), laid_out(cells)
        _cpu.lstm_backward(
            ELEMENTWISE[y.dtype], torch.get_num_threads(), t_indptr.data_ptr(), t_indices.data_ptr(),
            t_values.data_ptr(), units, steps, batch, reverse, start.data_ptr(), gates.data_ptr(), cells.data_ptr(),
            g.data_ptr(), g.stride(0), dx.data_ptr(), dh.data_ptr(), dc.data_ptr(),
        )  # fmt: skip
        dh, dc = dh.t(), dc.t()
    else:
        dh = torch.zeros_like(h0)
        for t in reversed(order(steps, reverse)):
            i, f, g, o = gates[t].chunk(4, 1)
            u = cells[t].tanh()
            first = t == (steps - 1 if reverse else 0)
            before = c0 if first else cells[t + 1 if reverse else t - 1]
            dh = dh + dy[t]
            dc = dc + dh * o * (1 - u * u)
            dx[t] = torch.cat(
                [dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g), dh * u * o * (1 - o)], 1
            )
            dc = dc * f
            dh = reference.spmm_t(values, s, dx[t].t()).t()
    dvalues = weight_gradient(by_features(dx), by_features(y), compact(h0), s, reverse)
    return dvalues, dx, dh, dc


_library.impl("lstm", _lstm, "CompositeExplicitAutograd")
_library.impl("lstm_backward", _lstm_backward, "CompositeExplicitAutograd")


# ---- shapes only, for compilers -------------------------------------------------------------------------------------


def _fake_lstm(
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    x: Tensor,
    bias: Tensor | None,
    h0: Tensor,
    c0: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    units = h0.shape[1]
    return new_sequence(x, units), x.new_empty(h0.t().shape).t(), new_sequence(x, units), new_sequence(x, 4 * units)


def _fake_lstm_backward(
    dy: Tensor,
    dc: Tensor,
    values: Tensor,
    indptr: Tensor,
    indices: Tensor,
    t_indptr: Tensor,
    t_indices: Tensor,
    h0: Tensor,
    c0: Tensor,
    gates: Tensor,
    cells: Tensor,
    y: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    state = h0.t().shape
    return (
        values.new_empty(values.shape),
        new_sequence(y, 4 * h0.shape[1]),
        y.new_empty(state).t(),
        y.new_empty(state).t(),
    )


torch.library.register_fake("gossamer::lstm", _fake_lstm, lib=_library)
torch.library.register_fake("gossamer::lstm_backward", _fake_lstm_backward, lib=_library)


# ---- derivatives ----------------------------------------------------------------------------------------------------


class _Inputs(NamedTuple):
    """Of ``gossamer::lstm``, or something for each of them: a gradient, or whether one is needed."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    x: Any = None
    bias: Any = None
    h0: Any = None
    c0: Any = None
    reverse: Any = None


def _save_lstm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.reverse = inputs
    y, _, cells, gates = output
    ctx.save_for_backward(*tensors, cells, gates, y)
    ctx.mark_non_differentiable(cells, gates)


def _lstm_gradient(ctx: Any, dy: Tensor, dc: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *saved, cells, gates, y = ctx.saved_tensors
    inputs, need = _Inputs._make((*saved, ctx.reverse)), _Inputs(*ctx.needs_input_grad)
    if torch.is_grad_enabled():
        return _Inputs(*differentiably(_lstm_in_torch, inputs, need, (dy, dc)))
    dvalues, dx, dh, dc0 = torch.ops.gossamer.lstm_backward(
        dy, dc, *inputs[:5], inputs.h0, inputs.c0, gates, cells, y, ctx.reverse
    )
    dbias = by_features(dx).sum(1) if need.bias else None
    return _Inputs(values=dvalues, x=dx, bias=dbias, h0=dh, c0=dc0)


torch.library.register_autograd("gossamer::lstm", _lstm_gradient, setup_context=_save_lstm, lib=_library)


def lstm(
    values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, h0: Tensor, c0: Tensor, *, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Run an LSTM over a sequence; float16 and bfloat16 on the CPU are computed in float32.

    Args:
        values: recurrent weights (nnz), in CSR order.
        s: their connections, (4 units, units).
        x: projection of the input, (steps, batch, 4 units).
        bias: (4 units), or None.
        h0: state before the sequence (batch, units).
        c0: cells before the sequence (batch, units).
        reverse: walk from the last step to the first.

    Returns:
        Of each step its state, (steps, batch, units), feature-major in memory; the cells after the sequence.
    """
    if is_half(values):
        wide_values, *rest = as_float(values, x, bias, h0, c0)
        y, c = lstm(wide_values, s, *rest, reverse=reverse)
        return y.to(values.dtype), c.to(values.dtype)
    if transformed():
        s = unwrapped(s)
        check_sequence(values, s, x, bias, 4, h0=h0, c0=c0)
        y, c, _, _ = _lstm_in_torch(values, s, x, bias, h0, c0, reverse)
    else:
        y, c, _, _ = torch.ops.gossamer.lstm(own_view(values), *s, x, bias, h0, c0, reverse)
    return y, c
