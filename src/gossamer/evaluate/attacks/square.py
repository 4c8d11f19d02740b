"""The Square attack: random search without gradients.

A candidate is accepted if it raises the margin max_{i≠y} z_i − z_y. It differs from the best perturbation δ so far in a
random window of share p of the pixels; p starts at 0.8 and is halved at certain shares of the queries.

==========  =====================================================  ==================================================
norm        start                                                  candidate
==========  =====================================================  ==================================================
``linf``    ±r on vertical stripes, by column and channel          ±r in the window, one sign for each channel
``l2``      a tiling of bumps with random signs, of length r       a bump added in the window, with the length that a
                                                                   second window, set to zero, and the ball leave it
==========  =====================================================  ==================================================

Images are (N, channels, height, width), of at least 3 × 3 pixels. In all other inputs features count as having no
neighbours: a window is a random group of them, the stripes have the width of one, and there is a sign for each. For
``l2`` their candidate is δ + r u s, brought to the length r, with random signs s on the group, together of length 1,
and u uniform in [0, 1].

References:
    Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box adversarial attack via random
    search", ECCV 2020, algorithms 1 to 3; p = 0.8 as in Croce, Hein, ICML 2020. The groups of features are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gossamer.errors import check_count, check_fraction
from gossamer.evaluate.attacks.attack import Attack, Found
from gossamer.evaluate.attacks.ball import Ball, per_sample
from gossamer.evaluate.attacks.objective import Loss, margin
from gossamer.evaluate.attacks.regions import Groups, Regions, Squares
from gossamer.evaluate.attacks.victim import Victim

__all__ = ["Square"]

_SMALLEST = 3  # pixels of an image's side
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # shares of the queries


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """The Square attack, a random search that sees the logits alone.

    A gradient-free attack that breaks more samples than one with gradients shows that the network hides its gradients.

    Args:
        radius: r ≥ 0, in the units of the input.
        norm: of the ball, ``"linf"`` or ``"l2"``.
        queries: candidates for each sample, ≥ 1.
        window: p in (0, 1], the first share of the pixels that a candidate changes.
        expectation: forward passes that are averaged; see `Attack`.
        stochastic: keep random layers active.
        straight_through: without effect, as there are no gradients.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> attack = gs.evaluate.attacks.Square(radius=0.1, queries=50)
        >>> box, g = gs.evaluate.attacks.Box(0, 1), torch.Generator().manual_seed(0)
        >>> attack(nn.Identity(), torch.tensor([[0.6, 0.5]]), torch.tensor([0]), box=box, generator=g)
        tensor([[0.5000, 0.6000]])

    References:
        Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box adversarial attack via
        random search", ECCV 2020.
    """

    queries: int = 1000
    window: float = 0.8

    name: ClassVar[str] = "square"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("queries", self.queries, low=1)
        check_fraction("window", self.window, open_low=True)

    @property
    def objective(self) -> Loss:
        """The loss that the attack maximizes."""
        return "margin"

    def _search(
        self, victim: Victim, ball: Ball, y: Tensor, found: Found, generator: torch.Generator, stop: bool
    ) -> None:
        image = ball.x.dim() == 4 and min(ball.x.shape[2:]) >= _SMALLEST
        regions: Regions = (Squares if image else Groups)(generator)
        found.test(victim, found.left(stop=False), ball.x, y, "margin")
        index = found.left(stop)
        if len(index) == 0:
            return
        ball, y = ball[index], y[index]
        z = ball.project(ball.x + self._start(ball, regions))
        best, broken = self._score(victim, found, index, z, y)
        for query in range(1, self.queries):
            if stop and bool(broken.any()):
                kept = ~broken
                index, ball, y, z, best = index[kept], ball[kept], y[kept], z[kept], best[kept]
                if len(index) == 0:
                    return
            share = self.window / 2 ** sum(query > part * self.queries for part in _HALVINGS)
            candidate = self._candidate(ball, z - ball.x, regions, share)
            score, broken = self._score(victim, found, index, candidate, y)
            better = score > best
            z, best = torch.where(per_sample(better, z), candidate, z), torch.where(better, score, best)

    @staticmethod
    def _score(victim: Victim, found: Found, index: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = victim.logits(z)
        score = margin(logits, y)
        return score, found.offer(index, z, logits, y, score)

    def _start(self, ball: Ball, regions: Regions) -> Tensor:
        if self.norm == "linf":
            return self.radius * regions.stripes(ball.x)
        return self.radius * ball.direction(regions.tiling(ball.x))

    def _candidate(self, ball: Ball, delta: Tensor, regions: Regions, share: float) -> Tensor:
        if self.norm == "linf":
            inside = regions.draw(delta, share)[0]
            return ball.project(ball.x + torch.where(inside, self.radius * regions.signs(delta), delta))
        return ball.project(ball.x + self.radius * ball.direction(regions.shift(delta, share, self.radius)))
