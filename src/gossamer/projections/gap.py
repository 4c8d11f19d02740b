"""Entries that are zero or not small: the nearest point with a gap around zero, alone or with other limits.

With z the entries that may be non-zero (|x|, or x itself where the result must not be negative), v₁ ≥ v₂ ≥ … in order
and v_i = z of rank i, the problem

    argmin ‖s − x‖₂    over    s_i = 0 or |s_i| ≥ δ,    ‖s‖₀ ≤ k,    ‖s‖₁ ≤ r  (or = r)

is not convex, but is solved exactly: among all supports of one size j the j largest are best (exchanging an entry of
the support with a larger one that is not costs 2 s (v_i − v_j) ≤ 0), and on a given support it is the projection of v
− δ on the simplex of total r − jδ,

    s_i = max(v_i − τ_j, δ),    τ_j = (Σ_{i ≤ m} (v_i − δ) − (r − jδ)) / m,    m = #{i ≤ j: i-th of them above τ_j}.

With cumulated sums all j ≤ k are compared in O(n log n) time. Where ‖s‖₁ ≤ r is not tight, τ_j = 0; without δ, k and
``exactly`` this is the projection on the l1 ball.

Sources: the constraints are those of Baig & Stepanyants, arXiv 2409.04946 (gap, l0, l1 norm, sign); the greedy choice
of a support is that of Kyrillidis, Becker, Cevher, Koch, "Sparse projections onto the simplex", ICML 2013.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gossamer.errors import InputError, check_count, check_fraction
from gossamer.projections.rows import magnitudes, rows, signed_as

__all__ = ["gap_projection", "rounded_up"]


def gap_projection(
    x: Tensor,
    width: float,
    dim: int = -1,
    signed: bool = True,
    *,
    k: int | None = None,
    radius: float | None = None,
    exactly: bool = False,
) -> Tensor:
    """Compute argmin ‖s − x‖₂ over s with s_i = 0 or |s_i| ≥ width for every i, ‖s‖₀ ≤ k and ‖s‖₁ ≤ radius.

    Args:
        x: floating point, any shape, n ≥ 1 entries along ``dim``; float16 and bfloat16 are computed in float32.
        width: δ, finite and ≥ 0.
        dim: the entries that share ``k`` and ``radius``.
        signed: whether the result may be negative.
        k: at most so many non-zero entries, ≥ 1; None for any number.
        radius: r > 0, at least δ where it has to be reached; None for no limit.
        exactly: ‖s‖₁ = radius instead of ≤. Entries grow where ``x`` lies inside; a zero counts as positive.

    Returns:
        Tensor of the shape and dtype of ``x``. Without ``k`` and ``radius``: 0 for |x_i| ≤ δ/2, ±δ up to δ, x_i beyond.
        Of points that are equally near, one with the fewest non-zero entries; of equal entries those of lowest index
        stay. Non-zero entries are at least δ after rounding too. The derivative is 1 for non-zero entries that are not
        at ±δ, less their mean where the radius is reached, and 0 for all others.

    Without ``radius`` infinities are numbers, and a NaN stays where it is; with ``k`` it makes its row NaN. With
    ``radius`` a row with a NaN or an infinity becomes NaN, and only that row.

    Raises:
        InputError: an argument outside its range, ``exactly`` without ``radius``, or ``radius`` < δ with ``exactly``.

    Example:
        >>> import torch
        >>> from gossamer.functional import gap_projection
        >>> x = torch.tensor([0.9, -0.3, 0.2, 0.0])
        >>> gap_projection(x, 0.5)
        tensor([ 0.9000, -0.5000,  0.0000,  0.0000])
        >>> gap_projection(x, 0.5, radius=1.0, exactly=True)
        tensor([1., 0., 0., 0.])
    """
    wide, dim = rows(x, dim)
    width = check_fraction("width", width, high=math.inf, open_high=True)
    if k is not None:
        check_count("k", k, low=1)
    if radius is not None:
        check_fraction("radius", radius, high=math.inf, open_low=True, open_high=True)
    if exactly and (radius is None or radius < width):
        raise InputError(f"radius must be at least width = {width:g} to be reached exactly, got {radius!r}")
    size = magnitudes(wide) if signed else wide
    edge = rounded_up(width, x.dtype)
    if k is None and radius is None:
        s = torch.where(size > width / 2, size.clamp(min=edge), 0.0)
        s = torch.where(size.isnan(), size, s)
    else:
        s = _limited(size.movedim(dim, -1), width, edge, k, radius, exactly).movedim(-1, dim)
        broken = wide.isnan() if radius is None else ~wide.isfinite()
        s = torch.where(broken.any(dim, keepdim=True), math.nan, s)
    return (signed_as(s, wide) if signed else s).to(x.dtype)


def rounded_up(width: float, dtype: torch.dtype) -> float:
    """The smallest number of ``dtype`` that is at least ``width``: the nearest one may lie in the gap."""
    nearest = torch.tensor(width, dtype=dtype, device="cpu")
    if nearest.item() < width:
        nearest = torch.nextafter(nearest, torch.tensor(math.inf, dtype=dtype, device="cpu"))
    return float(nearest)


def _limited(z: Tensor, width: float, edge: float, k: int | None, radius: float | None, exactly: bool) -> Tensor:
    """(…, n) ≥ 0: the non-zero entries of ``z``, of which none is NaN in a row that counts."""
    n = z.shape[-1]
    most = n if k is None else min(k, n)
    free_places = None
    with torch.no_grad():
        v, order = z.detach().to(_wide(z)).sort(dim=-1, descending=True, stable=True)
        if radius is None:
            kept = (v > width / 2) & (torch.arange(n, device=z.device) < most)
            chosen = torch.zeros_like(kept).scatter(-1, order, kept)
        else:
            j, m = _support(v.nan_to_num(0.0, 0.0, 0.0), width, most, radius, exactly)
            rank = torch.arange(n, device=z.device)
            chosen = torch.zeros(z.shape, dtype=torch.bool, device=z.device).scatter(-1, order, rank < j)
            free_places = torch.zeros_like(chosen).scatter(-1, order, rank < m)
    if radius is None or free_places is None:
        return torch.where(chosen, z.clamp(min=edge), 0.0)
    free = torch.where(free_places, z, 0.0)
    count, kept = (places.sum(-1, keepdim=True).to(_wide(z)) for places in (free_places, chosen))
    left = radius - width * (kept - count)  # for those that are not at the edge of the gap
    tau = (free.to(_wide(z)).sum(-1, keepdim=True) - left) / count.clamp(min=1)
    if not exactly:
        tau = tau.clamp(min=0)
    return torch.where(chosen, torch.where(free_places, z - tau.to(z.dtype), edge).clamp(min=edge), 0.0)


def _support(v: Tensor, width: float, most: int, radius: float, exactly: bool) -> tuple[Tensor, Tensor]:
    """Return two counts, (…, 1) each.

    How many of the descending ``v`` are nonzero in the nearest point, and how many of them are not at the edge of the
    gap.
    """
    n = v.shape[-1]
    ranks = torch.arange(1, n + 1, dtype=v.dtype, device=v.device)
    u = v - width
    sums, squares, above = v.cumsum(-1), v.square().cumsum(-1), u.cumsum(-1)
    left = (radius - ranks * width).clamp(min=0).expand_as(v).contiguous()
    level = (above - ranks * u).cummax(-1).values  # ascending but for rounding: what the first m entries hold above u_m
    m = torch.minimum(torch.searchsorted(level, left), ranks.long()).clamp(min=1)
    at = m - 1
    tau = (above.gather(-1, at) - left) / m
    if not exactly:
        inside = tau <= 0
        positive = torch.minimum((u > 0).sum(-1, keepdim=True), ranks.long())
        tau, m = tau.clamp(min=0), torch.where(inside, positive, m)
        at = (m - 1).clamp(min=0)
    some = m > 0
    held, first = squares.gather(-1, at) * some, sums.gather(-1, at) * some
    cost = m * tau.square() - held + (ranks - m) * width**2 - 2 * width * (sums - first)  # less than without any
    possible = (ranks <= most) & (ranks * width <= radius * (1 + 1e-12))
    cost = torch.where(possible, cost, math.inf)
    none = torch.full_like(cost[..., :1], math.inf if exactly else 0.0)
    cost, m = torch.cat([none, cost], -1), torch.cat([torch.zeros_like(m[..., :1]), m], -1)
    best = cost.amin(-1, keepdim=True)
    slack = 64 * torch.finfo(v.dtype).eps * (best.abs() + squares[..., -1:])
    j = (cost > best + slack).cumprod(-1).sum(-1, keepdim=True)  # the first of equally good ones
    return j, m.gather(-1, j)


def _wide(z: Tensor) -> torch.dtype:
    return torch.float32 if z.device.type == "mps" else torch.float64
