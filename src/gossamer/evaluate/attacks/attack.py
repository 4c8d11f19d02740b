"""The base of all attacks: their fields and the call."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from torch import Tensor, nn

from gossamer.errors import check_choice, check_count, check_fraction
from gossamer.evaluate.attacks.ball import NORMS, Ball, Norm
from gossamer.evaluate.attacks.box import Box
from gossamer.evaluate.attacks.objective import Loss, margin, objective
from gossamer.evaluate.attacks.victim import Victim, attacked, check_classes, check_samples

__all__ = ["Attack", "Found"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base class of attacks: a search for an input in the ball around a sample that a network misclassifies.

    Args:
        radius: r ≥ 0, in the units of the input.
        norm: of the ball, ``"linf"`` (the largest change of a feature) or ``"l2"`` (the length of the change).
        expectation: forward passes over which loss, gradient and logits are averaged, ≥ 1; more than one is of use for
            a network with random layers only.
        stochastic: keep dropout and noise (`torch.nn.Dropout`, `Sparseout`, …) active. Everything else is in evaluation
            mode.
        straight_through: take derivative 1 for hard gates; see `straight_through`.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> attack = gs.evaluate.attacks.parse("pgd:steps=20", norm="l2", radius=0.5)
        >>> isinstance(attack, gs.evaluate.attacks.Attack), attack.objective
        (True, 'ce')
    """

    radius: float
    norm: Norm = "linf"
    expectation: int = 1
    stochastic: bool = False
    straight_through: bool = False

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_fraction("radius", self.radius, high=math.inf, open_high=True)
        check_choice("norm", self.norm, NORMS)
        check_count("expectation", self.expectation, low=1)

    @property
    def objective(self) -> Loss:
        """The loss that the attack maximizes, as in the table of `gossamer.evaluate.attacks.objective`."""
        return "ce"

    def __call__(self, network: nn.Module, x: Tensor, y: Tensor, *, box: Box, generator: torch.Generator) -> Tensor:
        """Find adversarial inputs.

        Of all inputs that the attack tries, and the sample itself, the result is one that is misclassified, if there is
        any, and among those the one with the largest loss. Training modes, gradients, ``requires_grad`` and
        generators of the network are as before. All samples are one batch; `evaluate` divides them.

        Args:
            network: returns logits (N, classes) for ``x``, of at least 2 classes.
            x: samples (N, …), float32 or float64, finite.
            y: class numbers (N).
            box: range of the inputs.
            generator: source of all random choices.

        Returns:
            Inputs of the shape, dtype and device of ``x``, within the radius and the box up to rounding; ``x`` itself
            for the radius 0.

        Raises:
            InputError: an argument is invalid, or the network returns something else than finite logits.
        """
        x, y = check_samples(x, y)
        with self.prepare(network, x, generator) as victim:
            logits = victim.logits(x)
            check_classes(logits, y)
            return self.search(victim, x, y, box, generator, stop=False)

    def prepare(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> AbstractContextManager[Victim]:
        """Prepare a network for the attack, by its fields.

        Args:
            network: returns logits (N, classes) for ``x``.
            x: samples (N, …).
            generator: source of the seeds of random layers.

        Returns:
            A context manager that yields the prepared network, and afterwards restores it.
        """
        return attacked(
            network,
            x,
            generator,
            expectation=self.expectation,
            stochastic=self.stochastic,
            straight_through=self.straight_through,
        )

    def search(
        self, victim: Victim, x: Tensor, y: Tensor, box: Box, generator: torch.Generator, *, stop: bool
    ) -> Tensor:
        """Find adversarial inputs, as a call does, for samples that are checked and a network that is prepared.

        Args:
            victim: the prepared network.
            x: samples (N, …).
            y: class numbers (N).
            box: range of the inputs.
            generator: source of all random choices.
            stop: leave a sample alone once it is misclassified.

        Returns:
            Inputs of the shape of ``x``.
        """
        if self.radius == 0:
            return x.clone()
        found = Found(x)
        self._search(victim, Ball.of(x, self.norm, self.radius, box), y, found, generator, stop)
        return found.adversarial

    @abstractmethod
    def _search(
        self, victim: Victim, ball: Ball, y: Tensor, found: Found, generator: torch.Generator, stop: bool
    ) -> None: ...


class Found:
    """The best input that an attack has seen for each sample: a misclassified one, then one with a larger loss."""

    def __init__(self, x: Tensor) -> None:
        self.adversarial = x.clone()
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._score = torch.full((len(x),), -math.inf, dtype=x.dtype, device=x.device)

    def offer(self, index: Tensor, z: Tensor, logits: Tensor, y: Tensor, loss: Tensor | None = None) -> Tensor:
        """Keep better points than before for the samples ``index``; returns which of ``z`` are misclassified.

        Compared by ``loss``, or by the margin for losses that depend on a target.
        """
        broken = logits.argmax(1) != y
        score = (margin(logits, y) if loss is None else loss).to(self._score)
        before = self.broken[index]
        better = (broken & ~before) | ((broken == before) & (score > self._score[index]))
        chosen = index[better]
        self.adversarial[chosen], self._score[chosen], self.broken[chosen] = z[better], score[better], broken[better]
        return broken

    def test(self, victim: Victim, index: Tensor, z: Tensor, y: Tensor, loss: Loss) -> None:
        """Offer inputs at which no gradient is needed."""
        logits = victim.logits(z)
        self.offer(index, z, logits, y, objective(loss, logits, y))

    def left(self, stop: bool) -> Tensor:
        """The samples that are still to be attacked: all, or with ``stop`` those that are classified correctly."""
        every = torch.arange(len(self.broken), device=self.broken.device)
        return every[~self.broken] if stop else every
