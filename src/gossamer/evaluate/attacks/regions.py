"""Windows of images, and groups of features, in which a random search changes its perturbation."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from gossamer.evaluate.attacks.ball import random_uniform

__all__ = ["Groups", "Regions", "Squares"]


class Regions(ABC):
    """Random regions of samples (N, …); ``generator`` is their source."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    @abstractmethod
    def draw(self, x: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """A region of a share of each sample, and a bump of length 1 in it, zero elsewhere; both broadcast to ``x``."""

    @abstractmethod
    def shift(self, delta: Tensor, share: float, radius: float) -> Tensor:
        """A perturbation in the direction of a candidate, from ``delta`` of at most the length ``radius``."""

    @abstractmethod
    def signs(self, x: Tensor) -> Tensor:
        """Random ±1 that broadcast to ``x``: one for each channel, or for each feature."""

    @abstractmethod
    def stripes(self, x: Tensor) -> Tensor:
        """Random ±1 on the stripes, or features, of ``x``."""

    @abstractmethod
    def tiling(self, x: Tensor) -> Tensor:
        """Bumps with random signs that cover ``x``."""

    def random_signs(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """±1 with equal probability."""
        return 1 - 2 * (random_uniform(shape, like, self.generator) < 0.5).to(like.dtype)


class Squares(Regions):
    """Square windows of images (N, channels, height, width), at a place of its own in each image."""

    def signs(self, x: Tensor) -> Tensor:
        """One sign for each channel."""
        return self.random_signs((*x.shape[:2], 1, 1), x)

    def stripes(self, x: Tensor) -> Tensor:
        """One sign for each column and channel."""
        return self.random_signs((*x.shape[:2], 1, x.shape[3]), x).expand_as(x)

    def draw(self, x: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Windows of side √(share · height · width), as far as the image reaches."""
        height, width = x.shape[2:]
        side = max(1, round((share * height * width) ** 0.5))
        h, w = min(side, height), min(side, width)
        rows, columns = self._offsets(x, height, h), self._offsets(x, width, w)  # (N, height), (N, width)
        inside = (rows >= 0).unsqueeze(2) & (columns >= 0).unsqueeze(1)
        place = rows.clamp(min=0).unsqueeze(2), columns.clamp(min=0).unsqueeze(1)
        turned = random_uniform((len(x), 1, 1), x, self.generator) < 0.5
        bump = torch.where(turned, _bump(w, h, x).T[place], _bump(h, w, x)[place]) * inside
        return inside.unsqueeze(1), bump.unsqueeze(1)

    def tiling(self, x: Tensor) -> Tensor:
        """Windows of a fifth of the smaller side, with a sign for each and for each channel."""
        n, channels, height, width = x.shape
        side = max(1, min(height, width) // 5)
        down, across = -(-height // side), -(-width // side)
        signs = self.random_signs((n, channels, down, across), x)
        tiles = signs.repeat_interleave(side, 2).repeat_interleave(side, 3)
        return (tiles * _bump(side, side, x).repeat(down, across))[:, :, :height, :width]

    def shift(self, delta: Tensor, share: float, radius: float) -> Tensor:
        """Add a bump in a window.

        Its length is that of the window before, of a second window that gives its own up, and the rest of the ball.
        Windows have at least 3 × 3 pixels: with single ones the search ends with all of the length in one of them.
        """
        share = max(share, min(1.0, 9 / delta[0, 0].numel()))
        inside, bump = self.draw(delta, share)
        other, _ = self.draw(delta, share)
        unused = (radius**2 - _squares(delta, (1, 2, 3))).clamp(min=0) / delta.shape[1]
        freed = _squares(delta * (inside | other), (2, 3)) + unused  # for each channel
        old = delta * inside
        new = bump * self.signs(delta) + old / _squares(old, (2, 3)).sqrt().clamp(min=1e-10)
        scale = (freed / _squares(new, (2, 3)).clamp(min=1e-20)).sqrt()
        return torch.where(inside, new * scale, delta * ~other)

    def _offsets(self, x: Tensor, size: int, window: int) -> Tensor:
        """For each of ``size`` pixels its number within a random window, −1 outside."""
        first = (random_uniform((len(x), 1), x, self.generator) * (size - window + 1)).floor().long()
        offset = torch.arange(size, device=x.device) - first.clamp(max=size - window)
        return torch.where((offset >= 0) & (offset < window), offset, -1)


class Groups(Regions):
    """Random groups of features, which have no neighbours, of samples (N, …)."""

    def signs(self, x: Tensor) -> Tensor:
        """One sign for each feature."""
        return self.random_signs(tuple(x.shape), x)

    def stripes(self, x: Tensor) -> Tensor:
        """One sign for each feature."""
        return self.signs(x)

    def tiling(self, x: Tensor) -> Tensor:
        """One sign for each feature."""
        return self.signs(x)

    def draw(self, x: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Groups of a share of the features, at least one."""
        features = x[0].numel()
        size = max(1, round(share * features))
        order = random_uniform((len(x), features), x, self.generator).argsort(1).argsort(1)
        inside = (order < size).view_as(x)
        return inside, inside.to(x.dtype) / size**0.5

    def shift(self, delta: Tensor, share: float, radius: float) -> Tensor:
        """Add random signs on a group, of a random length up to ``radius``."""
        _, bump = self.draw(delta, share)
        size = random_uniform((len(delta), *[1] * (delta.dim() - 1)), delta, self.generator)
        return delta + radius * size * bump * self.signs(delta)


def _squares(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.square().sum(dims, keepdim=True)


def _bump(height: int, width: int, like: Tensor) -> Tensor:
    """A positive peak in the upper and a negative one in the lower half, together of length 1."""
    upper, lower = height // 2, height - height // 2
    bump: Tensor = torch.cat([_peak(upper, width, like), -_peak(lower, width, like)])
    length: Tensor = bump.norm()
    return bump / length


def _peak(height: int, width: int, like: Tensor) -> Tensor:
    """Σ_{k≥d} 1 / (k + 1)², d the distance from the middle in the maximum norm."""
    rows, columns = ((torch.arange(size, device=like.device) - size // 2).abs() for size in (height, width))
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2, device=like.device, dtype=like.dtype) ** 2
    sums = terms.flip(0).cumsum(0).flip(0)
    return sums[torch.maximum(rows.unsqueeze(1), columns.unsqueeze(0))]
