"""The fast gradient sign method and projected gradient descent.

    FGSM   z = P(x + r d(∇L(x)))
    PGD    z_{k+1} = P(z_k + η d(∇L(z_k))),   z_0 random in the ball

L is the cross-entropy of the true class, P the nearest point of the ball cut by the box, and d(g) the steepest
direction of length 1: sign(g) for the maximum norm, g / ‖g‖₂ for the Euclidean norm.

References:
    Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015, section 4.
    Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial attacks", ICLR 2018,
    section 2.1 and 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossamer.errors import check_choice, check_count, check_fraction
from gossamer.evaluate.attacks.attack import Attack, Found
from gossamer.evaluate.attacks.ball import Ball
from gossamer.evaluate.attacks.objective import LOSSES, Loss
from gossamer.evaluate.attacks.victim import Victim

__all__ = ["FGSM", "PGD"]


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """The fast gradient sign method: one step of the whole radius.

        z = P(x + r sign(∇L(x)))     norm="linf";     z = P(x + r ∇L(x) / ‖∇L(x)‖₂)     norm="l2"

    The result is ``x`` itself where this step does not raise the loss L, the cross-entropy. Never report this attack
    alone: it finds all adversarial examples of a linear network, and a part of those of others.

    Args:
        radius: r ≥ 0, in the units of the input.
        norm: of the ball, ``"linf"`` or ``"l2"``.
        expectation: forward passes that are averaged; see `Attack`.
        stochastic: keep random layers active.
        straight_through: take derivative 1 for hard gates.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> attack = gs.evaluate.attacks.FGSM(radius=0.1)
        >>> box, g = gs.evaluate.attacks.Box(0, 1), torch.Generator().manual_seed(0)
        >>> attack(nn.Identity(), torch.tensor([[0.6, 0.5]]), torch.tensor([0]), box=box, generator=g)
        tensor([[0.5000, 0.6000]])

    References:
        Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015, section 4.
    """

    name: ClassVar[str] = "fgsm"

    def _search(
        self, victim: Victim, ball: Ball, y: Tensor, found: Found, generator: torch.Generator, stop: bool
    ) -> None:
        every = found.left(stop=False)
        loss, gradient, logits = victim.ascend(ball.x, y, self.objective)
        found.offer(every, ball.x, logits, y, loss)
        z = ball.project(ball.x + self.radius * ball.direction(gradient))
        found.test(victim, every, z, y, self.objective)


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Projected gradient descent from random starts, with a constant step.

        z_{k+1} = P(z_k + η d(∇L(z_k))),   d(g) = sign(g) or g / ‖g‖₂,   η = 2.5 r / steps

    Args:
        radius: r ≥ 0, in the units of the input.
        norm: of the ball, ``"linf"`` or ``"l2"``.
        steps: ≥ 1. Results with fewer than 100 say little.
        restarts: random starts, ≥ 1.
        step_size: η > 0, in the units of the input (default: 2.5 r / steps, so that every point of the ball is within
            reach).
        loss: L, ``"ce"``, ``"dlr"`` or ``"margin"``.
        expectation: forward passes that are averaged; see `Attack`.
        stochastic: keep random layers active.
        straight_through: take derivative 1 for hard gates.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> attack = gs.evaluate.attacks.PGD(radius=0.2, steps=20, restarts=1)
        >>> box, g = gs.evaluate.attacks.Box(0, 1), torch.Generator().manual_seed(0)
        >>> attack(nn.Identity(), torch.tensor([[0.6, 0.5]]), torch.tensor([0]), box=box, generator=g)
        tensor([[0.4000, 0.7000]])

    References:
        Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial attacks", ICLR
        2018 (the step of 2.5 r / steps in its section 5).
    """

    steps: int = 100
    restarts: int = 3
    step_size: float | None = None
    loss: Loss = "ce"

    name: ClassVar[str] = "pgd"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps, low=1)
        check_count("restarts", self.restarts, low=1)
        check_choice("loss", self.loss, LOSSES)
        if self.step_size is not None:
            check_fraction("step_size", self.step_size, high=math.inf, open_low=True, open_high=True)

    @property
    def objective(self) -> Loss:
        """The loss that the attack maximizes."""
        return self.loss

    def _search(
        self, victim: Victim, ball: Ball, y: Tensor, found: Found, generator: torch.Generator, stop: bool
    ) -> None:
        step = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size
        found.test(victim, found.left(stop=False), ball.x, y, self.loss)
        for _ in range(self.restarts):
            index = found.left(stop)
            if len(index) == 0:
                return
            here, labels = ball[index], y[index]
            z = here.start(generator)
            for _ in range(self.steps):
                loss, gradient, logits = victim.ascend(z, labels, self.loss)
                broken = found.offer(index, z, logits, labels, loss)
                z = here.project(z + step * here.direction(gradient))
                if stop and bool(broken.any()):
                    kept = ~broken
                    index, here, labels, z = index[kept], here[kept], labels[kept], z[kept]
                if len(index) == 0:
                    break
            else:
                found.test(victim, index, z, labels, self.loss)
