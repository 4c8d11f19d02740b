"""Recurrent layers with sparse recurrent weights, a whole sequence as one PyTorch operator, with derivatives.

With σ the logistic function, h₀ and c₀ the state before the sequence, W the sparse recurrent weights, b their bias and
x_t the projection of the input at step t, whose parts and those of W h + b are named by the gates:

``gossamer::lstm``   a = x_t + W h_{t−1} + b    i, f, o = σ(a_i), σ(a_f), σ(a_o)    g = tanh(a_g)
                     c_t = f c_{t−1} + i g      h_t = o tanh(c_t)
``gossamer::gru``    u = W h_{t−1} + b          r, z = σ(x_r + u_r), σ(x_z + u_z)   n = tanh(x_n + r u_n)
                     h_t = (1 − z) n + z h_{t−1}

Gates stand in this order in the rows of W, (4 units, units) and (3 units, units), as in `torch.nn.LSTM` and
`torch.nn.GRU`. Each step is one sparse product for all gates and one pass over them; matrices are feature-major, each
unit with all steps and samples side by side, so a step is a block of columns and the next layer reads the result of
this one without a copy. The gradient of the weights is one product of the whole sequence.

References:
    Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997).
    Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014, arXiv 1406.1078; with r inside
    the product of n as in PyTorch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu, native, reference
from gossamer.kernels.checks import check_bias, check_values
from gossamer.kernels.route import ELEMENTWISE, in_cpp, transformed
from gossamer.kernels.structure import Structure, csc_permutation, own_view, unwrapped

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell"]

_INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"
_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(
    f"lstm(Tensor values, {_INDEX}, Tensor x, Tensor? bias, Tensor h0, Tensor c0, bool reverse)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    f"lstm_backward(Tensor dy, Tensor dc, Tensor values, {_INDEX}, Tensor h0, Tensor c0, Tensor gates, Tensor cells,"
    " Tensor y, bool reverse) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(f"gru(Tensor values, {_INDEX}, Tensor x, Tensor? bias, Tensor h0, bool reverse) -> (Tensor, Tensor)")
_library.define(
    f"gru_backward(Tensor dy, Tensor values, {_INDEX}, Tensor h0, Tensor gates, Tensor y, bool reverse)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)


# ---- shapes and layout ---------------------------------------------------------------------------------------------


def _check(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, gates: int, **states: Tensor) -> None:
    check_values(values, s)
    check_bias(bias, s, values)
    rows, units = s.shape
    if rows != gates * units:
        raise InputError(f"the pattern must have shape ({gates} · units, units), got {s.shape}")
    if x.dim() != 3 or x.shape[2] != rows or x.shape[0] == 0:
        raise InputError(f"x must have shape (steps ≥ 1, batch, {rows}), got {tuple(x.shape)}")
    for name, state in states.items():
        if state.shape != (x.shape[1], units):
            raise InputError(f"{name} must have shape (batch, units) = {(x.shape[1], units)}, got {tuple(state.shape)}")
    for name, tensor in ({"x": x} | states).items():
        if tensor.dtype != values.dtype or tensor.device != values.device:
            raise InputError(
                f"{name} must be {values.dtype} on {values.device} as the weights, "
                f"got {tensor.dtype} on {tensor.device}"
            )


def _sequence(like: Tensor, features: int) -> Tensor:
    """New memory (steps, batch, features), feature-major."""
    steps, batch = like.shape[:2]
    return like.new_empty_strided((steps, batch, features), (batch, 1, steps * batch))


def _by_features(x: Tensor) -> Tensor:
    """(steps, batch, features) -> (features, steps · batch), a copy only if it is laid out otherwise."""
    return native.feature_major(x.reshape(-1, x.shape[-1]).t())


def _compact(state: Tensor) -> Tensor:
    """(batch, units) -> (units, batch), contiguous."""
    return state.t().contiguous()


def _last(state: Tensor) -> Tensor:
    """(batch, units) in memory of its own, feature-major."""
    return state.new_empty(state.t().shape).t().copy_(state)


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _weight_gradient(drecurrent: Tensor, y: Tensor, h0: Tensor, s: Structure, reverse: bool) -> Tensor:
    """Σ_t ⟨gradient of W h at step t, state before step t⟩ at the connections, both (features, steps · batch)."""
    product = native.sddmm if in_cpp(y, ELEMENTWISE) else reference.sddmm
    batch = h0.shape[1]
    first, rest = (slice(-batch, None), slice(None, -batch)) if reverse else (slice(batch), slice(batch, None))
    before = slice(batch, None) if reverse else slice(None, -batch)
    out = product(drecurrent[:, first], h0, s)
    return out if y.shape[1] == batch else out.add_(product(drecurrent[:, rest], y[:, before], s))


# ---- LSTM ----------------------------------------------------------------------------------------------------------


def lstm_cell(a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step in plain torch from the sums ``a`` of its gates: h, c and the gates, all (batch, features)."""
    i, f, g, o = a.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c, torch.cat([i, f, g, o], 1)


