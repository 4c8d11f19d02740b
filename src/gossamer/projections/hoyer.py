"""The sparseness-enforcing projection: the nearest vector that has a given sparseness.

Hoyer's sparseness of a vector x ≠ 0 with n ≥ 2 entries is

    σ(x) = (√n − ‖x‖₁ / ‖x‖₂) / (√n − 1),        0 if all |x_i| are equal, 1 if one entry is left.

The projection of x to sparseness σ* in (0, 1) and length λ₂ is the nearest point that has both:

    s = argmin ‖s − x‖₂   over   ‖s‖₁ = λ₁, ‖s‖₂ = λ₂, s ≥ 0,       λ₁ = λ₂ (√n − σ* (√n − 1)).

It is a soft shrinkage, s = β max(x − α, 0), with α such that the ratio of norms is correct: a unit is active if it
exceeds the others by enough, however strong they all are. The signed version drops the condition s ≥ 0:
s = β sign(x) max(|x| − α, 0). The result does not change if x is scaled by c > 0, nor, without signs, if a
constant is added to all its entries.

References:
    Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013), section 2 (the
    projection as a neuron's activation function).
    Thom, Palm, "Efficient Sparseness-Enforcing Projections", arXiv 1303.5259 (linear time).
    Thom, Rapp, Palm, "Efficient Dictionary Learning with Sparseness-Enforcing Projections", IJCV 114 (2015) (soft
    shrinkage).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels.projection import project, project_matrix
from gossamer.projections.rows import length, per_row, rows

__all__ = ["hoyer_projection"]


def hoyer_projection(
    x: Tensor,
    sparseness: float | Tensor,
    dim: int = -1,
    signed: bool = False,
    norm: float | Literal["preserve"] = 1.0,
) -> Tensor:
    """Project each row of ``x`` along ``dim`` to the given sparseness and length.

        s = argmin ‖s − x‖₂   over   σ(s) = σ*, ‖s‖₂ = λ₂, and s ≥ 0 unless ``signed``
          = β max(x − α, 0),  signed: β sign(x) max(|x| − α, 0)

    The projection takes O(n) time in four or five passes, and two more for the gradient, which keeps the result and one
    number a row. The table lists inputs whose nearest point is not unique or does not exist:

    ==================================================  ================================================================
    more than r² = (λ₁/λ₂)² entries share the maximum   only those entries are non-zero: equal parts, and the excess
    (a zero or constant row, for one)                   that the length asks for on the first. Gradient zero.
    an entry is −inf (not signed)                       it is masked: it counts in n and gets 0.
    at most r² entries are not −inf                     no such vector exists: they get equal parts. Gradient zero.
    all are −inf                                        all zero.
    an entry is NaN, or +inf, or −inf and signed        the row is NaN, and only that row.
    ==================================================  ================================================================

    The derivative is zero where only two entries are non-zero, and grows without bound as all non-zero entries become
    equal: clip gradients where that may happen.

    Args:
        x: floating point, any shape and strides, n ≥ 2 entries along ``dim``; float16 and bfloat16 are computed in
            float32.
        sparseness: σ* in (0, 1). One for all rows, or a tensor that broadcasts to the other dimensions of ``x``; a
            tensor may require a gradient. In compiled code, and in a tensor on an accelerator, it is not checked: a
            value outside (0, 1) makes its rows NaN.
        dim: the dimension of the units that compete.
        signed: project |x| and restore the signs, where a zero counts as positive. Otherwise the result is ≥ 0;
            negative entries of ``x`` are not clipped first, as the threshold may lie below them.
        norm: the length λ₂ > 0 of each result, or ``"preserve"`` for the length of the row (of its finite entries).

    Returns:
        Tensor of the shape, dtype and layout of ``x``.

    Raises:
        InputError: n < 2, ``sparseness`` outside (0, 1), ``norm`` not positive and finite, ``x`` not floating point.

    Example:
        >>> s = gs.functional.hoyer_projection(torch.tensor([4.0, 3.0, 1.0, 0.0, -2.0]), sparseness=0.7)
        >>> s
        tensor([0.8592, 0.5116, 0.0000, 0.0000, 0.0000])
        >>> gs.measures.hoyer(s)
        tensor(0.7000)

    References:
        Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013).
        Thom, Palm, "Efficient Sparseness-Enforcing Projections", arXiv 1303.5259.
    """
    if type(sparseness) is float and type(norm) in (float, int) and dim in (-1, 1):
        done = project_matrix(x, sparseness, norm, signed)  # type: ignore[arg-type]
        if done is not None:
            return done
    wide, dim = rows(x, dim, least=2)
    if norm != "preserve" and (isinstance(norm, str) or not 0 < norm < math.inf):
        raise InputError(f"norm must be a positive number or 'preserve', got {norm!r}")
    root = math.sqrt(x.shape[dim])
    radius = root - per_row("sparseness", sparseness, x, dim, high=1) * (root - 1)  # λ₁ / λ₂
    s = project(wide, radius, dim, signed)
    if norm == "preserve":
        s = s * length(torch.where(wide == -math.inf, 0.0, wide), dim)
    elif norm != 1:
        s = s * norm
    return s.to(x.dtype)
