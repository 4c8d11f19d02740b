"""L_q noise as one PyTorch operator: mask, power and product in one pass.

    ``gossamer::lq_noise``           y = x (1 + (|x| + ε)^{q/2−1} ξ),   ξ = −1 if dropped, p/(1−p) if kept,   0 < p < 1
    ``gossamer::lq_noise_backward``  d (1 + c (|x| + ε)^{q/2−1} ξ),     c = 1 for the frozen gradient; for the exact one
                                                                        c = q/2, and the factor is 1 at x = 0

and at q = 2 the arithmetic of dropout, x r/(1−p), in both. `gossamer.noise` has the mathematics.

**Masks** follow from a seed and the number of an element in memory: nothing but the seed is kept for the backward pass,
and neither threads nor instruction sets change them. Philox4x32-10 makes the words of 16 bits u_i: block b has the
counter (b mod 2³², ⌊b / 2³²⌋, 0, 0), and eight blocks make the words of 64 elements: their first and second words of 32
bits, block by block, lower half first, those of the first 32 elements; their third and fourth words the others. Element
i is dropped if u_i < ⌊2¹⁶ p⌋; where both are equal, if the first word of the counter (i mod 2³², ⌊i / 2³²⌋, 1, 0) is
below 2³² times the rest of 2¹⁶ p. So p is met to 2⁻⁴⁸.

References:
    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor as _is_legacy_batched

from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.layout import laid_out_as
from gossamer.kernels.route import AUTOGRAD, ELEMENTWISE, KERNEL, OPERATOR, in_cpp, way, way_back

__all__ = ["kept", "lq_noise", "multiplier"]

EPSILON = 1e-12

_library = torch.library.Library("gossamer", "FRAGMENT")
_library.define("lq_noise(Tensor x, Tensor seed, float p, float q, bool exact) -> Tensor")
_library.define("lq_noise_backward(Tensor d, Tensor x, Tensor seed, float p, float q, bool exact) -> Tensor")


# ---- in plain torch --------------------------------------------------------------------------------------------------


def multiplier(x: Tensor, r: Tensor, p: float, q: float, slope: float = 1.0) -> Tensor:
    """1 + slope (|x| + ε)^{q/2−1} ξ for masks ``r`` of zeros (dropped) and ones (kept); r/(1−p) at q = 2; p < 1."""
    r = r.to(x.dtype)
    if q == 2:
        return r / (1 - p)
    xi = r * (p / (1 - p)) + (r - 1)  # each of the two numbers rounded once
    return 1 + slope * (x.abs() + EPSILON) ** (q / 2 - 1) * xi


def _words(c0: Tensor, c2: int, seed: int) -> list[Tensor]:
    """Four words of 32 bits in int64 for each counter (c0 mod 2³², ⌊c0 / 2³²⌋, c2, 0)."""
    word = 0xFFFFFFFF

    def halves(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
        product = x * factor  # modulo 2⁶⁴, in signed numbers
        return (product >> 32) & word, product & word

    c = [c0 & word, c0 >> 32, torch.full_like(c0, c2), torch.zeros_like(c0)]
    key0, key1 = seed & word, (seed >> 32) & word
    for _ in range(10):
        (first_high, first_low), (second_high, second_low) = halves(c[0], 0xD2511F53), halves(c[2], 0xCD9E8D57)
        c = [second_high ^ c[1] ^ key0, second_low, first_high ^ c[3] ^ key1, first_low]
        key0, key1 = (key0 + 0x9E3779B9) & word, (key1 + 0xBB67AE85) & word
    return c


def kept(like: Tensor, seed: int, p: float) -> Tensor:
    """True where an element is kept, laid out as ``torch.empty_like(like)``: the definition above."""
    n = like.numel()
    blocks = torch.arange(-(-n // 64) * 8, device=like.device)
    words = torch.stack(_words(blocks, 0, seed), -1).reshape(-1, 8, 2, 2).transpose(1, 2).reshape(-1)
    u = torch.stack((words & 0xFFFF, words >> 16), -1).reshape(-1)[:n]
    threshold = math.floor(p * 65536)
    dropped = u < threshold
    ties = (u == threshold).nonzero()[:, 0]
    rest = math.floor((p * 65536 - threshold) * 2**32)
    dropped[ties] = _words(ties, 1, seed)[0] < rest
    return dropped.logical_not_().as_strided(like.shape, torch.empty_like(like, device="meta").stride())


def _reference(d: Tensor, x: Tensor, seed: int, p: float, q: float, slope: float, skip_zeros: bool) -> Tensor:
    factor = multiplier(x, kept(x, seed, p), p, q, slope)
    if skip_zeros and q != 2:
        factor = factor.masked_fill(x == 0, 1)
    return torch.empty_like(x).copy_(d * factor)


# ---- computation -----------------------------------------------------------------------------------------------------


def _check(x: Tensor, seed: Tensor, p: float, q: float) -> None:
    if not x.is_floating_point():
        raise InputError(f"x must be floating point, got {x.dtype}")
    if seed.dtype != torch.int64 or seed.numel() != 1:
        raise InputError(f"seed must be one number of int64, got {seed.dtype} of shape {tuple(seed.shape)}")
    if not (0 < p < 1 and 0 <= q < math.inf):
        raise InputError(f"p must be in (0, 1) and q in [0, inf), got {p!r} and {q!r}")


def _product(d: Tensor, x: Tensor, seed: Tensor, p: float, q: float, slope: float, skip_zeros: bool) -> Tensor:
    number = int(seed)
    if not in_cpp(x, ELEMENTWISE):
        return _reference(d, x, number, p, q, slope, skip_zeros)
    y = torch.empty_like(x)
    if y.numel():
        same = d is x
        x = laid_out_as(y, x)
        d = x if same else laid_out_as(y, d)
        _cpu.lq_noise(
            ELEMENTWISE[x.dtype],
            torch.get_num_threads(),
            x.numel(),
            d.data_ptr(),
            x.data_ptr(),
            y.data_ptr(),
            number & 0xFFFFFFFFFFFFFFFF,
            p,
            q,
            slope,
            EPSILON,
            skip_zeros,
        )
    return y


def _lq_noise(x: Tensor, seed: Tensor, p: float, q: float, exact: bool) -> Tensor:
    _check(x, seed, p, q)
    return _product(x, x, seed, p, q, 1.0, False)


def _lq_noise_backward(d: Tensor, x: Tensor, seed: Tensor, p: float, q: float, exact: bool) -> Tensor:
    _check(x, seed, p, q)
    if d.shape != x.shape or d.dtype != x.dtype or d.device != x.device:
        raise InputError(f"d must be as x, {x.dtype} of {tuple(x.shape)}, got {d.dtype} of {tuple(d.shape)}")
    return _product(d, x, seed, p, q, q / 2 if exact else 1.0, exact)


def _fake(x: Tensor, seed: Tensor, p: float, q: float, exact: bool) -> Tensor:
    return torch.empty_like(x)


def _fake_backward(d: Tensor, x: Tensor, seed: Tensor, p: float, q: float, exact: bool) -> Tensor:
    return torch.empty_like(x)


_library.impl("lq_noise", _lq_noise, "CompositeExplicitAutograd")
_library.impl("lq_noise_backward", _lq_noise_backward, "CompositeExplicitAutograd")
torch.library.register_fake("gossamer::lq_noise", _fake, lib=_library)
torch.library.register_fake("gossamer::lq_noise_backward", _fake_backward, lib=_library)


# ---- derivatives -----------------------------------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, seed, ctx.p, ctx.q, ctx.exact = inputs
    ctx.save_for_backward(x, seed)


def _gradient(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
    x, seed = ctx.saved_tensors
    chosen = way_back(d)
    if chosen is KERNEL:
        d = _lq_noise_backward(d, x, seed, ctx.p, ctx.q, ctx.exact)
    elif chosen is AUTOGRAD or _is_legacy_batched(d):  # to be differentiated again, or many gradients at once
        d = d * _slope(x, seed, ctx.p, ctx.q, ctx.exact)
    else:
        d = torch.ops.gossamer.lq_noise_backward(d, x, seed, ctx.p, ctx.q, ctx.exact)
    return d, None, None, None, None


def _slope(x: Tensor, seed: Tensor, p: float, q: float, exact: bool) -> Tensor:
    """The factor of the backward pass, differentiable if it is ``exact``."""
    r = torch.ops.gossamer.lq_noise(torch.ones_like(x.detach()), seed, p, 2.0, False) != 0
    if not exact or q == 2:
        return multiplier(x.detach(), r, p, q)
    return torch.where(x == 0, 1.0, multiplier(torch.where(x == 0, 1.0, x), r, p, q, q / 2))


torch.library.register_autograd("gossamer::lq_noise", _gradient, setup_context=_save, lib=_library)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    d, x, seed, ctx.p, ctx.q, ctx.exact = inputs
    ctx.save_for_backward(d, x, seed)


def _second_gradient(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    d, x, seed = ctx.saved_tensors
    grad_x = None
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        slope = _slope(leaf, seed, ctx.p, ctx.q, ctx.exact)
    if ctx.needs_input_grad[1] and slope.requires_grad:
        (grad_x,) = torch.autograd.grad(slope, leaf, g * d)
    return g * slope.detach(), grad_x, None, None, None, None


torch.library.register_autograd(
    "gossamer::lq_noise_backward", _second_gradient, setup_context=_save_backward, lib=_library
)


class _LqNoise(torch.autograd.Function):
    """``gossamer::lq_noise`` without the dispatcher, which takes as long as the noise of a small layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, p: float, q: float, exact: bool) -> Tensor:
        output = _product(x, x, seed, p, q, 1.0, False)
        _save(ctx, (x, seed, p, q, exact), output)
        return output

    backward = staticmethod(_gradient)


def lq_noise(x: Tensor, seed: Tensor, p: float, q: float, exact: bool) -> Tensor:
    """Add noise to ``x``, outside of `torch.func` and forward-mode differentiation.

    Args:
        x: floating point.
        seed: one number of int64.
        p: probability of being dropped, in (0, 1).
        q: exponent of the penalty, in [0, ∞).
        exact: whether the gradient is the derivative; else the multiplier is a constant in it.

    Returns:
        The noisy ``x``, in its layout.
    """
    chosen = way(x, x)
    if chosen is OPERATOR:
        return torch.ops.gossamer.lq_noise(x, seed, p, q, exact)  # type: ignore[no-any-return]
    if chosen is AUTOGRAD and x.requires_grad:
        return _LqNoise.apply(x, seed, p, q, exact)  # type: ignore[no-any-return, no-untyped-call]
    return _product(x, x, seed, p, q, 1.0, False)
