"""The sparseness-enforcing projection in plain torch, by sorting; `gossamer.kernels.projection` defines it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FLAT", "is_nearly_flat", "reference", "reference_product", "tangent"]

FLAT = 1e-4  # κ² up to which a product is brought back to the tangent space


def reference(x: Tensor, radius: Tensor, dim: int, magnitude: bool) -> tuple[Tensor, Tensor]:
    """(s, β) by sorting, O(n log n): the k-th largest unit is active iff Σ(x − x_k)₊ / ‖(x − x_k)₊‖ < r."""
    radius = radius.to(x.device)
    wide = radius.dtype
    size = x.abs() if magnitude else x
    top = size.detach().amax(dim, keepdim=True)  # the result depends on neither it nor unit: no derivative
    finite = size > -torch.inf
    n, r2 = x.shape[dim], radius * radius

    # z = size − top in units of the depth of the ⌊r²⌋+1 largest units, all of which are active: no square overflows.
    limit = torch.finfo(x.dtype).max / 16
    shrink = torch.where(torch.where(finite, size.abs(), 0.0).amax(dim, keepdim=True) > limit, 2.0**-8, 1.0).to(wide)
    z = torch.where(finite, size.to(wide) * shrink - top.to(wide) * shrink, -torch.inf)
    ordered = z.sort(dim, descending=True).values
    least = r2.floor().long().clamp(0, n - 1).expand_as(top)
    unit = -ordered.detach().gather(dim, least)
    unit = torch.where((unit > 0) & (unit < torch.inf), unit, 1.0)
    z, ordered = z / unit, ordered / unit

    rank_shape = [n if i == dim else 1 for i in range(x.dim())]
    rank = torch.arange(1, n + 1, dtype=wide, device=x.device).reshape(rank_shape)
    above = torch.where(ordered > -torch.inf, ordered, 0.0)
    first, second = above.cumsum(dim), (above * above).cumsum(dim)
    p, w = first - rank * above, second - 2 * above * first + rank * above * above
    inside = (ordered == 0) | ((ordered > -torch.inf) & (p * p < r2 * w))
    last = (rank * inside).amax(dim, keepdim=True).long().clamp(min=1) - 1
    active = z >= ordered.gather(dim, last)
    d = active.sum(dim, keepdim=True)

    u = torch.where(active, z, 0.0)
    u = torch.where(active, u - u.sum(dim, keepdim=True) / d, 0.0)
    kappa = (1 - r2 / d).clamp(min=0).sqrt()
    beta = kappa / u.square().sum(dim, keepdim=True).sqrt()
    s = torch.where(active, (radius / d + beta * u).clamp(min=0), 0.0)
    beta = torch.where(d > 2, beta * shrink / unit, 0.0).clamp(max=torch.finfo(x.dtype).max)

    # Rows without a threshold.
    ties = z == 0
    tied = ties.sum(dim, keepdim=True)
    share = ((1 - r2 / tied) / (r2 - r2 / tied)).clamp(min=0).sqrt()
    leader = ties & (ties.cumsum(dim) == 1)
    tie_break = torch.where(ties, (1 - share) * radius / tied, 0.0) + torch.where(leader, share * radius, 0.0)
    unmasked = finite.sum(dim, keepdim=True)
    flat = finite / unmasked.clamp(min=1).to(wide).sqrt()
    is_tied, is_flat = tied >= r2 * (1 - 1e-12), unmasked <= r2 * (1 + 1e-12)
    invalid = top.isnan() | (top == torch.inf) | ~((radius > 1) & (r2 < n))
    s = torch.where(invalid, torch.nan, torch.where(is_flat, flat, torch.where(is_tied, tie_break, s)))
    beta = torch.where(invalid | is_flat | is_tied, 0.0, beta)
    if magnitude:
        s = torch.where(x < 0, 0 - s, s)
    return s.to(x.dtype), beta.to(x.dtype)


def reference_product(v: Tensor, s: Tensor, beta: Tensor, radius: Tensor, dim: int) -> Tensor:
    """J v in plain torch."""
    radius = radius.to(s.device)
    wide, b, active = radius.dtype, s.sign(), s != 0
    v = torch.where(active, v, 0.0)
    d = active.sum(dim, keepdim=True)
    mean, kappa2 = radius / d, 1 - radius * radius / d
    plain, weighted = ((v * term).sum(dim, keepdim=True, dtype=wide) for term in (b, s))
    along = torch.where((beta > 0) & (kappa2 > 0), (weighted - mean * plain) / kappa2, 0.0)
    shift = (plain / d - mean * along).to(v.dtype)
    product = torch.where(active, beta * (v - b * shift - s * along.to(v.dtype)), 0.0)
    return tangent(product, s, dim) if is_nearly_flat(radius, s, dim) else product


def is_nearly_flat(radius: Tensor, s: Tensor, dim: int) -> bool:
    """Whether κ² may be so small that rounding s to its dtype moves τ noticeably: r is almost √n."""
    if torch.compiler.is_compiling():
        return False
    return bool((radius.square() > (1 - FLAT) * s.shape[dim]).any())


def tangent(product: Tensor, s: Tensor, dim: int) -> Tensor:
    """``product`` without its components along b and τ of the rounded s, computed in float64."""
    b, wide = s.sign(), torch.float32 if s.device.type == "mps" else torch.float64
    d = (s != 0).sum(dim, keepdim=True).clamp(min=1)
    out, size = product.to(wide), s.to(wide)
    tau = size - b * (size.abs().sum(dim, keepdim=True) / d)
    out = out - b * ((b * out).sum(dim, keepdim=True) / d)
    square = tau.square().sum(dim, keepdim=True)
    along = torch.where(square > 0, (tau * out).sum(dim, keepdim=True) / torch.where(square > 0, square, 1.0), 0.0)
    return torch.where(s != 0, out - tau * along, 0.0).to(product.dtype)
