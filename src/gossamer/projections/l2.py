"""Projections to a bounded or given length: the l2 ball and sphere.

Off the zero vector the nearest point of the sphere is s = r u with u = x / ‖x‖₂, with derivative (r/‖x‖₂)(Id − u uᵀ).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.projections.rows import length, per_row, polar, rows, spoil

__all__ = ["l2_ball_projection", "l2_sphere_projection", "onto_sphere"]


def l2_sphere_projection(x: Tensor, radius: float | Tensor = 1.0, dim: int = -1) -> Tensor:
    """Project each row of ``x`` along ``dim`` to the l2 sphere.

        argmin ‖s − x‖₂ over ‖s‖₂ = radius   =   radius · x / ‖x‖₂

    All points of the sphere are equally near to a zero row, which gets equal entries and a zero gradient. A row with a
    NaN or an infinity becomes NaN, and only that row.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        radius: > 0; one for all rows, or a tensor that broadcasts to the other dimensions of ``x``. May require a
            gradient.
        dim: the dimension of the entries of a vector.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``; ``radius`` is not positive.

    Example:
        >>> gs.functional.l2_sphere_projection(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.7071, 0.7071]])
    """
    wide, dim = rows(x, dim)
    s = onto_sphere(wide, per_row("radius", radius, wide, dim).to(wide), dim)
    return spoil(s, wide, dim, signed=True).to(x.dtype)


def l2_ball_projection(x: Tensor, radius: float | Tensor = 1.0, dim: int = -1) -> Tensor:
    """Project each row of ``x`` along ``dim`` to the l2 ball.

        argmin ‖s − x‖₂   over   ‖s‖₂ ≤ radius

    Rows inside the ball are returned unchanged. A row with a NaN or an infinity becomes NaN, and only that row.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        radius: > 0; one for all rows, or a tensor that broadcasts to the other dimensions of ``x``. May require a
            gradient.
        dim: the dimension of the entries of a vector.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``; ``radius`` is not positive.

    Example:
        >>> gs.functional.l2_ball_projection(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    wide, dim = rows(x, dim)
    radius = per_row("radius", radius, wide, dim).to(wide)
    s = torch.where(length(wide, dim) <= radius, wide, onto_sphere(wide, radius, dim))
    return spoil(s, wide, dim, signed=True).to(x.dtype)


def onto_sphere(x: Tensor, radius: Tensor, dim: int) -> Tensor:
    """`l2_sphere_projection` of float32 or float64, without checks; ``radius`` is one number or one for each row."""
    size, direction = polar(x, dim)
    return radius * torch.where(size > 0, direction, x.shape[dim] ** -0.5)
