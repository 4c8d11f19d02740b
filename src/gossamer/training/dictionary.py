"""Training of a dictionary by its Hebbian-like rule."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gossamer.errors import check_count, check_fraction
from gossamer.models.dictionary import Dictionary
from gossamer.training.epoch import one_epoch
from gossamer.training.samples import Samples

__all__ = ["train_dictionary"]

_RESTORE = 10  # steps between two projections to low rank: singular values cost as much as several steps


def train_dictionary(
    dictionary: Dictionary,
    x: Tensor,
    *,
    epochs: int = 10,
    batch_size: int = 256,
    rate: float = 0.3,
    generator: torch.Generator,
) -> Iterator[float]:
    """Train ``dictionary`` in place, yielding after each step.

    Each epoch is a new random order of all samples. The step size falls in a straight line from ``rate`` to zero.

    Args:
        dictionary: n atoms of d numbers.
        x: (N, d), samples, float32 or float64, at any scale.
        epochs: passes through the samples, ≥ 1.
        batch_size: samples in a step, ≥ 1.
        rate: η of the first step, > 0.
        generator: of the order of the samples.

    Yields:
        The mean of 1 − ρ² over the batch before the step: the squared error of reproduction by the projected code at
        its best length, relative to the squared length of the samples.

    Raises:
        InputError: an argument outside its range, or samples of another shape or dtype.

    Example:
        >>> from gossamer.training.dictionary import train_dictionary
        >>> x, generator = torch.randn(64, 8), torch.Generator().manual_seed(0)
        >>> dictionary = gs.models.Dictionary.from_samples(x, 4, generator=generator)
        >>> errors = list(train_dictionary(dictionary, x, epochs=2, batch_size=32, generator=generator))
        >>> len(errors)
        4
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_count(name, value, low=1)
    check_fraction("rate", rate, high=math.inf, open_low=True, open_high=True)
    unit = dictionary.standardize(x)
    samples = Samples(unit, unit.new_empty(len(unit), 0))
    steps, done = epochs * math.ceil(len(x) / batch_size), 0

    def step(number: int, rows: Tensor, nothing: Tensor, weight: Tensor | None) -> float:
        nonlocal done
        rho = dictionary.step(rows, rate * (1 - done / steps))
        done += 1
        if done % _RESTORE == 0 or done == steps:
            dictionary.constrain_()
        return 1 - float(rho.square().mean())

    for _ in range(epochs):
        yield from one_epoch(samples, step, batch_size=batch_size, generator=generator)
