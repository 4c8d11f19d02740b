"""Divisive normalisation: every activation is divided by the activation of all channels around it.

For maps y (N, C, H, W), for each image and each location i,

    f_c(i) = activation of channel c in the window around i
    M(i)   = (1/C) Σ_c f_c(i)                          all channels together
    z_c(i) = y_c(i) / (σ max_j M(j) + (1 − σ) M(i) + ε)

with the window's activation by ``pooling``,

    "max"   f_c(i) = max |y_c|        "l1"   Σ |y_c|        "l2"   √Σ y_c²

Images are padded with zeros. σ = 1 divides an image by one number, σ = 0 each location by its own. Channels compete,
since a strongly active channel reduces the others, and the scale of an image cancels out as long as M ≫ ε. Since
f_c ≥ |y_c|, the mean of |z_c| over the channels is at most 1 everywhere, and |z_c| ≤ C.

References:
    Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
    2202.13074; σ, the window and ε as in the authors' released code.
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
    """Divide every activation by the mean activation of all channels around it.

        z_c(i) = y_c(i) / (σ max_j M(j) + (1 − σ) M(i) + ε),   M(i) = (1/C) Σ_c f_c(i),   ε = 10⁻⁷

    where f_c(i) is the activation of channel c in the window around location i. Gradients flow through the divisor, in
    equal parts to maxima of M that tie. Zeros stay zero; in an image of zeros the derivative is 1/ε. A NaN affects its
    own image only.

    Args:
        y: maps (N, C, H, W), floating point, usually the result of a ReLU. float16 and bfloat16 are computed in
            float32.
        sigma: σ in [0, 1], the share of the maximum over the image in the divisor.
        window: odd side of the square in which activation is pooled; 1 takes |y| itself.
        pooling: the activation of a window: ``"max"`` (of |y_c|), ``"l1"`` (sum of |y_c|) or ``"l2"`` (root of the sum
            of y_c²).

    Returns:
        z (N, C, H, W), in the dtype of ``y``.

    Raises:
        InputError: ``y`` is not floating point of four dimensions or is empty, or an argument is outside its range.

    Example:
        >>> y = torch.tensor([[4.0, 0.0], [0.0, 2.0]]).expand(1, 3, 2, 2)
        >>> gs.functional.divisive_norm(y, sigma=1.0)[0, 0]
        tensor([[1.0000, 0.0000],
                [0.0000, 0.5000]])

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
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
    # on the CPU torch pools several times as fast where the channels of a pixel are adjacent in memory
    y = y.contiguous(memory_format=torch.channels_last)
    if pooling == "max":
        return F.max_pool2d(y.abs(), window, 1, window // 2).mean(1, keepdim=True)
    energy = _box_sum(y.square(), window)
    silent = energy == 0  # where the root has no derivative
    return torch.where(silent, 0.0, torch.where(silent, 1.0, energy).sqrt()).mean(1, keepdim=True)


def _box_sum(y: Tensor, window: int) -> Tensor:
    return F.avg_pool2d(y, window, 1, window // 2, divisor_override=1)


class DivisiveNorm(nn.Module):
    """Divisive normalisation as a layer without parameters; see `divisive_norm`.

    The layer keeps no statistics and behaves the same in training and evaluation.

    Args:
        sigma: σ in [0, 1], the share of the maximum over the image in the divisor.
        window: odd side of the square in which activation is pooled.
        pooling: ``"max"``, ``"l1"`` or ``"l2"``.

    Example:
        >>> gs.DivisiveNorm(sigma=0.1)(torch.rand(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    def __init__(self, sigma: float = 0.1, window: int = 3, pooling: Pooling = "max") -> None:
        super().__init__()
        self.sigma, self.window, self.pooling = _checked(sigma, window, pooling)

    def forward(self, y: Tensor) -> Tensor:
        """Normalise the maps of each image.

        Args:
            y: maps (N, C, H, W).

        Returns:
            The normalised maps (N, C, H, W).
        """
        return divisive_norm(y, self.sigma, self.window, self.pooling)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"sigma={self.sigma:g}, window={self.window}, pooling={self.pooling!r}"
