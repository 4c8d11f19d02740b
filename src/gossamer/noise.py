"""Noise that acts, on average, like an L_q penalty: Sparseout applies it to activations, Bridgeout to weights.

With the probability p of being dropped, r ~ Bernoulli(1 − p) for each element and ξ = r/(1−p) − 1, which has mean 0 and
variance p/(1−p):

    x̃ = x + sign(x) |x|^{q/2} ξ        kept: x + sign(x) |x|^{q/2} p/(1−p),   dropped: x − sign(x) |x|^{q/2}

so that E[x̃] = x and Var[x̃] = p/(1−p) |x|^q. At q = 2 this is dropout, x̃ = x r/(1−p). As x̃ = x M with
M = 1 + |x|^{(q−2)/2} ξ, it is computed with |x| + ε, ε = 10⁻¹², in the place of |x| in M.

In a linear model with the loss A(η) − y η of η = b·x̃, a Taylor expansion to second order gives

    E[loss(x̃)] ≈ loss(x) + ½ A''(η) p/(1−p) Σ_j b_j² |x_j|^q,

with equality for least squares, where A'' = 1. For several outputs b_j² is the squared length of column j of their
weights.

The gradient is one of two:

==========  =============================================  =========================================================
"frozen"    ∂x̃/∂x := M = 1 + |x|^{q/2−1} ξ                 M is taken for a constant, as in the published code. Not the
                                                           gradient of the noisy loss: its noise part is, on average
                                                           over masks, 2/q times the penalty's gradient.
"exact"     ∂x̃/∂x = 1 + (q/2) |x|^{q/2−1} ξ                The derivative. For q < 2 there is none at x = 0, where the
                                                           tangent is vertical: we take 1, that of the mean E[x̃] = x.
==========  =============================================  =========================================================

Both agree at q = 2. For q < 2, M is large near zero: with q = 1, up to p/(1−p) 10⁶ at x = 0 and 10² at 10⁻⁴.

References:
    Khan, Stavness, "Sparseout: Controlling Sparsity in Deep Networks", arXiv 1904.08050, and its code.
    Khan, Shah, Stavness, "Bridgeout: stochastic bridge regularization for deep neural networks", arXiv 1804.08042.
    Wager, Wang, Liang, "Dropout training as adaptive regularization", NeurIPS 2013 (the expansion, for dropout).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from gossamer.errors import InputError, check_choice, check_fraction
from gossamer.kernels.lq_noise import lq_noise as fused
from gossamer.kernels.lq_noise import multiplier
from gossamer.kernels.route import transformed

__all__ = ["Gradient", "Noise", "check_gradient", "check_p", "check_q", "lq_noise", "perturb"]

Gradient = Literal["frozen", "exact"]
_SEEDS = 2**63 - 1


class Noise:
    """A module that draws from ``generator``, of its input's device, while it has one, and from torch's otherwise.

    Torch's own generator belongs to the whole process: several networks that train in it at once would draw from each
    other's sequence.
    """

    generator: torch.Generator | None = None


class _NotFloatingError(InputError, TypeError):
    """A tensor of integers, of booleans or of complex numbers."""


def check_p(p: float) -> float:
    """``p`` as a float, if it is a probability."""
    return check_fraction("p", p)


def check_q(q: float) -> float:
    """``q`` as a float, if it is at least 0 and finite."""
    return check_fraction("q", q, high=math.inf, open_high=True)


def check_gradient(gradient: str) -> str:
    """``gradient``, if there is such a one."""
    return check_choice("gradient", gradient, ("frozen", "exact"))


def lq_noise(
    name: str,
    x: Tensor,
    p: float,
    q: float,
    training: bool,
    gradient: str,
    generator: torch.Generator | None = None,
    copies: int | None = None,
) -> Tensor:
    """Add the noise of the module's docstring to ``x``, with masks drawn from ``generator`` (default: torch's own).

    ``x`` itself is returned if not ``training`` or p = 0.

    Args:
        name: name of ``x`` at the caller, for messages.
        x: floating point, any shape and strides. The result has its dtype and layout.
        p: probability of being dropped, in [0, 1]. All is zero at p = 1.
        q: exponent of the penalty, in [0, ∞).
        training: whether there is noise.
        gradient: ``"frozen"`` or ``"exact"``.
        generator: of the device of ``x``.
        copies: return so many results with masks of their own, (copies, *x.shape).

    Raises:
        InputError: an argument outside its range. One that is a TypeError as well, if ``x`` is not floating point.
    """
    p, q = check_p(p), check_q(q)
    check_gradient(gradient)
    if not x.is_floating_point():
        raise _NotFloatingError(f"{name} must be floating point, got {x.dtype}")
    if not training or p == 0:
        return x if copies is None else x.expand(copies, *x.shape)
    if x.is_cpu and copies is None and p < 1 and (q != 2 or generator is not None) and not transformed():
        seed = torch.randint(_SEEDS, (), device=x.device, generator=generator)
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        return fused(wide, seed, p, q, gradient == "exact").to(x.dtype)
    r = torch.empty_like(x) if copies is None else x.new_empty((copies, *x.shape))
    return perturb(x, r.bernoulli_(1 - p, generator=generator), p, q, gradient)


def perturb(x: Tensor, r: Tensor, p: float, q: float, gradient: str) -> Tensor:
    """x̃ of this page for given masks ``r`` of zeros (dropped) and ones (kept), which broadcast with ``x``.

    float16 and bfloat16 are computed in float32, in which ε is not 0 and M is not infinite; at q = 2, where neither
    matters, in their own precision, as `torch.nn.functional.dropout` does.
    """
    if p == 1:  # r is 0, and so is 1 − p
        return x * r.to(x.dtype)
    if q == 2:  # the arithmetic of F.dropout, bit for bit
        return x * multiplier(x, r, p, q)
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    if gradient == "exact":
        return _Exact.apply(wide, r, p, q).to(x.dtype)  # type: ignore[no-any-return, no-untyped-call]
    return (wide * multiplier(wide.detach(), r, p, q)).to(x.dtype)


class _Exact(torch.autograd.Function):
    """Keeps x, which its producer mostly keeps as well, and the mask; its gradient can be differentiated again.

    It has no ``jvp``: the compiler refuses functions that have one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, r: Tensor, p: float, q: float) -> Tensor:
        return x * multiplier(x, r, p, q)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, float], output: Tensor) -> None:
        x, r, ctx.p, ctx.q = inputs
        ctx.save_for_backward(x, r)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None, None]:
        x, r = ctx.saved_tensors
        slope = multiplier(x, r, ctx.p, ctx.q, ctx.q / 2).masked_fill(x == 0, 1)
        return (d * slope).sum_to_size(x.shape), None, None, None
