"""The cost that separates winning channels from others, as operators.

With a = ReLU(u) along ``dim``, in falling order a_(1) ≥ … ≥ a_(C), the cost of a location is

    ℓ = (1/K) Σ_{j ≤ K} a_(j) − r Σ_{j > K} a_(j),        ∂ℓ/∂u_c = 1/K for a winner, −r for another, 0 where u_c ≤ 0.

==============================  ==================================================================
``gossamer::winners``           ℓ, and the least activation of a winner, a_(K), for each location
``gossamer::winners_gradient``  ∂/∂u from the gradient of ℓ, u and a_(K)
==============================  ==================================================================

Between the passes u and a_(K) are kept. Of channels that tie with a_(K) as many win as there is room for. On the CPU,
float32 and float64 run in C++, a vector of locations at a time, each with a list of its K largest.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gossamer.kernels import _cpu
from gossamer.kernels.route import AUTOGRAD, ELEMENTWISE, KERNEL, OPERATOR, REFERENCE, in_cpp, way, way_back

__all__ = ["winners_cost"]

_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define("winners(Tensor u, int dim, int winners, float rest) -> (Tensor, Tensor)")
_library.define("winners_gradient(Tensor g, Tensor u, Tensor least, int dim, int winners, float rest) -> Tensor")


def reference(u: Tensor, dim: int, winners: int, rest: float) -> tuple[Tensor, Tensor]:
    """The same as the operator, in plain torch."""
    a = u.relu()
    largest = a.topk(winners, dim, sorted=False).values
    cost = (1 / winners + rest) * largest.sum(dim) - rest * a.sum(dim)
    return cost, largest.detach().amin(dim)


def _reference_gradient(g: Tensor, u: Tensor, dim: int, winners: int, rest: float) -> Tensor:
    first = u.detach().relu().topk(winners, dim, sorted=False).indices
    slopes = torch.full_like(u, -rest).scatter(dim, first, 1 / winners)
    return torch.where(u <= 0, 0.0, g.unsqueeze(dim) * slopes)


def _in_cpp(u: Tensor) -> bool:
    return in_cpp(u, ELEMENTWISE) and u.numel() > 0


def _in_memory(u: Tensor, dim: int) -> tuple[Tensor, int, int, int]:
    """``u`` or a copy of it, and (outer, channels, inner): channel c of location (o, i) is at (o C + c) inner + i."""
    u = u.resolve_neg()
    if not u.is_contiguous():
        if u.movedim(dim, -1).is_contiguous():
            return u, u.numel() // u.shape[dim], u.shape[dim], 1
        u = u.contiguous()
    return u, math.prod(u.shape[:dim]), u.shape[dim], math.prod(u.shape[dim + 1 :])


def _shapes(u: Tensor, dim: int, winners: int, rest: float) -> tuple[Tensor, Tensor]:
    cost = u.new_empty((*u.shape[:dim], *u.shape[dim + 1 :]))
    return cost, torch.empty_like(cost)


def _winners(u: Tensor, dim: int, winners: int, rest: float) -> tuple[Tensor, Tensor]:
    if not _in_cpp(u):
        cost, least = reference(u, dim, winners, rest)
        return cost.contiguous(), least.contiguous()
    cost, least = _shapes(u, dim, winners, rest)
    u, *sizes = _in_memory(u, dim)
    numbers: list[Any] = [*(t.data_ptr() for t in (u, cost, least)), *sizes, winners, rest]
    _cpu.winners_forward(ELEMENTWISE[u.dtype], torch.get_num_threads(), *numbers)
    return cost, least


def _gradient_shapes(g: Tensor, u: Tensor, least: Tensor, dim: int, winners: int, rest: float) -> Tensor:
    return torch.empty_like(u)


def _winners_gradient(g: Tensor, u: Tensor, least: Tensor, dim: int, winners: int, rest: float) -> Tensor:
    if not _in_cpp(u):
        return torch.empty_like(u).copy_(_reference_gradient(g, u, dim, winners, rest))
    out = torch.empty_like(u)
    u, *sizes = _in_memory(u, dim)
    du = out if out.stride() == u.stride() else torch.empty_like(u)
    g, least = g.contiguous().resolve_neg(), least.contiguous()
    numbers: list[Any] = [*(t.data_ptr() for t in (g, u, least, du)), *sizes, winners, rest]
    _cpu.winners_backward(ELEMENTWISE[u.dtype], torch.get_num_threads(), *numbers)
    return out if du is out else out.copy_(du)


_library.impl("winners", _winners, "CompositeExplicitAutograd")
_library.impl("winners_gradient", _winners_gradient, "CompositeExplicitAutograd")
torch.library.register_fake("gossamer::winners", _shapes, lib=_library)
torch.library.register_fake("gossamer::winners_gradient", _gradient_shapes, lib=_library)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    u, ctx.dim, ctx.winners, ctx.rest = inputs
    ctx.save_for_backward(u, output[1])


def _backward(ctx: Any, g: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if g is None:
        return None, None, None, None
    u, least = ctx.saved_tensors
    chosen = way_back(g)
    if chosen is AUTOGRAD:
        du = _reference_gradient(g, u, ctx.dim, ctx.winners, ctx.rest)
    else:
        call = _winners_gradient if chosen is KERNEL else torch.ops.gossamer.winners_gradient
        du = call(g, u, least, ctx.dim, ctx.winners, ctx.rest)
    return du, None, None, None


torch.library.register_autograd("gossamer::winners", _backward, setup_context=_save, lib=_library)


class _Winners(torch.autograd.Function):
    """``gossamer::winners`` without the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        output = _winners(*inputs)
        _save(ctx, inputs, output)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        return _backward(ctx, *gradients)


def winners_cost(u: Tensor, dim: int, winners: int, rest: float) -> Tensor:
    """Compute ℓ at each location.

    Args:
        u: signed activations, floating point, not empty.
        dim: the dimension of the channels.
        winners: K, from 1 to the number of channels.
        rest: r, the weight of each channel that does not win.

    Returns:
        ℓ, in the shape of ``u`` without ``dim``. NaN where a channel is NaN.
    """
    inputs = (u, dim % u.dim(), winners, rest)
    chosen = way(u, u)
    if chosen is OPERATOR:
        return torch.ops.gossamer.winners(*inputs)[0]  # type: ignore[no-any-return]
    if chosen is REFERENCE:
        return reference(*inputs)[0]
    if chosen is AUTOGRAD and u.requires_grad:
        return _Winners.apply(*inputs)[0]  # type: ignore[no-any-return, no-untyped-call]
    return _winners(*inputs)[0]