def _recurrent_part(values: Tensor, s: Structure, bias: Tensor | None, h: Tensor) -> Tensor:
    """W h + b, (batch, features)."""
    u = reference.spmm(values, s, h.t()).t()
    return u if bias is None else u + bias


def _lstm_in_torch(
    values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, h: Tensor, c: Tensor, reverse: bool
) -> tuple[Tensor, ...]:
    made: list[tuple[Tensor, ...]] = []
    for t in _order(x.shape[0], reverse):
        h, c, gates = lstm_cell(x[t] + _recurrent_part(values, s, bias, h), c)
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
    _check(values, s, x, bias, 4, h0=h0, c0=c0)
    (steps, batch), units = x.shape[:2], s.shape[1]
    y, cells, gates = _sequence(x, units), _sequence(x, units), _sequence(x, 4 * units)
    if not in_cpp(x, ELEMENTWISE):
        made_y, c, made_cells, made_gates = _lstm_in_torch(values, s, x, bias, h0, c0, reverse)
        return y.copy_(made_y), _last(c), cells.copy_(made_cells), gates.copy_(made_gates)
    x, h0, c0, values = _by_features(x), _compact(h0), _compact(c0), values.contiguous()
    bias = None if bias is None else bias.contiguous()
    _cpu.lstm(
        ELEMENTWISE[x.dtype], torch.get_num_threads(), indptr.data_ptr(), indices.data_ptr(), values.data_ptr(),
        0 if bias is None else bias.data_ptr(), units, steps, batch, reverse, x.data_ptr(), x.stride(0), h0.data_ptr(),
        c0.data_ptr(), gates.data_ptr(), cells.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    return y, _last(cells[0 if reverse else -1]), cells, gates


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
    dx = _sequence(y, 4 * units)
    if in_cpp(y, ELEMENTWISE):
        t_values = values[csc_permutation(s, keep=True)]
        g, start, dh, dc = (
            _by_features(dy),
            _compact(c0),
            y.new_empty(units, batch),
            dc.t().clone(memory_format=torch.contiguous_format),
        )
        gates, cells = _laid_out(gates), _laid_out(cells)
        _cpu.lstm_backward(
            ELEMENTWISE[y.dtype], torch.get_num_threads(), t_indptr.data_ptr(), t_indices.data_ptr(),
            t_values.data_ptr(), units, steps, batch, reverse, start.data_ptr(), gates.data_ptr(), cells.data_ptr(),
            g.data_ptr(), g.stride(0), dx.data_ptr(), dh.data_ptr(), dc.data_ptr(),
        )  # fmt: skip
        dh, dc = dh.t(), dc.t()
    else:
        dh = torch.zeros_like(h0)
        for t in reversed(_order(steps, reverse)):
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
    dvalues = _weight_gradient(_by_features(dx), _by_features(y), _compact(h0), s, reverse)
    return dvalues, dx, dh, dc


def _laid_out(x: Tensor) -> Tensor:
    """``x`` (steps, batch, features) in the memory of `_sequence`, as the forward pass has left it."""
    like = _sequence(x, x.shape[2])
    return x if x.stride() == like.stride() else like.copy_(x)


# ---- GRU -----------------------------------------------------------------------------------------------------------


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
    for t in _order(x.shape[0], reverse):
        h, gates = gru_cell(x[t], _recurrent_part(values, s, bias, h), h)
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
    _check(values, s, x, bias, 3, h0=h0)
    (steps, batch), units = x.shape[:2], s.shape[1]
    y, gates = _sequence(x, units), _sequence(x, 4 * units)
    if not in_cpp(x, ELEMENTWISE):
        made_y, made_gates = _gru_in_torch(values, s, x, bias, h0, reverse)
        return y.copy_(made_y), gates.copy_(made_gates)
    x, h0, values = _by_features(x), _compact(h0), values.contiguous()
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
    dx, du = _sequence(y, 3 * units), _sequence(y, 3 * units)
    if in_cpp(y, ELEMENTWISE):
        t_values = values[csc_permutation(s, keep=True)]
        g, start, dh = _by_features(dy), _compact(h0), y.new_empty(units, batch)
        gates, y = _laid_out(gates), _laid_out(y)
        _cpu.gru_backward(
            ELEMENTWISE[y.dtype], torch.get_num_threads(), t_indptr.data_ptr(), t_indices.data_ptr(),
            t_values.data_ptr(), units, steps, batch, reverse, start.data_ptr(), gates.data_ptr(), y.data_ptr(),
            g.data_ptr(), g.stride(0), dx.data_ptr(), du.data_ptr(), dh.data_ptr(),
        )  # fmt: skip
        dh = dh.t()
    else:
        dh = torch.zeros_like(h0)
        for t in reversed(_order(steps, reverse)):
            r, z, n, inner = gates[t].chunk(4, 1)
            first = t == (steps - 1 if reverse else 0)
            before = h0 if first else y[t + 1 if reverse else t - 1]
            dh = dh + dy[t]
            dn = dh * (1 - z) * (1 - n * n)
            dr, dz = dn * inner * r * (1 - r), dh * (before - n) * z * (1 - z)
            dx[t], du[t] = torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1)
            dh = dh * z + reference.spmm_t(values, s, du[t].t()).t()
    by_features = _by_features(du)
    dvalues = _weight_gradient(by_features, _by_features(y), _compact(h0), s, reverse)
    return dvalues, dx, by_features.sum(1), dh


