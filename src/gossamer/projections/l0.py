"""Projection to sparse vectors by a count: the nearest vector with at most k non-zero entries."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.errors import InputError, check_count

__all__ = ["l0_projection", "largest"]


def l0_projection(x: Tensor, k: int, dim: int = -1, signed: bool = True) -> Tensor:
    """Keep the k entries of largest magnitude and set the others to zero.

        argmin ‖s − x‖₂   over   ‖s‖₀ ≤ k, and s ≥ 0 unless ``signed``

    Unless ``signed``, the k largest entries compete, and of these the positive ones stay. Of equal candidates those
    with the lowest index stay. Infinities are numbers; a row with a NaN becomes NaN, and only that row. The derivative
    is 1 for entries that stay and 0 for the others.

    Args:
        x: floating point, any shape.
        k: number of entries that stay, in [1, n] for n entries along ``dim``.
        dim: the dimension of the entries that compete.
        signed: whether the result may be negative.

    Returns:
        Tensor of the shape and dtype of ``x``.

    Raises:
        InputError: ``x`` is not floating point or has no dimension; ``k`` or ``dim`` is outside its range.

    Example:
        >>> gs.functional.l0_projection(torch.tensor([3.0, -4.0, 1.0]), k=2)
        tensor([ 3., -4.,  0.])

    References:
        Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013).
    """
    with torch.no_grad():
        active, broken = largest(x, k, dim, signed)
        if not signed:
            active &= x > 0
    return torch.where(active, x, torch.where(broken, torch.nan, 0.0).to(x.dtype))


def largest(x: Tensor, k: int, dim: int, signed: bool) -> tuple[Tensor, Tensor]:
    """Mark the k largest entries (``signed``: in magnitude), ties by lowest index, and the rows with a NaN."""
    if x.dim() == 0 or not x.is_floating_point():
        raise InputError(f"x must be floating point with one dimension at least, got {x.dtype} of {tuple(x.shape)}")
    if not -x.dim() <= dim < x.dim():
        raise InputError(f"dim must be in [{-x.dim()}, {x.dim() - 1}] for x of shape {tuple(x.shape)}, got {dim}")
    k = check_count("k", k, low=1, high=x.shape[dim])
    score = x.abs() if signed else x
    threshold = score.topk(k, dim, sorted=False).values.amin(dim, keepdim=True)
    above, level = score > threshold, score == threshold
    room = k - above.sum(dim, keepdim=True)
    active = above | (level & (level.cumsum(dim) <= room))
    broken = x.isnan().any(dim, keepdim=True)
    return active & ~broken, broken
