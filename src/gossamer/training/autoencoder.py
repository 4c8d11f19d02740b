"""Training of the supervised auto-encoder: projected gradient descent on a cost that changes with time.

Each batch is a step of Adam on (1 − α) E_R + α E_C, after which the weights return to their set. α follows its schedule
in fractions of an epoch. The learning rate has a linear warm-up during the first tenth of all steps, and falls
to zero along half a cosine in the others. All random choices of an epoch depend on (seed, epoch) alone.

References:
    Thom, Palm, "Sparse Activity and Sparse Connectivity in Supervised Learning", JMLR 14 (2013), for the projected
    gradient. Adam and the schedule of its learning rate are ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.errors import check_count, check_fraction
from gossamer.models.autoencoder import Schedule, SupervisedAutoencoder
from gossamer.training.epoch import DivergedError, Epoch, one_epoch
from gossamer.training.samples import Samples

__all__ = ["Descent", "train_autoencoder"]

_WARM_UP = 0.1  # share of all steps

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""A transformation of all training rows (n, features), applied once an epoch."""


class Descent:
    """Projected gradient descent, with Adam.

    Args:
        model: the network to train.
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

    def step(self, x: Tensor, y: Tensor, alpha: float, scale: float = 1.0, weight: Tensor | None = None) -> Tensor:
        """Take one step on a batch, with ``scale`` times the learning rate; return the cost before it.

        Args:
            x: (batch, in_features).
            y: (batch) int64, classes.
            alpha: α in [0, 1].
            scale: ≥ 0.
            weight: (batch), how much each sample counts; None for all the same.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * scale
        cost = self.model.loss(x, y, alpha, weight)
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        self.steps += 1
        if self.steps % self.project_every == 0:
            self.model.project_()
        return cost.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return model, optimizer and number of steps; the tensors are not copies."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]

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
        """Take a step on each batch of the samples, after ``number`` epochs, and return the mean cost.

        ``alpha`` and ``scale`` are functions of the number of completed epochs, fractional during an epoch. See
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
        batches, total = math.ceil(len(samples.y) / batch_size), torch.zeros((), device=device)

        def step(batch: int, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
            done = number + batch / batches
            return self.step(x, y, alpha(done), 1.0 if scale is None else scale(done), weight) * len(y)

        for cost in one_epoch(samples, step, batch_size=batch_size, generator=chance):
            total += cost
        self.model.project_()
        mean = float(total) / len(samples.y)
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
) -> Iterator[Epoch]:
    """Train ``model`` in place, yielding after each epoch.

    Args:
        model: the network to train.
        samples: dense rows and their classes.
        epochs: passes through the samples.
        alpha: function of the completed epochs (fractional) to α in [0, 1].
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
            scale=lambda done: _warm_up_and_cosine(done / epochs),
            augment=augment,
        )
        yield Epoch(number + 1, mean, seconds=time.perf_counter() - start)


def _warm_up_and_cosine(done: float) -> float:
    """The learning rate, as a share of its highest, after the share ``done`` of all steps."""
    if done < _WARM_UP:
        return 0.01 + 0.99 * done / _WARM_UP  # a step of length zero would change nothing
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
