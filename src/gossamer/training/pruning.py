"""Pruning while a network is trained: the rule by its name, and when its steps are due."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gossamer.errors import InputError, check_fraction
from gossamer.plasticity import GradualMagnitudePruning, Rewire, drop, grow, schedule
from gossamer.plasticity.carry import LayerChange

__all__ = ["Pruning", "read_prune"]

_EVENTS = 10  # in an epoch, at most
_KEPT = _FLIPPED = 0.02  # of the weak connections: Baig & Stepanyants 2024, supplement, equation 47
_USAGE = "gap:WIDTH, magnitude:DENSITY or gradual:DENSITY"


def read_prune(string: str) -> tuple[str, float]:
    """Read a pruning rule and its number from a string.

    Args:
        string: ``"gap:δ"`` with δ > 0; ``"magnitude:d"`` or ``"gradual:d"`` with a density d in (0, 1).

    Raises:
        InputError: anything else.

    Example:
        >>> from gossamer.training.pruning import read_prune
        >>> read_prune("gradual:0.05")
        ('gradual', 0.05)
    """
    rule, colon, argument = str(string).strip().lower().partition(":")
    try:
        number = float(argument)
    except ValueError:
        number = math.nan
    if not colon or rule not in ("gap", "magnitude", "gradual") or math.isnan(number):
        raise InputError(f"prune must be {_USAGE}, got {string!r}")
    high, name = (math.inf, "width") if rule == "gap" else (1.0, "density")
    try:
        check_fraction(name, number, high=high, open_low=True, open_high=True)
    except InputError as error:
        raise InputError(f"prune {string!r}: {error}") from None
    return rule, number


class Pruning:
    """The connections of a network become fewer while it is trained, and its storage shrinks.

    ====================  ============================================================================================
    ``gap:δ``             connections with |w| below the gap are eliminated, 2 % of them are moved to its edge and 2 %
                          to the opposite one (`gossamer.drop.gap`). The gap opens from 0 to δ by equal steps within 3/4
                          of training and stays. The density is what training makes of it
    ``gradual:d``         the weakest connections of all layers together are removed along a cubic curve
                          (`gossamer.GradualMagnitudePruning`) until density d after 3/4 of training
    ``magnitude:d``       they are removed at once after half of training
    ====================  ============================================================================================

    Args:
        string: the rule, as above.
        net: the network; its sparse layers are pruned.
        optimizer: trains ``net``; its state follows.
        epochs: of training, ≥ 1.
        steps: in an epoch, ≥ 1; the rules gap and gradual act ten times in an epoch, or after each step.
        seed: of the moves over the gap, ≥ 0.

    Raises:
        InputError: ``string`` is no rule, or ``net`` has no sparse layer.

    Example:
        >>> net = gs.SparseLinear(100, 50, density=0.5)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> pruning = gs.training.Pruning("magnitude:0.1", net, optimizer, epochs=2, steps=10, seed=0)
        >>> pruning.over(9), [change.layer for change in pruning.after_step(10)], net.density
        (False, [''], 0.1)
    """

    def __init__(
        self, string: str, net: nn.Module, optimizer: torch.optim.Optimizer, *, epochs: int, steps: int, seed: int
    ) -> None:
        self.rule, number = read_prune(string)
        self.total = epochs * steps
        self.interval = max(1, steps // _EVENTS)
        until = max(1, 3 * self.total // (4 * self.interval))  # events
        self._last = until * self.interval
        if self.rule == "gap":
            opening = _Opening(number, until)
            weak = drop.gap(opening, kept=_KEPT, flipped=_FLIPPED)
            self._inner: Rewire | GradualMagnitudePruning = Rewire(net, optimizer, weak, grow.none(), seed=seed)
        else:
            if self.rule == "magnitude":
                until, self._last = 1, max(1, self.total // 2)
            self._inner = GradualMagnitudePruning(net, optimizer, density=number, steps=until, scope="net")

    def after_step(self, done: int) -> list[LayerChange]:
        """Prune if it is time to.

        Args:
            done: number of training steps so far.

        Returns:
            The changes, one for each layer; none if it was not time to prune.
        """
        last = done == self.total
        if self.rule == "magnitude":
            due = done == self._last
        elif self.rule == "gradual":
            due = done % self.interval == 0 and done <= self._last
        else:
            due = done % self.interval == 0 or last
        return self._inner.step() if due else []

    def over(self, done: int) -> bool:
        """Return whether the density that was asked for, or the whole gap, has been reached.

        Args:
            done: number of training steps so far.

        Returns:
            True or False.
        """
        return done >= min(self._last, self.total)

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            The state, besides network and optimizer.
        """
        return self._inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; load network and optimizer too.

        Args:
            state: the result of `state_dict`.
        """
        self._inner.load_state_dict(state)


class _Opening:
    """The width of a gap that opens by equal steps, whatever its size; `schedule.linear` ends at 1 at most."""

    def __init__(self, width: float, steps: int) -> None:
        self.width, self.share = width, schedule.linear(0.0, steps, end=1.0)

    def __call__(self, step: int) -> float:
        return self.width * self.share(step)
