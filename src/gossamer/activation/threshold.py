"""Thresholds that follow the activation: in each map of each image only what stands out fires.

For a map z of n = H · W activations, with its threshold τ,

    f(z)_i = z_i if z_i > τ, else 0                      what stays keeps its value

    quantile   τ = z_(k), the k-th smallest, k = ⌊(1 − r) n⌋; 0 for k = 0
    mean       τ = s · (1/n) Σ_i z_i

At most n − k activations pass the quantile, exactly so many if all differ: a map of 2 × 2 keeps 1 for r = 0.2. Equals
of τ do not pass, so a constant map becomes zero, and a map of which more than the share 1 − r is zero keeps its
positive entries.

τ counts as a constant: the derivative is 1 where z passes, else 0. ``gate="straight_through"`` gives derivative 1
everywhere, with the same values: what an attack has to try (Athalye, Carlini, Wagner, ICML 2018), as a gate that stops
gradients hides directions in which a network is weak. `straight_through` does that for a trained network.

Source: Cekic, Bakiskan, Madhow, ICIP 2022, arXiv 2202.13074; ">", and r = 0.2 as in the authors' released code. That k
is 0 where ⌊(1 − r) n⌋ is (r = 1, or one pixel) and then passes all that is positive is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_choice, check_fraction

__all__ = ["Gate", "MeanThreshold", "QuantileThreshold", "mean_threshold", "quantile_threshold", "straight_through"]

Gate = Literal["hard", "straight_through"]


def quantile_threshold(z: Tensor, fraction: float = 0.2, gate: Gate = "hard") -> Tensor:
    """``z`` (…, H, W) floating point, with at most the share ``fraction`` = r in (0, 1] of each map left.

    A NaN stays, in its own map. Infinities are numbers, except that one that doesn't pass becomes NaN.
    """
    fraction = _checked_fraction(fraction)
    with torch.no_grad():
        maps = _maps(z)
        n = maps.shape[-1]
        k = math.floor((1 - fraction) * n + 1e-9)  # (1 − 0.8) · 25 is less than 5 in floating point
        # the k-th smallest is the least of the n − k + 1 largest, which are found faster
        threshold = maps.topk(n - k + 1, sorted=False).values.amin(-1, keepdim=True) if k else maps.new_zeros(())
        passes = (maps > threshold).view(z.shape)
    return _gated(z, passes, gate)


def mean_threshold(z: Tensor, scale: float = 1.0, gate: Gate = "hard") -> Tensor:
    """``z`` (…, H, W) floating point, where it exceeds ``scale`` = s ≥ 0 times the mean of its map.

    A map with a NaN keeps it and loses all else.
    """
    scale = _checked_scale(scale)
    with torch.no_grad():
        maps = _maps(z)
        low, high = maps.aminmax(dim=-1, keepdim=True)
        mean = maps.mean(-1, keepdim=True).clamp(low, high)  # rounding must not put it below a constant map
        passes = (maps > scale * mean).view(z.shape)
    return _gated(z, passes, gate)


def _maps(z: Tensor) -> Tensor:
    """(…, H · W), in the dtype in which thresholds are found."""
    if z.dim() < 2 or not z.is_floating_point() or 0 in z.shape[-2:]:
        raise InputError(f"z must be floating point of shape (…, H, W), got {z.dtype} of {tuple(z.shape)}")
    maps = z.flatten(-2)
    return maps if maps.dtype == torch.float64 else maps.float()


def _gated(z: Tensor, passes: Tensor, gate: Gate) -> Tensor:
    check_choice("gate", gate, ("hard", "straight_through"))
    kept = z * passes  # a product, since a choice between z and 0 would turn NaN into 0
    return kept if gate == "hard" else z + (kept - z).detach()


def _checked_fraction(fraction: float) -> float:
    return check_fraction("fraction", fraction, open_low=True)


def _checked_scale(scale: float) -> float:
    return check_fraction("scale", scale, high=math.inf, open_high=True)


class _Threshold(nn.Module):
    """A threshold in a network, whose gate `straight_through` finds."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        check_choice("gate", gate, ("hard", "straight_through"))
        self.gate: Gate = gate


class QuantileThreshold(_Threshold):
    """`quantile_threshold` as a layer, the same in training and evaluation."""

    def __init__(self, fraction: float = 0.2, gate: Gate = "hard") -> None:
        super().__init__(gate)
        self.fraction = _checked_fraction(fraction)

    def forward(self, z: Tensor) -> Tensor:
        return quantile_threshold(z, self.fraction, self.gate)

    def extra_repr(self) -> str:
        return f"fraction={self.fraction:g}, gate={self.gate!r}"


class MeanThreshold(_Threshold):
    """`mean_threshold` as a layer, the same in training and evaluation."""

    def __init__(self, scale: float = 1.0, gate: Gate = "hard") -> None:
        super().__init__(gate)
        self.scale = _checked_scale(scale)

    def forward(self, z: Tensor) -> Tensor:
        return mean_threshold(z, self.scale, self.gate)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}, gate={self.gate!r}"


@contextmanager
def straight_through(model: nn.Module) -> Iterator[None]:
    """Gates of all thresholds in ``model`` let gradients through; afterwards they are as they were."""
    before = [(module, module.gate) for module in model.modules() if isinstance(module, _Threshold)]
    try:
        for module, _ in before:
            module.gate = "straight_through"
        yield
    finally:
        for module, gate in before:
            module.gate = gate