for _name, _function in (
    ("lstm", _lstm),
    ("lstm_backward", _lstm_backward),
    ("gru", _gru),
    ("gru_backward", _gru_backward),
):
    _library.impl(_name, _function, "CompositeExplicitAutograd")


# ---- shapes only, for compilers ------------------------------------------------------------------------------------


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
    return _sequence(x, units), x.new_empty(h0.t().shape).t(), _sequence(x, units), _sequence(x, 4 * units)


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
    return values.new_empty(values.shape), _sequence(y, 4 * h0.shape[1]), y.new_empty(state).t(), y.new_empty(state).t()


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
    return _sequence(x, h0.shape[1]), _sequence(x, 4 * h0.shape[1])


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
    dx = _sequence(y, 3 * units)
    return values.new_empty(values.shape), dx, y.new_empty(3 * units), y.new_empty(h0.t().shape).t()


for _name, _fake in (
    ("lstm", _fake_lstm),
    ("lstm_backward", _fake_lstm_backward),
    ("gru", _fake_gru),
    ("gru_backward", _fake_gru_backward),
):
    torch.library.register_fake(f"gossamer::{_name}", _fake, lib=_library)


# ---- derivatives ---------------------------------------------------------------------------------------------------


class _LstmInputs(NamedTuple):
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


class _GruInputs(NamedTuple):
    """The same of ``gossamer::gru``."""

    values: Any = None
    indptr: Any = None
    indices: Any = None
    t_indptr: Any = None
    t_indices: Any = None
    x: Any = None
    bias: Any = None
    h0: Any = None
    reverse: Any = None


def _save_lstm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.reverse = inputs
    y, _, cells, gates = output
    ctx.save_for_backward(*tensors, cells, gates, y)
    ctx.mark_non_differentiable(cells, gates)


