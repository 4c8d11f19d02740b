"""Images with pixels in [0, 1], as the attacks need them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import InputError

__all__ = ["Images", "images"]

_DIVISION = 0  # the seed by which test rows are set aside, where a data set does not fix them
_TEST_SIZE = 1 / 3


@dataclass(frozen=True, eq=False)
class Images:
    """Training images ``x`` (n, channels, S, S) with classes ``y`` (n), test images, and statistics by channel."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    mean: list[float]
    std: list[float]


@lru_cache(maxsize=1)
def images(name: str) -> Images:
    """The images of a data set, the test rows in an order that mixes the classes; `InputError` for other data."""
    from gossamer import data

    found = data.load(name, seed=_DIVISION, test_size=_TEST_SIZE, validation_size=0)
    if found.image is None or found.image[0] != found.image[1]:
        raise InputError(f"data must be square images, got {name!r}, with shape {found.image}")
    mixed = np.random.default_rng(_DIVISION).permutation(len(found.test))
    parts = [found.train.x, found.test.x[mixed]]
    x, x_test = (torch.from_numpy(part.reshape(-1, *found.image).transpose(0, 3, 1, 2).copy()) for part in parts)
    low, high = float(min(x.min(), x_test.min())), float(max(x.max(), x_test.max()))
    if low < 0 or high > 1:
        raise InputError(f"data must have pixels in [0, 1], got {low:g} to {high:g} in {name!r}")
    y, y_test = torch.from_numpy(found.train.y), torch.from_numpy(found.test.y[mixed])
    mean, std = x.mean((0, 2, 3)).tolist(), x.std((0, 2, 3)).tolist()
    return Images(x, y, x_test, y_test, len(found.classes), mean, std)
