"""Noise in training whose chance can be taken from a generator of one's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout", "GaussianNoise", "Noise"]


class Noise:
    """A module that draws from ``generator``, of its input's device, while it has one, and from torch's otherwise.

    Torch's own generator belongs to the whole process: several networks that train in it at once would draw from each
    other's chance.
    """

    generator: torch.Generator | None = None


class Dropout(Noise, nn.Dropout):
    """`torch.nn.Dropout`: in training each unit is 0 with probability p, and the others are divided by 1 − p."""

    def forward(self, x: Tensor) -> Tensor:
        if self.generator is None or not self.training or self.p == 0:
            return super().forward(x)
        kept = torch.empty_like(x).uniform_(generator=self.generator) >= self.p
        return x * kept * (1 / (1 - self.p))


class GaussianNoise(Noise, nn.Module):
    """x + σ N(0, 1) in training, x afterwards."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x + torch.empty_like(x).normal_(std=self.std, generator=self.generator)

    def extra_repr(self) -> str:
        return f"std={self.std:g}"
