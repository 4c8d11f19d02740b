"""The k largest of each row on the CPU in C++; the mathematics is in `gossamer.activation.top_k`."""

from __future__ import annotations

import torch
from torch import Tensor

from gossamer.kernels import _cpu
from gossamer.kernels.route import KERNEL, way_back

__all__ = ["top_k_alone", "top_k_backward", "top_k_matrix"]


def top_k_matrix(x: Tensor, k: int, magnitude: bool) -> tuple[Tensor, Tensor] | None:
    """(y, active) for ``x`` (batch, units), in its layout; None for anything but dense float32 or float64."""
    return None if x.is_neg() else _cpu.top_k(x, k, magnitude, True, torch.get_num_threads())


def top_k_alone(x: Tensor, k: int, magnitude: bool) -> Tensor | None:
    """The same without ``active``."""
    return None if x.is_neg() else _cpu.top_k(x, k, magnitude, False, torch.get_num_threads())


def top_k_backward(grad: Tensor, active: Tensor) -> Tensor:
    """``grad`` where ``active``, 0 elsewhere."""
    if way_back(grad) is KERNEL and not grad.is_neg():
        done = _cpu.top_k_product(grad, active, torch.get_num_threads())
        if done is not None:
            return done
    return torch.where(active, grad, 0)
