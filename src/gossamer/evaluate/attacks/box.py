"""Ranges of the features: an adversarial input has to be a possible input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gossamer.errors import InputError

__all__ = ["Box"]


class Box:
    """The range [low, high] of each feature, in which adversarial inputs have to lie.

    A sample with a feature outside its range, such as a test row beyond the smallest value of the training rows, keeps
    what it has: for this sample, the range is extended to the value.

    Args:
        low: smallest values, one number or a tensor that broadcasts to one sample: 0 for pixels in [0, 1], the columns'
            minima (features) for a table.
        high: largest values, ≥ ``low``, likewise.

    Raises:
        InputError: a bound is NaN, or ``low`` exceeds ``high`` somewhere.

    Example:
        >>> rows = torch.tensor([[0.0, 5.0], [2.0, 7.0]])
        >>> gs.evaluate.attacks.Box(rows.amin(0), rows.amax(0))
        Box(low=[0, 5], high=[2, 7])
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: float | Tensor, high: float | Tensor) -> None:
        self.low, self.high = _bound("low", low), _bound("high", high)
        try:
            ordered = bool((self.low <= self.high).all())
        except RuntimeError:
            shapes = f"{tuple(self.low.shape)} and {tuple(self.high.shape)}"
            raise InputError(f"low and high must broadcast, got shapes {shapes}") from None
        if not ordered:
            raise InputError(f"low must be at most high for every feature, got low={low!r} and high={high!r}")

    def around(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds for each sample, extended to its own values.

        Args:
            x: samples (N, …).

        Returns:
            The smallest and the largest values, each of the shape, dtype and device of ``x``.

        Raises:
            InputError: the bounds do not broadcast to one sample.
        """
        try:
            low, high = (bound.to(x).broadcast_to(x.shape[1:]) for bound in (self.low, self.high))
        except RuntimeError:
            shapes = f"{tuple(self.low.shape)} and {tuple(self.high.shape)}"
            raise InputError(f"box must broadcast to one sample {tuple(x.shape[1:])}, got shapes {shapes}") from None
        return torch.minimum(low, x), torch.maximum(high, x)

    def diameter(self, x: Tensor, norm: str) -> float:
        """Return the length of the box's diagonal in a norm: a ball of this radius covers the box.

        Args:
            x: samples (N, …), at least one.
            norm: ``"linf"`` or ``"l2"``.

        Returns:
            The largest length over the samples, infinite for a box without bounds.
        """
        low, high = self.around(x)
        size = (high - low).flatten(1).double()
        return float(size.amax() if norm == "linf" else size.norm(dim=1).amax())

    def __repr__(self) -> str:
        return f"Box(low={_shown(self.low)}, high={_shown(self.high)})"


def _bound(name: str, value: float | Tensor) -> Tensor:
    try:
        bound = torch.as_tensor(value).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be a number or a tensor of them, got {value!r}") from None
    if bool(bound.isnan().any()) or bound.numel() == 0:
        raise InputError(f"{name} must be a number for every feature and not NaN, got {value!r}")
    return bound


def _shown(bound: Tensor) -> str:
    if bound.dim() == 0:
        return f"{bound.item():g}"
    if bound.dim() == 1 and len(bound) <= 4:
        return f"[{', '.join(f'{value:g}' for value in bound.tolist())}]"
    return f"{bound.min().item():g}…{bound.max().item():g} of {math.prod(bound.shape)} features"
