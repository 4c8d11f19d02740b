"""Helpers of projections: the rows of a tensor along ``dim``, and radii given as one number or one for each row."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gossamer.errors import InputError, check_fraction

__all__ = ["length", "magnitudes", "per_row", "polar", "rows", "signed_as", "spoil"]


def rows(x: Tensor, dim: int, least: int = 1) -> tuple[Tensor, int]:
    """Return ``x`` in the dtype of the computation (float32 for float16 and bfloat16), and ``dim`` counted from 0."""
    if not x.is_floating_point():
        raise InputError(f"x must be floating point, got {x.dtype}")
    if not -x.dim() <= dim < x.dim():
        raise InputError(f"dim must be in [{-x.dim()}, {x.dim() - 1}] for x of shape {tuple(x.shape)}, got {dim}")
    dim %= x.dim()
    if x.shape[dim] < least:
        entries = "entry" if least == 1 else "entries"
        raise InputError(f"x must have at least {least} {entries} along dim {dim}, got shape {tuple(x.shape)}")
    return x if x.dtype in (torch.float32, torch.float64) else x.float(), dim


def per_row(name: str, value: float | Tensor, x: Tensor, dim: int, high: float = math.inf) -> Tensor:
    """Return ``value``, which must lie in (0, ``high``), as one number or with the shape of ``x`` but 1 in ``dim``.

    In float64 (float32 on devices without it). In compiled code, and in a tensor on an accelerator, values are not
    checked.
    """
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    looking = not torch.compiler.is_compiling()
    if not isinstance(value, Tensor):
        if looking:
            check_fraction(name, value, high=high, open_low=True, open_high=True)
        return torch.full((), value, dtype=dtype, device="cpu")
    if looking and value.device.type == "cpu":
        inside = (value > 0) & (value < high)
        if not bool(inside.all()):
            raise InputError(f"{name} must be in (0, {high:g}), got {value[~inside].flatten()[0].item():g}")
    if value.numel() == 1:
        return value.to(dtype).reshape(())
    others = x.shape[:dim] + x.shape[dim + 1 :]
    try:
        return value.to(dtype).expand(others).unsqueeze(dim)
    except RuntimeError:
        raise InputError(f"{name} of shape {tuple(value.shape)} must broadcast to {tuple(others)}") from None


def magnitudes(x: Tensor) -> Tensor:
    """|x|, where a zero counts as positive: the derivative there is 1."""
    return torch.where(x < 0, -x, x)


def signed_as(s: Tensor, x: Tensor) -> Tensor:
    """``s`` with the signs of ``x``, where a zero counts as positive, and no negative zeros."""
    return torch.where(x < 0, 0 - s, s)


def length(x: Tensor, dim: int) -> Tensor:
    """‖x‖₂ along ``dim``, which stays as 1; no square overflows or vanishes, and the derivative at 0 is 0."""
    return polar(x, dim)[0]


def polar(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """‖x‖₂ and x / ‖x‖₂, which is 0 where x is."""
    top = x.detach().abs().amax(dim, keepdim=True)
    none = top == 0
    unit = torch.where(none, 0.0, x / torch.where(none, 1.0, top))
    norm = torch.linalg.vector_norm(torch.where(none, 1.0, unit), dim=dim, keepdim=True)
    return top * norm, unit / norm


def spoil(s: Tensor, x: Tensor, dim: int, signed: bool) -> Tensor:
    """``s`` with NaN in the rows where ``x`` has a NaN or an infinity; unless ``signed``, −inf is a masked unit."""
    fine = x.isfinite() if signed else x < math.inf
    return torch.where(fine.all(dim, keepdim=True), s, math.nan)
