"""The rows that a trial learns from and those that judge it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Divided", "divided"]


@dataclass(frozen=True, eq=False)
class Divided:
    """Training rows ``x`` (n, features) float32 with classes ``y`` (n,) int64, and test rows alike."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    classes: int

    @property
    def test(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The test rows and their classes."""
        return self.x_test, self.y_test


@lru_cache(maxsize=1)
def divided(name: str, seed: int, test_size: float = 0.2) -> Divided:
    """The data set ``name``, divided by ``seed`` unless it has fixed test rows; nothing is kept for validation.

    Tables and pixels have mean 0 and variance 1 over the training rows (0 where they are constant); word counts are
    log(1 + count), so that a word that doesn't occur stays 0.
    """
    from gossamer import data

    found = data.load(name, seed=seed, test_size=test_size, validation_size=0)
    x, x_test = found.train.x, found.test.x
    if found.image is not None:  # the others are standardised as they are read
        mean, std = x.mean(axis=0), x.std(axis=0)
        std[std == 0] = np.inf
        x, x_test = (x - mean) / std, (x_test - mean) / std
    return Divided(x, found.train.y, x_test, found.test.y, len(found.classes))
