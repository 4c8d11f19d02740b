"""Projections to a bounded sum of magnitudes: the simplex, the l1 sphere and the l1 ball.

The nearest point of the scaled simplex is a shift and a cut,

    argmin ‖s − x‖₂ over s ≥ 0, Σ s_i = r      =   max(x − α, 0),    α = (Σ_I x_i − r) / d,

where the support I = {x_i > α} of size d consists of the largest entries: the k-th largest is in it iff
k x_(k) > Σ_{j ≤ k} x_(j) − r. The derivative on the support is Id − 1 1ᵀ/d, and zero elsewhere; that in r is 1/d.

References:
    Held, Wolfe, Crowder, "Validation of subgradient optimization", Math. Programming 6 (1974).
    Duchi, Shalev-Shwartz, Singer, Chandra, "Efficient projections onto the l1-ball for learning in high dimensions",
    ICML 2008.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.projections.rows import magnitudes, per_row, rows, signed_as, spoil

__all__ = ["l1_ball_projection", "l1_sphere_projection", "onto_simplex", "simplex_projection"]


def simplex_projection(x: Tensor, total: float | Tensor = 1.0, dim: int = -1) -> Tensor:
    """Project each row of ``x`` along ``dim`` to the scaled simplex.

        argmin ‖s − x‖₂   over   s ≥ 0, Σ s_i = total

    With total 1 this is sparsemax. The projection takes O(n log n) time. An entry of −inf is masked: it gets 0, and a
    row of nothing else becomes 0. A row with a NaN or +inf becomes NaN, and only that row.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        total: r > 0; one for all rows, or a tensor that broadcasts to the other dimensions of ``x``. May require a
            gradient.
        dim: the dimension of the entries that share the total.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``; ``total`` is not positive.

    Example:
        >>> gs.functional.simplex_projection(torch.tensor([0.9, 0.6, -1.0]))
        tensor([0.6500, 0.3500, 0.0000])

    References:
        Held, Wolfe, Crowder, "Validation of subgradient optimization", Math. Programming 6 (1974).
        Martins, Astudillo, "From softmax to sparsemax", ICML 2016.
    """
    wide, dim = rows(x, dim)
    s = onto_simplex(wide, per_row("total", total, wide, dim).to(wide), dim)
    return spoil(s, wide, dim, signed=False).to(x.dtype)


def l1_sphere_projection(x: Tensor, radius: float | Tensor = 1.0, dim: int = -1, signed: bool = True) -> Tensor:
    """Project each row of ``x`` along ``dim`` to the l1 sphere.

        argmin ‖s − x‖₂   over   ‖s‖₁ = radius, and s ≥ 0 unless ``signed``

    Where ``x`` lies inside the sphere its entries grow; a zero counts as positive. Unless ``signed``, this is
    `simplex_projection`. Infinities and NaN are treated as by `l1_ball_projection`.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        radius: > 0; one for all rows, or a tensor that broadcasts to the other dimensions of ``x``. May require a
            gradient.
        dim: the dimension of the entries whose magnitudes are added up.
        signed: whether the result may be negative.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``; ``radius`` is not positive.

    Example:
        >>> gs.functional.l1_sphere_projection(torch.tensor([0.1, -0.2]))
        tensor([ 0.4500, -0.5500])
    """
    if not signed:
        return simplex_projection(x, radius, dim)
    wide, dim = rows(x, dim)
    s = onto_simplex(magnitudes(wide), per_row("radius", radius, wide, dim).to(wide), dim)
    return spoil(signed_as(s, wide), wide, dim, signed=True).to(x.dtype)


def l1_ball_projection(x: Tensor, radius: float | Tensor = 1.0, dim: int = -1, signed: bool = True) -> Tensor:
    """Project each row of ``x`` along ``dim`` to the l1 ball.

        argmin ‖s − x‖₂   over   ‖s‖₁ ≤ radius, and s ≥ 0 unless ``signed``

    Rows inside the ball are returned unchanged; the others go to the nearest point of the sphere. The projection takes
    O(n log n) time. A row with a NaN or an infinity becomes NaN, and only that row; but unless ``signed``, −inf is a
    masked entry that gets 0.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        radius: > 0; one for all rows, or a tensor that broadcasts to the other dimensions of ``x``. May require a
            gradient.
        dim: the dimension of the entries whose magnitudes are added up.
        signed: whether the result may be negative.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: ``x`` is not floating point or has no entries along ``dim``; ``radius`` is not positive.

    Example:
        >>> gs.functional.l1_ball_projection(torch.tensor([[2.0, -1.5, 0.0], [0.2, 0.0, -0.3]]))
        tensor([[ 0.7500, -0.2500,  0.0000],
                [ 0.2000,  0.0000, -0.3000]])

    References:
        Duchi, Shalev-Shwartz, Singer, Chandra, "Efficient projections onto the l1-ball for learning in high
        dimensions", ICML 2008.
    """
    wide, dim = rows(x, dim)
    radius = per_row("radius", radius, wide, dim).to(wide)
    size = magnitudes(wide) if signed else wide.clamp(min=0)
    inside = size.sum(dim, keepdim=True) <= radius
    s = torch.where(inside, size, onto_simplex(size, radius, dim))
    return spoil(signed_as(s, wide) if signed else s, wide, dim, signed).to(x.dtype)


def onto_simplex(x: Tensor, total: Tensor, dim: int) -> Tensor:
    """`simplex_projection` of float32 or float64, without checks; ``total`` is one number or one for each row."""
    top = x.detach().amax(dim, keepdim=True)
    z = x - top  # no sum of active entries exceeds d · total, however large the entries are
    with torch.no_grad():
        ordered = z.sort(dim, descending=True).values
        shape = [x.shape[dim] if i == dim else 1 for i in range(x.dim())]
        rank = torch.arange(1, x.shape[dim] + 1, dtype=x.dtype, device=x.device).reshape(shape)
        last = (rank * (rank * ordered > ordered.cumsum(dim) - total)).amax(dim, keepdim=True).long().clamp(min=1) - 1
        active = z >= ordered.gather(dim, last)
        d = active.sum(dim, keepdim=True).clamp(min=1)
    z = torch.where(active, z, 0.0)
    return torch.where(active, z - (z.sum(dim, keepdim=True) - total) / d, 0.0).clamp(min=0)
