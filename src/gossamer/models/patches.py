"""Image patches: sampling them, and mapping all patches of an image.

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
    """Sample patches from places drawn uniformly, with replacement, from all places in ``images``.

    Args:
        images: arrays of any sizes, all with the channels that ``shape`` has.
        shape: (height, width) or (height, width, channels) of a patch.
        count: number of patches, ≥ 1.
        generator: source of the places.

    Returns:
        The patches (count, Π shape), in the dtype of the images.

    Raises:
        InputError: there is no image, or one is smaller than a patch.

    Example:
        >>> image = np.arange(12.0).reshape(3, 4)
        >>> gs.models.sample_patches([image], (2, 2), count=2, generator=np.random.default_rng(0))
        array([[ 6.,  7., 10., 11.],
               [ 4.,  5.,  8.,  9.]])
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
    """Replace the overlapping patches of an image by the result of a function, and average where they overlap.

    Args:
        image: floating point, (height, width) or (height, width, channels), at least as large as a patch.
        shape: (height, width) or (height, width, channels) of a patch.
        function: from (patches, Π shape) to the same shape; it is given a part of the patches at a time.
        stride: pixels from one patch to the next, ≥ 1. The last row and column of patches end where the image ends,
            so that every pixel is covered.

    Returns:
        An image of the shape of ``image``.

    Raises:
        InputError: ``image`` is smaller than a patch, or ``stride`` is less than 1.

    Example:
        >>> image = np.array([[0.0, 0.0, 3.0]])
        >>> gs.models.map_patches(image, (1, 2), lambda patches: patches.mean(1, keepdims=True) + 0 * patches)
        array([[0.  , 0.75, 1.5 ]])
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
    """Estimate the standard deviation of Gaussian noise, in the mean of the channels.

        σ = √(π/2) Σ|response| / (6 (width − 2) (height − 2)),   response: to the difference of two Laplacians

    The mask does not respond to edges; texture counts as noise.

    Args:
        image: (height, width) or (height, width, channels), of at least 3 × 3 pixels.

    Returns:
        The standard deviation, in the units of ``image``.

    Raises:
        InputError: ``image`` is smaller than 3 × 3 pixels.

    References:
        Immerkær, "Fast noise variance estimation", Computer Vision and Image Understanding 64 (1996).
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
