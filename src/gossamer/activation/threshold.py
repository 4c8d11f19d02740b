"""Thresholds that follow the activations: in each map of each image, only values above the map's threshold stay.

For a map z of n = H · W activations and its threshold τ,

    f(z)_i = z_i if z_i > τ, else 0                      values that stay are unchanged

    quantile   τ = z_(k), the k-th smallest, k = ⌊q n⌋; 0 for k = 0
    mean       τ = s · (1/n) Σ_i z_i

At most n − k activations exceed the quantile, exactly n − k if all differ: a map of 2 × 2 keeps 1 for q = 0.8. Values
equal to τ are removed, so a constant map becomes zero, and a map in which more than the share q is zero keeps its
positive entries.

τ is treated as a constant: the derivative is 1 where z > τ, else 0. ``gate="straight_through"`` gives derivative 1
everywhere, with the same values. An attack has to try it (Athalye, Carlini, Wagner, ICML 2018), since a gate that stops
gradients hides directions in which a network is weak. `straight_through` switches the gates of a trained network.

References:
    Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
    2202.13074; ">", and q = 0.8 (the largest 20 % stay) as in the authors' released code. The case k = 0 (q = 0, or one
    pixel), in which all positive values stay, is ours.
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


def quantile_threshold(z: Tensor, quantile: float = 0.8, gate: Gate = "hard") -> Tensor:
    """Set activations that do not exceed the ``quantile`` of their map to zero.

        f(z)_i = z_i if z_i > τ, else 0;   τ = z_(k), the k-th smallest of n = H · W, k = ⌊q n⌋; 0 for k = 0

    Args:
        z: maps (…, H, W), floating point, of at least one pixel.
        quantile: q in [0, 1); at most the share 1 − q of each map stays.
        gate: derivative of removed entries: 0 (``"hard"``) or 1 (``"straight_through"``).

    Returns:
        Tensor of the shape and dtype of ``z``. A NaN stays, in its own map only. An infinity that is removed becomes
        NaN.

    Raises:
        InputError: ``z`` is not floating point or has no pixels, or an argument is out of its range.

    Example:
        >>> gs.functional.quantile_threshold(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), quantile=0.5)
        tensor([[0., 0.],
                [3., 4.]])

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
    """
    quantile = _checked_quantile(quantile)
    with torch.no_grad():
        maps = _maps(z)
        n = maps.shape[-1]
        k = math.floor(quantile * n + 1e-9)  # (1 − 0.8) · 25 is less than 5 in floating point
        # the k-th smallest is the least of the n − k + 1 largest, which are found faster
        threshold = maps.topk(n - k + 1, sorted=False).values.amin(-1, keepdim=True) if k else maps.new_zeros(())
        passes = (maps > threshold).view(z.shape)
    return _gated(z, passes, gate)


def mean_threshold(z: Tensor, scale: float = 1.0, gate: Gate = "hard") -> Tensor:
    """Set activations that do not exceed ``scale`` times the mean of their map to zero.

        f(z)_i = z_i if z_i > τ, else 0;   τ = s · (1/n) Σ_i z_i over the n = H · W activations of a map

    Args:
        z: maps (…, H, W), floating point, of at least one pixel.
        scale: s ≥ 0.
        gate: derivative of removed entries: 0 (``"hard"``) or 1 (``"straight_through"``).

    Returns:
        Tensor of the shape and dtype of ``z``. A map with a NaN keeps it and loses all other entries.

    Raises:
        InputError: ``z`` is not floating point or has no pixels, or an argument is out of its range.

    Example:
        >>> gs.functional.mean_threshold(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        tensor([[0., 0.],
                [0., 6.]])

    References:
        Cekic, Bakiskan, Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022, arXiv
        2202.13074.
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


def _checked_quantile(quantile: float) -> float:
    return check_fraction("quantile", quantile, open_high=True)


def _checked_scale(scale: float) -> float:
    return check_fraction("scale", scale, high=math.inf, open_high=True)


class _Threshold(nn.Module):
    """Base class of thresholds, by which `straight_through` finds their gates."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        check_choice("gate", gate, ("hard", "straight_through"))
        self.gate: Gate = gate


class QuantileThreshold(_Threshold):
    """The quantile threshold as a layer, the same in training and evaluation; see `quantile_threshold`.

    Args:
        quantile: q in [0, 1); at most the share 1 − q of each map stays.
        gate: derivative of removed entries: 0 (``"hard"``) or 1 (``"straight_through"``).

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> (gs.QuantileThreshold(0.8)(torch.rand(1, 1, 10, 10)) > 0).sum()
        tensor(20)
    """

    def __init__(self, quantile: float = 0.8, gate: Gate = "hard") -> None:
        super().__init__(gate)
        self.quantile = _checked_quantile(quantile)

    def forward(self, z: Tensor) -> Tensor:
        """Apply the threshold of each map.

        Args:
            z: maps (…, H, W).

        Returns:
            Tensor (…, H, W).
        """
        return quantile_threshold(z, self.quantile, self.gate)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"quantile={self.quantile:g}, gate={self.gate!r}"


class MeanThreshold(_Threshold):
    """The mean threshold as a layer, the same in training and evaluation; see `mean_threshold`.

    Args:
        scale: s ≥ 0; values above s times the mean of their map stay.
        gate: derivative of removed entries: 0 (``"hard"``) or 1 (``"straight_through"``).

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> gs.MeanThreshold()(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        tensor([[0., 0.],
                [0., 6.]])
    """

    def __init__(self, scale: float = 1.0, gate: Gate = "hard") -> None:
        super().__init__(gate)
        self.scale = _checked_scale(scale)

    def forward(self, z: Tensor) -> Tensor:
        """Apply the threshold of each map.

        Args:
            z: maps (…, H, W).

        Returns:
            Tensor (…, H, W).
        """
        return mean_threshold(z, self.scale, self.gate)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"scale={self.scale:g}, gate={self.gate!r}"


@contextmanager
def straight_through(model: nn.Module) -> Iterator[None]:
    """Let gradients through the gates of all thresholds in a model; a context manager that restores the gates.

    Args:
        model: a network with `QuantileThreshold` or `MeanThreshold` layers.

    Yields:
        Nothing.

    Example:
        >>> layer = gs.MeanThreshold()
        >>> with gs.activation.straight_through(layer):
        ...     layer.gate
        'straight_through'
        >>> layer.gate
        'hard'

    References:
        Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security", ICML 2018 (attacks on gates).
    """
    before = [(module, module.gate) for module in model.modules() if isinstance(module, _Threshold)]
    try:
        for module, _ in before:
            module.gate = "straight_through"
        yield
    finally:
        for module, gate in before:
            module.gate = gate
