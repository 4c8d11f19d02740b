"""ReLU, divisive normalisation and quantile threshold of maps u (N, C, H, W) in one operator.

With y = ReLU(u), for each image and each location i,

    M(i)   = (1/C) Σ_c max of y_c in the window around i
    D(i)   = σ max_j M(j) + (1 − σ) M(i) + ε
    z_c(i) = y_c(i) / D(i)
    τ_c    = the k-th smallest z_c(i) of the map; 0 for k = 0
    f(u)   = z where z > τ, else 0

With g the gradient of f(u), G = g where z > τ (or everywhere, if gates are straight) and S = Σ_c G_c z_c,

    ∂/∂D = −S/D,   ∂/∂M(i) = (1 − σ) ∂/∂D(i) + (σ Σ_j ∂/∂D(j)) / (number of maxima of M), at maxima only the last term
    ∂/∂u_c = G_c/D + (1/C) Σ of ∂/∂M over the windows of which it is the first maximum          where u > 0, else 0.

==================================  ================================================================================
``gossamer::divisive_gate``           f(u), and M, D (N, 1, H, W) and τ (N, C), from which z is computed again
``gossamer::divisive_gate_gradient``  ∂/∂u from g, u, M, D and τ
==================================  ================================================================================

Between the passes only u, M, D and τ are kept. The second derivative is that of the torch reference. On the CPU,
float32 and float64 run in C++, an image at a time; the k-th smallest is selected by counting, without sorting.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.kernels import _cpu
from gossamer.kernels.route import AUTOGRAD, ELEMENTWISE, KERNEL, OPERATOR, REFERENCE, in_cpp, is_plain, way, way_back

__all__ = ["divides_in_cpp", "divisive_gate"]

_EPS = 1e-7
Parts = tuple[Tensor, Tensor, Tensor, Tensor]

_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define(
    "divisive_gate(Tensor u, float sigma, int window, int rank, bool straight) -> (Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    "divisive_gate_gradient(Tensor g, Tensor u, Tensor local, Tensor divisor, Tensor threshold, float sigma, "
    "int window, bool straight) -> Tensor"
)


def _rank(quantile: float, count: int) -> int:
    """K = ⌊q n⌋; (1 − 0.8) · 25 is less than 5 in floating point."""
    return math.floor(quantile * count + 1e-9)


# ---- in plain torch ------------------------------------------------------------------------------------------------


def _divisor(y: Tensor, sigma: float, window: int) -> tuple[Tensor, Tensor]:
    """M and D."""
    local = (F.max_pool2d(y, window, 1, window // 2) if window > 1 else y).mean(1, keepdim=True)
    return local, sigma * local.amax((2, 3), keepdim=True) + (1 - sigma) * local + _EPS


def reference(u: Tensor, sigma: float, window: int, rank: int, straight: bool) -> Parts:
    """The same as the operator, differentiable any number of times."""
    y = u.relu()
    local, divisor = _divisor(y, sigma, window)
    z = y / divisor
    maps = z.detach().flatten(2)
    # the k-th smallest is the least of the n − k + 1 largest; NaN if there is one
    least = maps.topk(maps.shape[-1] - rank + 1, sorted=False).values.amin(-1) if rank else maps.new_zeros(u.shape[:2])
    kept = z * (z.detach() > least[..., None, None])  # a product, since a choice would turn NaN into 0
    return z + (kept - z).detach() if straight else kept, local.detach(), divisor.detach(), least


def _reference_gradient(
    g: Tensor,
    u: Tensor,
    local: Tensor,
    divisor: Tensor,
    threshold: Tensor,
    sigma: float,
    window: int,
    straight: bool,
    again: bool = False,
) -> Tensor:
    """∂/∂u; with ``again`` to be differentiated, for which the divisor is computed from ``u``."""
    y = u.relu()
    # which entries pass, and where M is largest, are those of the forward pass to the last bit
    passed = g if straight else g * (y.detach() / divisor > threshold[..., None, None])
    largest = local == local.amax((2, 3), keepdim=True)
    if again:
        local, divisor = _divisor(y, sigma, window)
    of_divisor = -(passed * (y / divisor)).sum(1, keepdim=True) / divisor
    of_largest = sigma * of_divisor.sum((2, 3), keepdim=True) / largest.sum((2, 3), keepdim=True).clamp(min=1)
    of_local = ((1 - sigma) * of_divisor + of_largest * largest) / u.shape[1]
    routed = of_local.expand_as(u)
    if window > 1:
        _, first = F.max_pool2d(y.detach(), window, 1, window // 2, return_indices=True)
        routed = torch.zeros_like(u).flatten(2).scatter_add(2, first.flatten(2), routed.flatten(2)).view_as(u)
    return torch.where(u <= 0, 0.0, passed / divisor + routed)


# ---- in C++ --------------------------------------------------------------------------------------------------------


def _in_cpp(u: Tensor, window: int) -> bool:
    return in_cpp(u, ELEMENTWISE) and window in (1, 3) and u.numel() > 0


def divides_in_cpp(u: Tensor, window: int) -> bool:
    """Whether `divisive_gate` of ``u`` runs in C++."""
    return is_plain(u) and u.dim() == 4 and _in_cpp(u, window)


def _shapes(u: Tensor, sigma: float, window: int, rank: int, straight: bool) -> Parts:
    spots = u.new_empty(u.shape[0], 1, *u.shape[2:])
    z = torch.empty_like(u, memory_format=torch.contiguous_format)
    return z, spots, torch.empty_like(spots), u.new_empty(u.shape[:2])


def _gate(u: Tensor, sigma: float, window: int, rank: int, straight: bool) -> Parts:
    if not _in_cpp(u, window):
        z, local, divisor, threshold = reference(u, sigma, window, rank, straight)
        return z.contiguous(), local.contiguous(), divisor.contiguous(), threshold
    u = u.contiguous().resolve_neg()
    parts = _shapes(u, sigma, window, rank, straight)
    numbers: list[Any] = [*(part.data_ptr() for part in (u, *parts)), *u.shape, sigma, window, rank]
    _cpu.divisive_forward(ELEMENTWISE[u.dtype], torch.get_num_threads(), *numbers)
    return parts


def _gradient_shapes(
    g: Tensor, u: Tensor, local: Tensor, divisor: Tensor, threshold: Tensor, sigma: float, window: int, straight: bool
) -> Tensor:
    return torch.empty_like(u, memory_format=torch.contiguous_format)


def _gate_gradient(
    g: Tensor, u: Tensor, local: Tensor, divisor: Tensor, threshold: Tensor, sigma: float, window: int, straight: bool
) -> Tensor:
    if not _in_cpp(u, window):
        return _reference_gradient(g, u, local, divisor, threshold, sigma, window, straight).contiguous()
    g, u, local, divisor, threshold = (t.contiguous().resolve_neg() for t in (g, u, local, divisor, threshold))
    du = torch.empty_like(u)
    inputs = (g, u, local, divisor, threshold, du)
    numbers: list[Any] = [*(part.data_ptr() for part in inputs), *u.shape, sigma, window, straight]
    _cpu.divisive_backward(ELEMENTWISE[u.dtype], torch.get_num_threads(), *numbers)
    return du


_library.impl("divisive_gate", _gate, "CompositeExplicitAutograd")
_library.impl("divisive_gate_gradient", _gate_gradient, "CompositeExplicitAutograd")
torch.library.register_fake("gossamer::divisive_gate", _shapes, lib=_library)
torch.library.register_fake("gossamer::divisive_gate_gradient", _gradient_shapes, lib=_library)


# ---- derivatives ---------------------------------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: Parts) -> None:
    u, ctx.sigma, ctx.window, _, ctx.straight = inputs
    ctx.save_for_backward(u, *output[1:])


def _backward(ctx: Any, g: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if g is None:
        return None, None, None, None, None
    u, local, divisor, threshold = ctx.saved_tensors
    inputs = (g, u, local, divisor, threshold, ctx.sigma, ctx.window, ctx.straight)
    chosen = way_back(g)
    if chosen is AUTOGRAD:
        du = _reference_gradient(*inputs, again=True)
    else:
        call = _gate_gradient if chosen is KERNEL else torch.ops.gossamer.divisive_gate_gradient
        du = call(*inputs)
    return du, None, None, None, None


torch.library.register_autograd("gossamer::divisive_gate", _backward, setup_context=_save, lib=_library)


class _Gate(torch.autograd.Function):
    """``gossamer::divisive_gate`` without the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Parts:
        output = _gate(*inputs)
        _save(ctx, inputs, output)
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        return _backward(ctx, *gradients)


def divisive_gate(u: Tensor, sigma: float, window: int, quantile: float, straight: bool = False) -> Tensor:
    """Compute f(u), the quantile threshold of the divisive normalisation of ReLU(u).

    Args:
        u: maps (N, C, H, W), floating point.
        sigma: σ in [0, 1], the share of the maximum over the image in the divisor.
        window: odd side of the square in which the maximum is taken.
        quantile: q in [0, 1), k = ⌊q H W⌋.
        straight: gates let all gradients pass.

    Returns:
        (N, C, H, W), contiguous.
    """
    inputs = (u, sigma, window, _rank(quantile, u.shape[2] * u.shape[3]), straight)
    chosen = way(u, u)
    if chosen is OPERATOR:
        return torch.ops.gossamer.divisive_gate(*inputs)[0]  # type: ignore[no-any-return]
    if chosen is REFERENCE:
        return reference(*inputs)[0]
    if chosen is AUTOGRAD and u.requires_grad:
        return _Gate.apply(*inputs)[0]  # type: ignore[no-any-return, no-untyped-call]
    return _gate(*inputs)[0]
