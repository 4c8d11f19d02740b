"""Atoms of a dictionary and samples as it reads them: of low rank, neighbours on a torus, of unit length."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.projections.rows import polar

__all__ = ["low_rank", "standardized", "torus_kernel"]


def low_rank(atoms: Tensor, shape: tuple[int, int], rank: int) -> Tensor:
    """Return the nearest atoms (n, d) that are matrices of ``shape`` with at most that rank."""
    u, s, v = torch.linalg.svd(atoms.reshape(-1, *shape), full_matrices=False)
    near: Tensor = (u[:, :, :rank] * s[:, None, :rank]) @ v[:, :rank]
    return near.reshape(atoms.shape)


def torus_kernel(rows: int, columns: int, width: float) -> Tensor:
    """(n, n): Gaussian weights of all places of a torus around each of them, Σ = 1."""

    def circle(places: int) -> Tensor:
        i = torch.arange(places)
        apart = (i[:, None] - i).abs()
        weight = torch.exp(-torch.minimum(apart, places - apart).double().square() / (2 * width**2))
        return weight / weight.sum(1, keepdim=True)

    return torch.kron(circle(rows), circle(columns))


def standardized(x: Tensor, center: bool) -> Tensor:
    """Scale samples to unit length, with ``center`` to zero mean; samples that are constant up to rounding become 0."""
    if x.dim() != 2 or not x.is_floating_point():
        raise InputError(f"x must be floating point of shape (batch, features), got {x.dtype} of {tuple(x.shape)}")
    x = x if x.dtype == torch.float64 else x.float()
    mean = x.mean(1, keepdim=True) if center else torch.zeros_like(x[:, :1])
    length, unit = polar(x - mean, 1)
    if not bool(length.isfinite().all()):
        raise InputError("x must be finite, got NaN or infinity")
    return torch.where(length > 8 * torch.finfo(x.dtype).eps * math.sqrt(x.shape[1]) * mean.abs(), unit, 0.0)
