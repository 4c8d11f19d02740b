"""A bounded or given length: the l2 ball and sphere.

Off the zero vector the nearest point of the sphere is s = r u with u = x / ‖x‖₂, with derivative (r/‖x‖₂)(Id − u uᵀ).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.projections.rows import length, per_row, polar, rows, spoil

__all__ = ["l2_ball_projection", "l2_sphere_projection", "onto_sphere"]


def l2_sphere_projection(x: Tensor, radius: float | Tensor = 1.0, dim: int = -1) -> Tensor:
    """argmin ‖s − x‖₂ over ‖s‖₂ = radius.

    All points of the sphere are as near to a zero row, which gets equal entries and a zero gradient. See
    `l2_ball_projection` for arguments and for what becomes of infinities and NaN.
    """
    wide, dim = rows(x, dim)
    s = onto_sphere(wide, per_row("radius", radius, wide, dim).to(wide), dim)
    return spoil(s, wide, dim, signed=True).to(x.dtype)


def l2_ball_projection(x: Tensor, radius: float | Tensor = 1.0, dim: int = -1) -> Tensor:
    """argmin ‖s − x‖₂ over ‖s‖₂ ≤ radius.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        radius: > 0; one for all rows, or a tensor that broadcasts to the other dimensions of ``x``. May require a
            gradient.
        dim: the entries of a vector.

    A row with a NaN or an infinity becomes NaN, and only that row.
    """
    wide, dim = rows(x, dim)
    radius = per_row("radius", radius, wide, dim).to(wide)
    s = torch.where(length(wide, dim) <= radius, wide, onto_sphere(wide, radius, dim))
    return spoil(s, wide, dim, signed=True).to(x.dtype)


def onto_sphere(x: Tensor, radius: Tensor, dim: int) -> Tensor:
    """`l2_sphere_projection` of float32 or float64, without checks; ``radius`` is one number or one for each row."""
    size, direction = polar(x, dim)
    return radius * torch.where(size > 0, direction, x.shape[dim] ** -0.5)
