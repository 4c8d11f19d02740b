"""Sequences of recurrent layers: their layout, checks, and the gradients that LSTM and GRU share.

A sequence (steps, batch, features) is feature-major in memory, each feature with all steps and samples side by side: a
step is a block of columns, and the next layer reads the result of this one without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import native, reference
from gossamer.kernels.checks import check_bias, check_values
from gossamer.kernels.route import ELEMENTWISE, in_cpp
from gossamer.kernels.structure import Structure

__all__ = [
    "INDEX",
    "as_float",
    "by_features",
    "check_sequence",
    "compact",
    "differentiably",
    "is_half",
    "laid_out",
    "last_of",
    "new_sequence",
    "order",
    "recurrent_part",
    "weight_gradient",
]

INDEX = "Tensor indptr, Tensor indices, Tensor t_indptr, Tensor t_indices"


def check_sequence(values: Tensor, s: Structure, x: Tensor, bias: Tensor | None, gates: int, **states: Tensor) -> None:
    """Raise `InputError` unless these are operands of a layer with so many ``gates``."""
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


def new_sequence(like: Tensor, features: int) -> Tensor:
    """New memory (steps, batch, features), feature-major."""
    steps, batch = like.shape[:2]
    return like.new_empty_strided((steps, batch, features), (batch, 1, steps * batch))


def by_features(x: Tensor) -> Tensor:
    """(steps, batch, features) -> (features, steps · batch), a copy only if it is laid out otherwise."""
    return native.feature_major(x.reshape(-1, x.shape[-1]).t())


def compact(state: Tensor) -> Tensor:
    """(batch, units) -> (units, batch), contiguous."""
    return state.resolve_neg().t().contiguous()


def last_of(state: Tensor) -> Tensor:
    """(batch, units) in memory of its own, feature-major."""
    return state.new_empty(state.t().shape).t().copy_(state)


def order(steps: int, reverse: bool) -> range:
    """The steps as they are walked."""
    return range(steps - 1, -1, -1) if reverse else range(steps)


def weight_gradient(drecurrent: Tensor, y: Tensor, h0: Tensor, s: Structure, reverse: bool) -> Tensor:
    """Σ_t ⟨gradient of W h at step t, state before step t⟩ at the connections, both (features, steps · batch)."""
    product = native.sddmm if in_cpp(y, ELEMENTWISE) else reference.sddmm
    batch = h0.shape[1]
    first, rest = (slice(-batch, None), slice(None, -batch)) if reverse else (slice(batch), slice(batch, None))
    before = slice(batch, None) if reverse else slice(None, -batch)
    out = product(drecurrent[:, first], h0, s)
    return out if y.shape[1] == batch else out.add_(product(drecurrent[:, rest], y[:, before], s))


def laid_out(x: Tensor) -> Tensor:
    """``x`` (steps, batch, features) in the memory of `new_sequence`, as the forward pass has left it."""
    like = new_sequence(x, x.shape[2])
    return x if x.stride() == like.stride() else like.copy_(x)


def recurrent_part(values: Tensor, s: Structure, bias: Tensor | None, h: Tensor) -> Tensor:
    """W h + b, (batch, features)."""
    u = reference.spmm(values, s, h.t()).t()
    return u if bias is None else u + bias


def differentiably(
    function: Callable[..., Any], inputs: Sequence[Any], need: Sequence[Any], grads: tuple[Tensor, ...]
) -> list[Tensor | None]:
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


def as_float(*tensors: Tensor | None) -> list[Any]:
    """The tensors in float32; None stays None."""
    return [None if tensor is None else tensor.float() for tensor in tensors]


def is_half(values: Tensor) -> bool:
    """Whether a layer with these weights is computed in float32 instead."""
    return values.is_cpu and values.dtype in (torch.float16, torch.bfloat16)
