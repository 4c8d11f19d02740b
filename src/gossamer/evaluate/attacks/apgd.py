"""Auto-PGD: projected gradient ascent with momentum, which halves its step where it stalls.

For each sample, with z_0 random on the surface of the ball and η_0 = 2 r,

    u       = P(z_k + η d(∇L(z_k)))
    z_{k+1} = P(z_k + α (u − z_k) + (1 − α) (z_k − z_{k−1})),   α = 0.75, and 1 in the first step

P and d as in `gossamer.evaluate.attacks.pgd`. At the checkpoints w_j = ⌈p_j N⌉ of N steps, with p_0 = 0, p_1 = 0.22 and
p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06), η is halved and the search goes back to the best point so far if

1.  L increased in fewer than ρ = 75 % of the steps since the last checkpoint, or
2.  neither η nor the largest L has changed since the last checkpoint.

References:
    Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    ICML 2020, algorithm 1 and section 3.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossamer.errors import check_choice, check_count
from gossamer.evaluate.attacks.attack import Attack, Found
from gossamer.evaluate.attacks.ball import Ball, per_sample
from gossamer.evaluate.attacks.objective import LOSSES, Loss
from gossamer.evaluate.attacks.victim import Victim

__all__ = ["APGD", "checkpoints"]

_MOMENTUM, _RHO = 0.75, 0.75  # α and ρ


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD, an attack without a step size to choose.

        z_{k+1} = P(z_k + α (u − z_k) + (1 − α) (z_k − z_{k−1})),   u = P(z_k + η d(∇L(z_k)))

    η starts at 2 r and is halved where L stalls; see this page. APGD-CE maximizes the cross-entropy, APGD-DLR the
    difference of logits ratio, which does not change with the scale of the logits. APGD-T (``targeted``) is run once
    for each of the most likely wrong classes, and aims at that class. With 2 classes, and with 3 for a target, DLR is
    not defined, and its place is taken by the margin of the logits.

    Args:
        radius: r ≥ 0, in the units of the input.
        norm: of the ball, ``"linf"`` or ``"l2"``.
        steps: N ≥ 1.
        restarts: random starts, for each target, ≥ 1.
        loss: L, ``"ce"``, ``"dlr"`` or ``"margin"``.
        targeted: aim at wrong classes, one after the other.
        targets: number of them, at most; all for fewer classes.
        expectation: forward passes that are averaged; see `Attack`.
        stochastic: keep random layers active.
        straight_through: take derivative 1 for hard gates.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> attack = gs.evaluate.attacks.APGD(radius=0.1, steps=10)
        >>> box, g = gs.evaluate.attacks.Box(0, 1), torch.Generator().manual_seed(0)
        >>> attack(nn.Identity(), torch.tensor([[0.6, 0.5]]), torch.tensor([0]), box=box, generator=g)
        tensor([[0.5000, 0.6000]])

    References:
        Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
        ICML 2020 (algorithm 1; section 4 for DLR and the targets).
    """

    steps: int = 100
    restarts: int = 1
    loss: Loss = "ce"
    targeted: bool = False
    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "restarts", "targets"):
            check_count(name, getattr(self, name), low=1)
        check_choice("loss", self.loss, LOSSES)

    name: ClassVar[str] = "apgd"

    @property
    def objective(self) -> Loss:
        """The loss that the attack maximizes."""
        return self.loss

    def _search(
        self, victim: Victim, ball: Ball, y: Tensor, found: Found, generator: torch.Generator, stop: bool
    ) -> None:
        every = found.left(stop=False)
        logits = victim.logits(ball.x)
        if not self.targeted:
            found.test(victim, every, ball.x, y, self.loss)
            aims: list[Tensor | None] = [None]
        else:
            found.offer(every, ball.x, logits, y)
            likely = logits.scatter(1, y.unsqueeze(1), -torch.inf).argsort(1, descending=True)
            aims = [likely[:, i] for i in range(min(self.targets, logits.shape[1] - 1))]
        for aim in aims:
            for _ in range(self.restarts):
                index = found.left(stop)
                if len(index) == 0:
                    return
                target = None if aim is None else aim[index]
                self._ascend(victim, ball[index], y[index], target, index, found, generator, stop)

    def _ascend(
        self,
        victim: Victim,
        ball: Ball,
        y: Tensor,
        target: Tensor | None,
        index: Tensor,
        found: Found,
        generator: torch.Generator,
        stop: bool,
    ) -> None:
        """One run for the samples ``index``, of which ``ball``, ``y`` and ``target`` are."""
        z = ball.start(generator, sphere=True)
        loss, gradient, logits = victim.ascend(z, y, self.loss, target)
        broken = found.offer(index, z, logits, y, None if self.targeted else loss)
        run = _Run(index, y, target, z, z, gradient, loss, torch.full_like(loss, 2 * self.radius))
        due, last = checkpoints(self.steps), 0
        for k in range(1, self.steps + 1):
            if stop and bool(broken.any()):
                run, ball = run[~broken], ball[~broken]
                if len(ball) == 0:
                    return
            z = ball.project(run.z + per_sample(run.step, run.z) * ball.direction(run.gradient))
            if k > 1:
                z = ball.project(run.z + _MOMENTUM * (z - run.z) + (1 - _MOMENTUM) * (run.z - run.before))
            loss, gradient, logits = victim.ascend(z, run.y, self.loss, run.target)
            broken = found.offer(run.index, z, logits, run.y, None if self.targeted else loss)
            run.advance(z, gradient, loss)
            if k in due:
                run.check(k - last)
                last = k


