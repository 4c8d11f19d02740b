"""An epoch: one step on each batch of the samples, in random order, and the record of its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from gossamer.errors import InputError
from gossamer.training.samples import Samples

__all__ = ["DivergedError", "Epoch", "one_epoch", "random_order"]

Result = TypeVar("Result")

Step = Callable[[int, Tensor, Tensor, Tensor | None], Result]
"""From the number of the batch (0, 1, …), its rows, targets and weights to a result, such as its loss."""


class DivergedError(InputError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Epoch:
    """The record of an epoch (counted from 1); a field that the kind of training does not measure is 0.

    Attributes:
        epoch: its number.
        train_loss: mean loss of the batches, each taken before its step.
        train_accuracy: mean credit of the batches (see `Task`), likewise.
        validation_loss: mean loss of the validation samples after the epoch; 0 without such samples.
        validation_accuracy: their mean credit.
        connections: number of connections of the network.
        seconds: time of training and rewiring, without validation.
        grown: number of connections that were grown.
        dropped: number of connections that were dropped.
        moved: for each layer, its numbers of grown and dropped connections.

    Example:
        >>> gs.training.Epoch(epoch=1, train_loss=0.7).validation_loss
        0.0
    """

    epoch: int
    train_loss: float
    train_accuracy: float = 0.0
    validation_loss: float = 0.0
    validation_accuracy: float = 0.0
    connections: int = 0
    seconds: float = 0.0
    grown: int = 0
    dropped: int = 0
    moved: dict[str, tuple[int, int]] = field(default_factory=dict)


def one_epoch(samples: Samples, step: Step[Result], *, batch_size: int, generator: torch.Generator) -> Iterator[Result]:
    """Yield ``step(number, x, y, weight)`` of each batch; every sample occurs in one of them.

    Args:
        samples: n samples.
        step: called once a batch, at the next iteration.
        batch_size: samples in a batch, ≥ 1; the last one may have fewer.
        generator: of the order, on the CPU. The order depends on nothing else.

    Yields:
        The result of ``step``.

    Example:
        >>> samples = gs.training.Samples(torch.arange(5.0)[:, None], torch.zeros(5))
        >>> step = lambda number, x, y, weight: x.sum()
        >>> sums = gs.training.one_epoch(samples, step, batch_size=2, generator=torch.Generator().manual_seed(0))
        >>> sum(sums)
        tensor(10.)
    """
    order = random_order(samples, generator)
    for number, (x, y, weight) in enumerate(samples.batches(batch_size, order)):
        yield step(number, x, y, weight)


def random_order(samples: Samples, generator: torch.Generator) -> Tensor:
    """The numbers of the samples in the order of an epoch, on their device."""
    return torch.randperm(len(samples.y), generator=generator).to(samples.x.device)