def _save_gru(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.reverse = inputs
    y, gates = output
    ctx.save_for_backward(*tensors, gates, y)
    ctx.mark_non_differentiable(gates)


def _differentiably(function: Any, inputs: Any, need: Any, grads: tuple[Tensor, ...]) -> list[Tensor | None]:
    """Gradients of the inputs, to be differentiated again: by the graph of plain torch."""
    wanted = [index for index, needed in enumerate(need) if needed]
    fresh = [x.view_as(x) if index in wanted else x for index, x in enumerate(inputs)]  # nodes of their own
    values, indptr, indices, t_indptr, t_indices, *rest = fresh
    outputs = function(values, Structure(indptr, indices, t_indptr, t_indices), *rest)[: len(grads)]
    found = torch.autograd.grad(outputs, [fresh[i] for i in wanted], grads, create_graph=True, allow_unused=True)
    out: list[Tensor | None] = [None] * len(need)
    for index, gradient in zip(wanted, found, strict=True):
        out[index] = gradient
    return out


def _lstm_gradient(ctx: Any, dy: Tensor, dc: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *saved, cells, gates, y = ctx.saved_tensors
    inputs, need = _LstmInputs(*saved, ctx.reverse), _LstmInputs(*ctx.needs_input_grad)
    if torch.is_grad_enabled():
        return _LstmInputs(*_differentiably(_lstm_in_torch, inputs, need, (dy, dc)))
    dvalues, dx, dh, dc0 = torch.ops.gossamer.lstm_backward(
        dy, dc, *inputs[:5], inputs.h0, inputs.c0, gates, cells, y, ctx.reverse
    )
    dbias = _by_features(dx).sum(1) if need.bias else None
    return _LstmInputs(values=dvalues, x=dx, bias=dbias, h0=dh, c0=dc0)


def _gru_gradient(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    *saved, gates, y = ctx.saved_tensors
    inputs, need = _GruInputs(*saved, ctx.reverse), _GruInputs(*ctx.needs_input_grad)
    if torch.is_grad_enabled():
        return _GruInputs(*_differentiably(_gru_in_torch, inputs, need, (dy,)))
    dvalues, dx, dbias, dh = torch.ops.gossamer.gru_backward(dy, *inputs[:5], inputs.h0, gates, y, ctx.reverse)
    return _GruInputs(values=dvalues, x=dx, bias=dbias if need.bias else None, h0=dh)


torch.library.register_autograd("gossamer::lstm", _lstm_gradient, setup_context=_save_lstm, lib=_library)
torch.library.register_autograd("gossamer::gru", _gru_gradient, setup_context=_save_gru, lib=_library)


# ---- functions -----------------------------------------------------------------------------------------------------


def _as_float(*tensors: Tensor | None) -> list[Any]:
    return [None if tensor is None else tensor.float() for tensor in tensors]


def _is_half(values: Tensor) -> bool:
    return values.is_cpu and values.dtype in (torch.float16, torch.bfloat16)


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
    if _is_half(values):
        wide_values, *rest = _as_float(values, x, bias, h0, c0)
        y, c = lstm(wide_values, s, *rest, reverse=reverse)
        return y.to(values.dtype), c.to(values.dtype)
    if transformed():
        s = unwrapped(s)
        _check(values, s, x, bias, 4, h0=h0, c0=c0)
        y, c, _, _ = _lstm_in_torch(values, s, x, bias, h0, c0, reverse)
    else:
        y, c, _, _ = torch.ops.gossamer.lstm(own_view(values), *s, x, bias, h0, c0, reverse)
    return y, c


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
    if _is_half(values):
        wide_values, *rest = _as_float(values, x, bias, h0)
        return gru(wide_values, s, *rest, reverse=reverse).to(values.dtype)
    if transformed():
        s = unwrapped(s)
        _check(values, s, x, bias, 3, h0=h0)
        return _gru_in_torch(values, s, x, bias, h0, reverse)[0]
    y: Tensor = torch.ops.gossamer.gru(own_view(values), *s, x, bias, h0, reverse)[0]
    return y
