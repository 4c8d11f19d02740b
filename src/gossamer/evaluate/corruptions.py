"""Corruptions of images, and of tables, in five severities.

A corruption of images maps x (n, channels, height, width) with values in [0, 1] to images of the same shape in [0, 1].
Severity 0 returns x; the mean distance ‖x' − x‖ grows with the severity from 1 to 5. Lengths are in units of the side
s = min(height, width), so that 8 × 8 and 224 × 224 pixels are corrupted alike. Randomness comes from ``generator``
alone.

==================  ===================================================================================================
gaussian_noise      x + σ n, n ~ N(0, 1); σ = .04, .08, .12, .18, .26
shot_noise          Poisson(λ x) / λ; λ = 100, 50, 25, 12, 6
impulse_noise       a pixel of a channel becomes 0 or 1 with probability p; p = .02, .05, .10, .17, .27
defocus_blur        mean over a disc of radius 0.5 + 0.02 s · severity pixels
motion_blur         mean over a line of length 1 + 0.1 s · severity pixels, in a random direction for each image
brightness          x + b; b = .1, .2, .3, .4, .5
contrast            m + c (x − m), m the mean of a channel; c = .75, .6, .45, .3, .15
pixelate            means over blocks, a share .9, .75, .6, .45, .3 of the rows and of the columns in number
jpeg                quantized cosine transform of 8 × 8 blocks; quality 60, 40, 25, 15, 8
elastic             pixels move along a smooth random field; its standard deviation is .02, .035, .05, .07, .1 of s
occlusion           a rectangle of 0.5 at a random place; its sides are .2, .33, .45, .57, .7 of the image's
==================  ===================================================================================================

Corruptions of tables replace values of x (n, features) by ``fill`` (features), for a share .05, .1, .2, .35, .5 of the
columns of each row, at least one: ``missing_values`` by the value that preprocessing gives a missing one,
``zeroed_features`` by 0.

References:
    Hendrycks, Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019,
    arXiv 1903.12261 (the kinds of corruption and the five severities; the strengths here are our own).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gossamer.errors import InputError, check_choice, check_count
from gossamer.evaluate.jpeg import compress

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt", "corrupt_table"]

SEVERITIES = (1, 2, 3, 4, 5)
"""The severities; 0 is none."""

_SHARES = (0.05, 0.1, 0.2, 0.35, 0.5)


def corrupt(name: str, x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Corrupt images.

    Args:
        name: one of `CORRUPTIONS`.
        x: images (n, channels, height, width), any size and number of channels, in [0, 1].
        severity: 0 (none) to 5.
        generator: on the CPU; draws all random numbers.

    Returns:
        Images of the shape, dtype and device of ``x`` in [0, 1]; ``x`` itself at severity 0.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> from gossamer.evaluate import corruptions
        >>> x = torch.rand(2, 1, 8, 8)
        >>> corruptions.corrupt("defocus_blur", x, 3, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 8, 8])
    """
    check_choice("name", name, tuple(CORRUPTIONS))
    check_count("severity", severity, high=len(SEVERITIES))
    if x.dim() != 4 or 0 in x.shape[1:] or not x.is_floating_point():
        raise InputError(
            f"x must be images (n, channels, height, width) of floating point, got {tuple(x.shape)} of {x.dtype}"
        )
    if not bool(((x >= 0) & (x <= 1)).all()):  # NaN is outside
        raise InputError("x must hold numbers in [0, 1], got others")
    if severity == 0 or len(x) == 0:
        return x
    return CORRUPTIONS[name](x, severity, generator).clamp(0, 1)


def corrupt_table(x: Tensor, severity: int, generator: torch.Generator, fill: Tensor, columns: Tensor) -> Tensor:
    """Replace the values of some columns in each row of a table.

    Args:
        x: rows (n, features).
        severity: 0 (none) to 5.
        generator: on the CPU; draws the columns. A severity replaces all columns that a smaller one does.
        fill: (features), the values in their place.
        columns: (features) int64, the number of the column, from 0, that each feature belongs to; the features of a
            column (the categories of one string) are replaced together.

    Returns:
        Rows of the shape of ``x``; ``x`` itself at severity 0.

    Raises:
        InputError: an argument has another shape, or is outside its range.

    Example:
        >>> from gossamer.evaluate import corruptions
        >>> generator = torch.Generator().manual_seed(0)
        >>> found = corruptions.corrupt_table(torch.ones(3, 20), 1, generator, torch.zeros(20), torch.arange(20))
        >>> found.sum(1)
        tensor([19., 19., 19.])
    """
    check_count("severity", severity, high=len(SEVERITIES))
    if x.dim() != 2 or fill.shape != x.shape[1:] or columns.shape != x.shape[1:] or 0 in x.shape[1:]:
        raise InputError(
            "x, fill and columns must be (n, features), (features) and (features), "
            f"got {tuple(x.shape)}, {tuple(fill.shape)} and {tuple(columns.shape)}"
        )
    if columns.is_floating_point() or int(columns.min()) < 0:
        raise InputError(f"columns must hold whole numbers of at least 0, got {columns.dtype}")
    if severity == 0 or len(x) == 0:
        return x
    count = int(columns.max()) + 1
    taken = max(1, round(_SHARES[severity - 1] * count))
    order = torch.rand((len(x), count), generator=generator).argsort(1).argsort(1)  # the rank of each column
    return torch.where((order < taken).to(x.device)[:, columns.to(x.device)], fill.to(x), x)


