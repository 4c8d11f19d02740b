"""Pictures and the patches they are made of.

An image is an array (height, width) or (height, width, channels) of numbers, a patch a piece of it as one row of
numbers: pixels in reading order, each with its channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError, check_count

__all__ = ["map_patches", "noise_level", "sample_patches"]

Floats = NDArray[np.floating[Any]]

_NUMBERS = 1 << 23  # of patches in memory at a time


def sample_patches(
    images: Sequence[NDArray[Any]] | NDArray[Any], shape: Sequence[int], count: int, generator: np.random.Generator
) -> NDArray[Any]:
    """``count`` patches (count, Π shape) from places drawn uniformly, with replacement, from all in ``images``.

    Args:
        images: of any sizes, all with the channels that ``shape`` has.
        shape: (height, width) or (height, width, channels) of a patch.
        count: ≥ 1.
        generator: decides.
    """
    check_count("count", count, low=1)
    windows = [_windows(np.asarray(image), shape) for image in images]
    if not windows:
        raise InputError("images must have at least one image, got none")
    places = np.array([window.shape[0] * window.shape[1] for window in windows])
    chosen = generator.integers(places.sum(), size=count)
    image = np.searchsorted(places.cumsum(), chosen, side="right")
    place = chosen - (places.cumsum() - places)[image]
    patches = np.empty((count, *windows[0].shape[2:]), np.result_type(*(window.dtype for window in windows)))
    for i in np.unique(image):
        rows = image == i
        patches[rows] = windows[i][np.unravel_index(place[rows], windows[i].shape[:2])]
    return patches.reshape(count, -1)


def map_patches(
    image: Floats, shape: Sequence[int], function: Callable[[Floats], Floats], *, stride: int = 1
) -> Floats:
    """Replace the overlapping patches of ``image`` by what ``function`` makes of them, and average where they overlap.

    Args:
        image: floating point, at least as large as a patch.
        shape: (height, width) or (height, width, channels) of a patch.
        function: (patches, Π shape) to the same shape; it is given a part of the patches at a time.
        stride: pixels from one patch to the next, ≥ 1. The last row and column of patches end where the image ends,
            so that every pixel is covered.
    """
    windows = _windows(image, shape)
    check_count("stride", stride, low=1, high=min(shape[:2]))
    rows, columns = (np.append(np.arange(0, places - 1, stride), places - 1) for places in windows.shape[:2])
    total, weight = np.zeros_like(image), np.zeros(image.shape[:2], image.dtype)
    lines = max(1, _NUMBERS // (len(columns) * math.prod(shape)))
    for start in range(0, len(rows), lines):
        here = rows[start : start + lines]
        patches = windows[np.ix_(here, columns)]
        mapped = function(patches.reshape(-1, math.prod(shape))).reshape(patches.shape)
        for i, j in np.ndindex(*shape[:2]):  # no two patches put the same of their pixels in one place
            target = np.ix_(here + i, columns + j)
            total[target] += mapped[:, :, i, j]
            weight[target] += 1
    return total / weight.reshape(weight.shape + (1,) * (image.ndim - 2))


def noise_level(image: Floats) -> float:
    """Standard deviation of Gaussian noise, from the response to a mask that sees no edges (mean of the channels).

    Source: Immerkær, "Fast noise variance estimation", Computer Vision and Image Understanding 64 (1996): the mask is
    the difference of two Laplacians, and σ = √(π/2) Σ|response| / (6 (width − 2) (height − 2)). Texture counts
    as noise.
    """
    if image.ndim not in (2, 3) or min(image.shape[:2]) < 3:
        raise InputError(f"image must have at least 3 × 3 pixels, got shape {image.shape}")
    rows = image[:-2] - 2 * image[1:-1] + image[2:]
    response = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return math.sqrt(math.pi / 2) / 6 * float(np.abs(response).mean())


def _windows(image: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """A view (rows of places, columns of places, *shape) of ``image``."""
    if len(shape) not in (2, 3):
        raise InputError(f"patch_shape must be (height, width) or (height, width, channels), got {tuple(shape)}")
    for size in shape:
        check_count("patch_shape", size, low=1)
    fits = image.ndim == len(shape) and min(image.shape[0] - shape[0], image.shape[1] - shape[1]) >= 0
    if not fits or tuple(image.shape[2:]) != tuple(shape[2:]):
        raise InputError(f"image must be at least as large as a patch of shape {tuple(shape)}, got shape {image.shape}")
    windows = np.lib.stride_tricks.sliding_window_view(image, tuple(shape))
    return windows[:, :, 0] if len(shape) == 3 else windows
