"""The sparseness-enforcing projection as a transfer function: every code has exactly the sparseness asked for.

Hoyer's sparseness of a vector x ≠ 0 with n ≥ 2 entries is

    σ(x) = (√n − ‖x‖₁ / ‖x‖₂) / (√n − 1),        0 if all |x_i| are equal, 1 if one entry is left.

The projection of x to sparseness σ* in (0, 1) and length λ₂ is the nearest point that has both:

    s = argmin ‖s − x‖₂   over   ‖s‖₁ = λ₁, ‖s‖₂ = λ₂, s ≥ 0,       λ₁ = λ₂ (√n − σ* (√n − 1)).

It is a soft shrinkage, s = β max(x − α, 0), with α such that the ratio of norms comes out right: a unit fires if it
stands out from its rivals, however strong they all are. The signed version leaves s ≥ 0 away:
s = β sign(x) max(|x| − α, 0). The result does not change if x is scaled by c > 0, nor, without signs, if a
constant is added to all its entries.

Source: Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013), section 2 (the
projection as transfer function); Thom, Palm, "Efficient Sparseness-Enforcing Projections", arXiv 1303.5259 (linear
time); Thom, Rapp, Palm, IJCV 114 (2015) (soft shrinkage).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_fraction
from gossamer.kernels import Code
from gossamer.kernels.projection import project

__all__ = ["Hoyer", "hoyer_projection"]


def hoyer_projection(
    x: Tensor,
    sparseness: float | Tensor,
    dim: int = -1,
    signed: bool = False,
    norm: float | Literal["preserve"] = 1.0,
) -> Tensor:
    """The nearest vector to each row of ``x`` along ``dim`` that has the given sparseness and length.

    Args:
        x: float32 or float64, any shape and strides, n ≥ 2 entries along ``dim``; float16 and bfloat16 are computed in
            float32. Result: same shape, dtype and layout.
        sparseness: σ* in (0, 1). One for all rows, or a tensor that broadcasts to the other dimensions of ``x``; a
            tensor may require a gradient. In compiled code, and in a tensor on an accelerator, it is not looked at: a
            value outside (0, 1) makes its rows NaN.
        dim: the units that compete.
        signed: project |x| and restore the signs, where a zero counts as positive. Otherwise the result is ≥ 0;
            negative entries of ``x`` are not clipped first, as the threshold may lie below them.
        norm: the length λ₂ > 0 of each result, or "preserve" for the length of the row (of its finite entries).

    Takes O(n) time in four or five passes, and two more for the gradient, which keeps the result and one number a row.

    Where the nearest point is not unique or does not exist:

    ==================================================  ================================================================
    more than r² = (λ₁/λ₂)² entries share the maximum   those entries alone are live: equal parts, and the excess that
    (a zero or constant row, for one)                   the length asks for on the first. Gradient zero.
    an entry is −inf (not signed)                       it is masked: it counts in n and gets 0.
    at most r² entries are not −inf                     no such vector exists: they get equal parts. Gradient zero.
    all are −inf                                        all zero.
    an entry is NaN, or +inf, or −inf and signed        the row is NaN, and only that row.
    ==================================================  ================================================================

    The derivative is zero wherever only two entries are live, and grows without bound as all live entries become equal:
    clip gradients where that may happen.

    Raises:
        InputError: n < 2, ``sparseness`` outside (0, 1), ``norm`` not positive and finite, ``x`` not floating point.
    """
    if not x.is_floating_point():
        raise InputError(f"x must be floating point, got {x.dtype}")
    if not -x.dim() <= dim < x.dim():
        raise InputError(f"dim must be in [{-x.dim()}, {x.dim() - 1}] for x of shape {tuple(x.shape)}, got {dim}")
    dim %= x.dim()
    if x.shape[dim] < 2:
        raise InputError(f"x must have at least 2 entries along dim {dim}, got shape {tuple(x.shape)}")
    if norm != "preserve" and (isinstance(norm, str) or not 0 < norm < math.inf):
        raise InputError(f"norm must be a positive number or 'preserve', got {norm!r}")

    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    s = project(wide, _radius(sparseness, x, dim), dim, signed)
    if norm == "preserve":
        s = s * _length(wide, dim)
    elif norm != 1:
        s = s * norm
    return s.to(x.dtype)


def _radius(sparseness: float | Tensor, x: Tensor, dim: int) -> Tensor:
    """r = √n − σ* (√n − 1), the norms' ratio that stands for the sparseness; one number, or one for each row."""
    root = math.sqrt(x.shape[dim])
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    if not isinstance(sparseness, Tensor):
        if not torch.compiler.is_compiling():
            check_fraction("sparseness", sparseness, open_low=True, open_high=True)
        return torch.full((), root - sparseness * (root - 1), dtype=dtype, device="cpu")
    if sparseness.device.type == "cpu" and not torch.compiler.is_compiling():
        inside = (sparseness > 0) & (sparseness < 1)
        if not bool(inside.all()):
            raise InputError(f"sparseness must be in (0, 1), got {sparseness[~inside].flatten()[0].item():g}")
    radius = root - sparseness.to(dtype) * (root - 1)
    others = x.shape[:dim] + x.shape[dim + 1 :]
    try:
        return radius.reshape(()) if radius.numel() == 1 else radius.expand(others).unsqueeze(dim)
    except RuntimeError:
        raise InputError(f"sparseness of shape {tuple(sparseness.shape)} must broadcast to {tuple(others)}") from None


def _length(x: Tensor, dim: int) -> Tensor:
    """‖x‖₂ of the finite entries along ``dim``; no square overflows."""
    x = torch.where(x == -math.inf, 0.0, x)
    top = x.detach().abs().amax(dim, keepdim=True)
    top = torch.where(top > 0, top, 1.0)
    length: Tensor = torch.linalg.vector_norm(x / top, dim=dim, keepdim=True)
    return top * length


class Hoyer(nn.Module):
    """`hoyer_projection` as a layer: every sample's code gets the given sparseness and length.

    Args:
        sparseness: σ* in (0, 1), or a tensor of them that broadcasts to the other dimensions of the input.
        dim: the units that compete.
        signed: whether units may fire negatively.
        norm: length of a code, or "preserve".
        packed: give a `Code` of the live units of a (batch, features) input, for the next sparse layer to read without
            touching a dead one; it carries gradients to the live ones.
    """

    sparseness: float | Tensor

    def __init__(
        self,
        sparseness: float | Tensor,
        *,
        dim: int = -1,
        signed: bool = False,
        norm: float | Literal["preserve"] = 1.0,
        packed: bool = False,
    ) -> None:
        super().__init__()
        if packed and dim not in (-1, 1):
            raise InputError(f"dim must be -1 or 1 for a packed code, got {dim}")
        if isinstance(sparseness, nn.Parameter):
            self.sparseness = sparseness
        elif isinstance(sparseness, Tensor):
            self.register_buffer("sparseness", sparseness)
        else:
            self.sparseness = check_fraction("sparseness", sparseness, open_low=True, open_high=True)
        self.dim, self.signed, self.norm, self.packed = dim, signed, norm, packed

    def forward(self, x: Tensor) -> Tensor | Code:
        code = hoyer_projection(x, self.sparseness, self.dim, self.signed, self.norm)
        return Code.pack(code) if self.packed else code

    def extra_repr(self) -> str:
        shown = tuple(self.sparseness.shape) if isinstance(self.sparseness, Tensor) else f"{self.sparseness:g}"
        options = f"dim={self.dim}, signed={self.signed}, norm={self.norm!r}, packed={self.packed}"
        return f"sparseness={shown}, {options}"
