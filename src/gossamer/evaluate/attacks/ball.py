"""The perturbations that an attack may choose from: a ball around each sample, cut by the box.

S(x) = {z : ‖z − x‖_p ≤ r, low ≤ z ≤ high},   p = ∞ or 2
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gossamer.evaluate.attacks.box import Box

__all__ = ["NORMS", "Ball", "Norm", "length", "per_sample", "random_normal", "random_uniform"]

Norm = Literal["linf", "l2"]
NORMS = ("linf", "l2")


class Ball:
    """S(x) for a batch of samples: nearest points, steepest directions and random points."""

    def __init__(self, x: Tensor, norm: Norm, radius: float, low: Tensor, high: Tensor) -> None:
        self.x, self.norm, self.radius, self.low, self.high = x, norm, radius, low, high

    @staticmethod
    def of(x: Tensor, norm: Norm, radius: float, box: Box) -> Ball:
        """The ball around ``x``; for the maximum norm its sides and those of the box are one box."""
        low, high = box.around(x)
        if norm == "linf":
            low, high = torch.maximum(low, x - radius), torch.minimum(high, x + radius)
        return Ball(x, norm, radius, low, high)

    def __getitem__(self, index: Tensor) -> Ball:
        """The balls of some samples."""
        return Ball(self.x[index], self.norm, self.radius, self.low[index], self.high[index])

    def __len__(self) -> int:
        return len(self.x)

    def clip(self, z: Tensor) -> Tensor:
        """Move each feature into the box."""
        return torch.minimum(torch.maximum(z, self.low), self.high)

    def project(self, z: Tensor) -> Tensor:
        """Nearest points of S(x) in the Euclidean norm.

        For p = 2 the nearest point is x + clip(s (z − x)) with s ≤ 1 as large as the radius allows. With the features
        that the clip leaves alone, r² = s² A + B, A and B the squared lengths of free and clipped ones. From
        s = r / ‖z − x‖, at most the solution, s = √((r² − B) / A) grows until no further feature is clipped.
        """
        if self.norm == "linf":
            return self.clip(z)
        step = (z - self.x).flatten(1)
        low, high = (self.low - self.x).flatten(1), (self.high - self.x).flatten(1)
        if not bool((step.clamp(low, high).norm(dim=1) > self.radius).any()):
            return self.clip(z)
        s = (self.radius / length(step)).clamp(max=1).unsqueeze(1)
        while True:
            scaled = s * step
            inside = (scaled >= low) & (scaled <= high)
            free = (step * inside).square().sum(1, keepdim=True)
            rest = self.radius**2 - (scaled.clamp(low, high) * ~inside).square().sum(1, keepdim=True)
            larger = torch.where(free > 0, (rest.clamp(min=0) / free).sqrt(), s).clamp(max=1)
            if not bool((larger > s * (1 + 4 * torch.finfo(s.dtype).eps)).any()):
                break
            s = torch.maximum(s, larger)
        return self.clip(self.x + (s * step).clamp(low, high).view_as(z))

    def direction(self, gradient: Tensor) -> Tensor:
        """The d with ‖d‖_p ≤ 1 along which a function grows most: sign(g), or g / ‖g‖₂; zero for a zero gradient g."""
        if self.norm == "linf":
            return gradient.sign()
        peak = gradient.flatten(1).abs().amax(1)
        scaled = gradient / per_sample(torch.where(peak > 0, peak, 1.0), gradient)  # squares of 10⁻³⁰ are zero
        return scaled / per_sample(length(scaled.flatten(1)), gradient)

    def start(self, generator: torch.Generator, *, sphere: bool = False) -> Tensor:
        """A random point of S(x), uniform in the ball (``sphere``: on its surface) before the box cuts it."""
        if self.norm == "linf":
            step = 2 * random_uniform(self.x.shape, self.x, generator) - 1
            scale = 1 / step.flatten(1).abs().amax(1) if sphere else step.new_ones(len(step))
        else:
            step = random_normal(self.x.shape, self.x, generator)
            scale = 1 / length(step.flatten(1))
            if not sphere:
                scale = scale * random_uniform(scale.shape, self.x, generator) ** (1 / step[0].numel())
        return self.project(self.x + self.radius * per_sample(scale, step) * step)


def length(rows: Tensor) -> Tensor:
    """‖row‖₂ for each row, or the smallest positive number for a row of zeros, so that it can be a divisor."""
    lengths: Tensor = rows.norm(dim=1)
    return lengths.clamp(min=torch.finfo(rows.dtype).tiny)


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """``values`` (N), shaped to multiply ``like`` (N, …)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def random_uniform(shape: torch.Size | tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform in [0, 1), drawn where the generator is, in the dtype and on the device of ``like``."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(like)


def random_normal(shape: torch.Size | tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal, likewise."""
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64).to(like)
