"""Divisive normalisation: every activation is divided by how active the channels around it are.

For maps y (N, C, H, W), of each image and with i a location,

    f_c(i) = activation of channel c in the window around i
    M(i)   = (1/C) Σ_c f_c(i)                          all channels together
    z_c(i) = y_c(i) / (σ max_j M(j) + (1 − σ) M(i) + ε)

with the window's activation by ``pooling``,

    "max"   f_c(i) = max |y_c|        "l1"   Σ |y_c|        "l2"   √Σ y_c²

Beyond the border of the image all is zero. σ = 1 divides an image by one number, σ = 0 each location by its own.
Channels compete, as one that is loud makes the others small, and the scale of an image cancels out as long as M ≫ ε.
Since f_c ≥ |y_c|, the mean of |z_c| over the channels is at most 1 everywhere, and |z_c| ≤ C.

Source: Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
2202.13074, with σ, the window and ε as in the authors' released code. Nothing is learned or remembered between batches.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.errors import InputError, check_choice, check_count, check_fraction

__all__ = ["DivisiveNorm", "Pooling", "divisive_norm"]

Pooling = Literal["max", "l1", "l2"]

_EPS = 1e-7


def divisive_norm(y: Tensor, sigma: float = 0.1, window: int = 3, pooling: Pooling = "max") -> Tensor:
    """z of this page, in the shape and dtype of ``y``; float16 and bfloat16 are computed in float32.

    Args:
        y: (N, C, H, W) floating point, usually the result of a ReLU.
        sigma: σ in [0, 1].
        window: odd, side of the square in which activation is pooled; 1 takes |y| itself.
        pooling: the activation of a window.

    Gradients flow through the divisor, in equal parts to maxima of M that tie. Zeros stay zero, an image of zeros too,
    where the derivative is 1/ε. A NaN shows in its own image, and in no other.
    """
    if y.dim() != 4 or not y.is_floating_point() or 0 in y.shape[1:]:
        raise InputError(f"y must be floating point of shape (N, C, H, W), got {y.dtype} of {tuple(y.shape)}")
    sigma, window, pooling = _checked(sigma, window, pooling)
    wide = y if y.dtype == torch.float64 else y.float()
    local = _local_mean(wide, window, pooling)
    divisor = sigma * local.amax((2, 3), keepdim=True) + (1 - sigma) * local + _EPS
    return (wide / divisor).to(y.dtype)


def _checked(sigma: float, window: int, pooling: Pooling) -> tuple[float, int, Pooling]:
    if check_count("window", window, low=1) % 2 == 0:
        raise InputError(f"window must be odd, got {window}")
    check_choice("pooling", pooling, ("max", "l1", "l2"))
    return check_fraction("sigma", sigma), window, pooling


def _local_mean(y: Tensor, window: int, pooling: Pooling) -> Tensor:
    """M (N, 1, H, W)."""
    if window == 1:
        return y.abs().mean(1, keepdim=True)
    if pooling == "l1":  # sums over windows and over channels change places
        return _box_sum(y.abs().mean(1, keepdim=True), window)
    # on the CPU torch pools several times as fast where the channels of a pixel lie side by side
    y = y.contiguous(memory_format=torch.channels_last)
    if pooling == "max":
        return F.max_pool2d(y.abs(), window, 1, window // 2).mean(1, keepdim=True)
    energy = _box_sum(y.square(), window)
    silent = energy == 0  # where the root has no derivative
    return torch.where(silent, 0.0, torch.where(silent, 1.0, energy).sqrt()).mean(1, keepdim=True)


def _box_sum(y: Tensor, window: int) -> Tensor:
    return F.avg_pool2d(y, window, 1, window // 2, divisor_override=1)


class DivisiveNorm(nn.Module):
    """`divisive_norm` as a layer without parameters, the same in training and evaluation."""

    def __init__(self, sigma: float = 0.1, window: int = 3, pooling: Pooling = "max") -> None:
        super().__init__()
        self.sigma, self.window, self.pooling = _checked(sigma, window, pooling)

    def forward(self, y: Tensor) -> Tensor:
        return divisive_norm(y, self.sigma, self.window, self.pooling)

    def extra_repr(self) -> str:
        return f"sigma={self.sigma:g}, window={self.window}, pooling={self.pooling!r}"
