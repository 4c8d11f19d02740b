"""Training of the supervised auto-encoder: projected gradient descent on a cost that changes with time.

Each batch is a step of Adam on (1 − α) E_R + α E_C, after which the weights return to their set. α follows its schedule
in fractions of an epoch. The learning rate rises in a straight line during the first tenth of all steps, and falls to
zero along half a cosine in the others.

Whatever chance decides in an epoch depends on (seed, epoch) alone.

Source: Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013), for the projected
gradient. Adam and the course of its learning rate are ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import check_count, check_fraction
from gossamer.models.autoencoder import Schedule, SupervisedAutoencoder
from gossamer.training.loop import DivergedError
from gossamer.training.samples import Samples

__all__ = ["Descent", "Pass", "train_autoencoder"]

_RISE = 0.1  # share of all steps in which the learning rate rises

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""What becomes of all training rows (n, features) in an epoch."""


class Pass(NamedTuple):
    """What an epoch brought: the mean cost, each batch's taken before its step, and how long it took."""

    epoch: int
    train_loss: float
    seconds: float
    validation_loss: float = 0.0  # as in an `Epoch` that held nothing back


class Descent:
    """Projected gradient descent, with Adam.

    Args:
        model: what is trained.
        learning_rate: of all its parameters, > 0.
        project_every: steps from one projection of the weights to the next.
    """

    def __init__(self, model: SupervisedAutoencoder, learning_rate: float = 0.003, project_every: int = 1) -> None:
        self.model = model
        self.learning_rate = check_fraction(
            "learning_rate", learning_rate, high=math.inf, open_low=True, open_high=True
        )
        self.project_every = check_count("project_every", project_every, low=1)
        fused = True if model.weight.device.type in ("cpu", "cuda") else None
        self.optimizer = torch.optim.Adam(model.parameters(), self.learning_rate, fused=fused)
        self.steps = 0

    def step(self, x: Tensor, y: Tensor, alpha: float, scale: float = 1.0) -> Tensor:
        """One step on a batch, with ``scale`` times the learning rate; the cost before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * scale
        cost = self.model.loss(x, y, alpha)
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        self.steps += 1
        if self.steps % self.project_every == 0:
            self.model.project_()
        return cost.detach()

    def epoch(
        self,
        samples: Samples,
        number: int,
        *,
        alpha: Schedule,
        batch_size: int,
        seed: int,
        scale: Schedule | None = None,
        augment: Augment | None = None,
    ) -> float:
        """A step on each batch of the samples, of which ``number`` passes lie behind; the mean cost.

        ``alpha`` and ``scale`` are functions of the passes that lie behind, a fraction during this one. See
        `train_autoencoder` for the others.

        Raises:
            DivergedError: the cost is no longer a number.
        """
        device = samples.x.device
        entropy = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)
        chance = torch.Generator().manual_seed(int(entropy[0]))
        if augment is not None:
            assert isinstance(samples.x, Tensor)
            samples = samples._replace(x=augment(samples.x, chance))
        order = torch.randperm(len(samples.y), generator=chance).to(device)
        batches, total = math.ceil(len(order) / batch_size), torch.zeros((), device=device)
        for batch, (x, y, _) in enumerate(samples.batches(batch_size, order)):
            done = number + batch / batches
            total += self.step(x, y, alpha(done), 1.0 if scale is None else scale(done)) * len(y)
        self.model.project_()
        mean = float(total) / len(order)
        if not math.isfinite(mean):
            raise DivergedError(
                f"training diverged in epoch {number + 1}: the cost is {mean:g}. Lower the learning rate, "
                f"{self.learning_rate:g} now"
            )
        return mean


def train_autoencoder(
    model: SupervisedAutoencoder,
    samples: Samples,
    *,
    epochs: int,
    alpha: Schedule,
    batch_size: int = 100,
    learning_rate: float = 0.003,
    project_every: int = 1,
    augment: Augment | None = None,
    seed: int = 0,
) -> Iterator[Pass]:
    """Train ``model`` in place, yielding after each epoch.

    Args:
        model: what is trained.
        samples: dense rows and their classes.
        epochs: passes through the samples.
        alpha: from the epochs that lie behind, a fraction, to α in [0, 1].
        batch_size: samples in a step.
        learning_rate: the highest.
        project_every: steps from one projection of the weights to the next; they are projected after each epoch too.
        augment: makes the rows of an epoch from those of ``samples``, with a generator.
        seed: of the order of samples, and of that generator.

    Raises:
        DivergedError: the cost is no longer a number.
    """
    check_count("epochs", epochs, low=1)
    check_count("batch_size", batch_size, low=1)
    descent = Descent(model, learning_rate, project_every)
    for number in range(epochs):
        start = time.perf_counter()
        mean = descent.epoch(
            samples,
            number,
            alpha=alpha,
            batch_size=batch_size,
            seed=seed,
            scale=lambda done: _rise_and_fall(done / epochs),
            augment=augment,
        )
        yield Pass(number + 1, mean, time.perf_counter() - start)


def _rise_and_fall(done: float) -> float:
    """The learning rate, as a share of its highest, after the share ``done`` of all steps."""
    if done < _RISE:
        return 0.01 + 0.99 * done / _RISE  # a step of length zero would be in vain
    return 0.5 * (1 + math.cos(math.pi * (done - _RISE) / (1 - _RISE)))