# ---- noise -----------------------------------------------------------------------------------------------------------


def _gaussian_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    sigma = (0.04, 0.08, 0.12, 0.18, 0.26)[severity - 1]
    return x + sigma * torch.randn(x.shape, generator=generator).to(x)


def _shot_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    photons = (100.0, 50.0, 25.0, 12.0, 6.0)[severity - 1]
    return (torch.poisson(x.detach().float().cpu() * photons, generator=generator) / photons).to(x)


def _impulse_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    share = (0.02, 0.05, 0.1, 0.17, 0.27)[severity - 1]
    draw = torch.rand(x.shape, generator=generator).to(x.device)
    salt = (torch.rand(x.shape, generator=generator) < 0.5).to(x)
    return torch.where(draw < share, salt, x)


# ---- blur ------------------------------------------------------------------------------------------------------------


def _defocus_blur(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    radius = 0.5 + 0.02 * _side(x) * severity
    reach = math.ceil(radius)
    at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    disc = (radius + 0.5 - torch.hypot(at[:, None], at[None, :])).clamp(0, 1)  # the share of a pixel inside
    kernel = (disc / disc.sum()).expand(x.shape[1], 1, -1, -1)
    padded = functional.pad(x, (reach, reach, reach, reach), "replicate")
    return functional.conv2d(padded, kernel, groups=x.shape[1])


def _motion_blur(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    length = 1 + 0.1 * _side(x) * severity
    angle = math.pi * torch.rand(len(x), generator=generator)
    step = torch.stack([angle.sin(), angle.cos()], 1)[:, None, None].to(x)  # (n, 1, 1, 2) rows, columns
    places = torch.linspace(-length / 2, length / 2, 2 * math.ceil(length) + 1).tolist()
    return torch.stack([_moved(x, at * step) for at in places]).mean(0)


# ---- light -----------------------------------------------------------------------------------------------------------


def _brightness(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    return x + 0.1 * severity


def _contrast(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return mean + (0.75, 0.6, 0.45, 0.3, 0.15)[severity - 1] * (x - mean)


# ---- resolution and shape --------------------------------------------------------------------------------------------


def _pixelate(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    share = (0.9, 0.75, 0.6, 0.45, 0.3)[severity - 1]
    rows, columns = (_block_means(side, max(1, round(share * side)), x) for side in x.shape[2:])
    return rows @ x @ columns.T


def _jpeg(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    return compress(x, (60, 40, 25, 15, 8)[severity - 1])


def _elastic(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    spread = (0.02, 0.035, 0.05, 0.07, 0.1)[severity - 1] * _side(x)
    coarse = torch.randn((len(x), 2, 4, 4), generator=generator).to(x)
    field = functional.interpolate(coarse, x.shape[2:], mode="bicubic", align_corners=True)
    return _moved(x, spread * field.permute(0, 2, 3, 1))


def _occlusion(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    share = (0.2, 0.33, 0.45, 0.57, 0.7)[severity - 1]
    inside = torch.ones((), dtype=torch.bool)
    for axis, side in enumerate(x.shape[2:]):
        size = max(1, round(share * side))
        start = (torch.rand(len(x), generator=generator) * (side - size + 1)).floor().clamp(max=side - size)
        at = torch.arange(side) - start[:, None]
        covered = (at >= 0) & (at < size)  # (n, side)
        inside = inside & (covered[:, None, :, None] if axis == 0 else covered[:, None, None, :])
    return torch.where(inside.to(x.device), 0.5, x)


CORRUPTIONS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "elastic": _elastic,
    "occlusion": _occlusion,
}
"""The corruptions of images by name, each a function of images, severity (1 to 5) and generator; see `corrupt`."""


def _block_means(side: int, blocks: int, like: Tensor) -> Tensor:
    """The matrix (side, side) that replaces each of ``side`` numbers by the mean of its block."""
    block = torch.arange(side, device=like.device) * blocks // side
    same = (block[:, None] == block).to(like)
    return same / same.sum(1, keepdim=True)


def _side(x: Tensor) -> int:
    return min(x.shape[2:])


def _moved(x: Tensor, offset: Tensor) -> Tensor:
    """Read each pixel ``offset`` (n, h or 1, w or 1, 2: rows and columns) pixels away, by bilinear interpolation."""
    height, width = x.shape[2:]
    rows = torch.arange(height, dtype=x.dtype, device=x.device)[:, None] + offset[..., 0]
    columns = torch.arange(width, dtype=x.dtype, device=x.device) + offset[..., 1]
    # grid_sample counts from −1 to 1 between the outer edges of the image
    grid = torch.stack(torch.broadcast_tensors((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1), -1)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