class _Run:
    """The state of Auto-PGD for each sample under attack."""

    def __init__(
        self,
        index: Tensor,
        y: Tensor,
        target: Tensor | None,
        z: Tensor,
        before: Tensor,
        gradient: Tensor,
        loss: Tensor,
        step: Tensor,
    ) -> None:
        self.index, self.y, self.target = index, y, target
        self.z, self.before, self.gradient, self.loss, self.step = z, before, gradient, loss, step
        self.best, self.best_gradient, self.best_loss = z.clone(), gradient.clone(), loss.clone()
        self.rises = torch.zeros_like(loss)  # since the last checkpoint
        self.checked_loss = loss.clone()  # the largest at the last checkpoint
        self.halved = torch.zeros_like(loss, dtype=torch.bool)  # at the last checkpoint

    def __getitem__(self, kept: Tensor) -> _Run:
        """Some of the samples."""
        part = copy(self)
        for name, value in vars(self).items():
            if value is not None:
                setattr(part, name, value[kept])
        return part

    def advance(self, z: Tensor, gradient: Tensor, loss: Tensor) -> None:
        """Move to ``z``."""
        self.rises += loss > self.loss
        self.before, self.z, self.gradient, self.loss = self.z, z, gradient, loss
        better = loss > self.best_loss
        self.best[better], self.best_gradient[better] = z[better], gradient[better]
        self.best_loss[better] = loss[better]

    def check(self, steps: int) -> None:
        """Halve the step of the samples that stalled in the last ``steps`` steps, and put them back to their best."""
        stalled = ~self.halved & (self.checked_loss >= self.best_loss)
        self.halved = (self.rises < _RHO * steps) | stalled
        self.step[self.halved] /= 2
        back = per_sample(self.halved, self.z)
        self.z = torch.where(back, self.best, self.z)
        self.gradient = torch.where(back, self.best_gradient, self.gradient)
        self.checked_loss = self.best_loss.clone()
        self.rises = torch.zeros_like(self.rises)


def checkpoints(steps: int) -> set[int]:
    """w_1, w_2, … ≤ ``steps``, the numbers of steps after which the step size is checked.

    Example:
        >>> from gossamer.evaluate.attacks.apgd import checkpoints
        >>> sorted(checkpoints(100))
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    before, p, found = 0, 22, set[int]()  # in percent, which is exact
    while p <= 100:
        found.add(-(-p * steps // 100))
        before, p = p, p + max(p - before - 3, 6)
    return found
