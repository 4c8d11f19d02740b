"""Rewiring rules by the names under which they were published.

==============  ====================  ======================================  =======  =================================
name            drop                  grow                                    ζ        source
==============  ====================  ======================================  =======  =================================
SET             signed_magnitude      uniform                                 0.3      Mocanu et al. 2018
CoDASET         signed_magnitude      cosine                                  0.3      Pieterse & Mocanu 2019
CoPASET         signed_magnitude      cosine_proportional                     0.3      arXiv 1903.07138v1
CoRSET          magnitude_cosine      uniform                                 0.3      "
CoDACoRSET      magnitude_cosine      cosine                                  0.3      "
CoPACoRSET      magnitude_cosine      cosine_proportional                     0.3      "
CTRE_sim, CTRE  magnitude             cosine of "post", not what was removed  0.2      Atashgahi et al. 2022
CTRE_seq        magnitude             the same until progress stops, uniform  0.2      "
RigL            magnitude             gradient                                0.3      Evci et al. 2020
==============  ====================  ======================================  =======  =================================

The five cosine algorithms are SET with another drop, another grow, or both. New connections start at 0, but in CTRE
uniform on ±√(6 / n_in), where a connection that is dropped and grown in one step keeps its weight. CTRE_seq needs
``step(score=…)``. RigL lets ζ fall along `schedule.cosine` and steps every hundred batches or so, after ``backward()``.

Each name is a function that makes a `Rewire`: ``rewire = CoDACoRSET(net, optimizer, inputs=x)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
import torch.distributed as dist
from torch import nn

from gossamer.errors import check_choice
from gossamer.plasticity import drop, grow
from gossamer.plasticity.drop import Drop
from gossamer.plasticity.first_weights import NewWeights
from gossamer.plasticity.grow import Grow, Sequential
from gossamer.plasticity.inputs import Inputs
from gossamer.plasticity.layers import Where
from gossamer.plasticity.redistribute import Share
from gossamer.plasticity.rewire import Record, Regrown, Rewire
from gossamer.plasticity.schedule import Fraction

__all__ = [
    "CTRE",
    "PRESETS",
    "SET",
    "CTRE_seq",
    "CTRE_sim",
    "CoDACoRSET",
    "CoDASET",
    "CoPACoRSET",
    "CoPASET",
    "CoRSET",
    "Preset",
    "RigL",
    "RuleArguments",
    "preset",
]


class RuleArguments(TypedDict):
    """The arguments of `Rewire` that make a rule."""

    drop: Drop
    grow: Grow | Sequential
    new_weights: NewWeights
    regrown: Regrown


class RewireOptions(TypedDict, total=False):
    """The arguments of `Rewire` that a rule leaves open."""

    where: Where | None
    inputs: Inputs | None
    samples: int | None
    seed: int
    redistribute: Share | None
    reset_state: bool
    record: Record
    group: dist.ProcessGroup | None


@dataclass(frozen=True, repr=False)
class Preset:
    """A published rule; a call makes a `Rewire`.

    Attributes:
        name: of the rule.
        fraction: the fraction of connections that it moves in a step, as published.
        drop: from a fraction to the drop rule.
        grow: makes the grow rule.
        new_weights: first weights of new connections, as in `Rewire`.
        regrown: treatment of connections that are dropped and grown in one step, as in `Rewire`.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> rewire = gs.SET(net)
        >>> rewire
        Rewire(drop=signed_magnitude, grow=uniform, layers=[''], steps=0)
    """

    name: str
    fraction: float
    drop: Callable[[Fraction], Drop]
    grow: Callable[[], Grow | Sequential]
    new_weights: NewWeights = "zero"
    regrown: Regrown = "new"

    def __call__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        fraction: Fraction | None = None,
        **options: Unpack[RewireOptions],
    ) -> Rewire:
        """Make a `Rewire` of ``net`` by this rule; ``options`` are other arguments of `Rewire`."""
        return Rewire(net, optimizer, **self.arguments(fraction), **options)

    def arguments(self, fraction: Fraction | None = None) -> RuleArguments:
        """Return the arguments of `Rewire` that make this rule; ``fraction`` replaces the published one, if given."""
        return {
            "drop": self.drop(self.fraction if fraction is None else fraction),
            "grow": self.grow(),
            "new_weights": self.new_weights,
            "regrown": self.regrown,
        }

    def __repr__(self) -> str:
        return self.name


def _post_cosine() -> Grow:
    return grow.cosine("post")


def _post_cosine_elsewhere() -> Grow:
    return grow.cosine("post", exclude_removed=True)


def _post_cosine_at_first() -> Sequential:
    return grow.sequential(_post_cosine(), patience=40)


SET = Preset("SET", 0.3, drop.signed_magnitude, grow.uniform)
CoDASET = Preset("CoDASET", 0.3, drop.signed_magnitude, grow.cosine)
CoPASET = Preset("CoPASET", 0.3, drop.signed_magnitude, grow.cosine_proportional)
CoRSET = Preset("CoRSET", 0.3, drop.magnitude_cosine, grow.uniform)
CoDACoRSET = Preset("CoDACoRSET", 0.3, drop.magnitude_cosine, grow.cosine)
CoPACoRSET = Preset("CoPACoRSET", 0.3, drop.magnitude_cosine, grow.cosine_proportional)
CTRE = Preset("CTRE", 0.2, drop.magnitude, _post_cosine_elsewhere, "he", "keeps")
CTRE_sim = Preset("CTRE_sim", 0.2, drop.magnitude, _post_cosine_elsewhere, "he", "keeps")
CTRE_seq = Preset("CTRE_seq", 0.2, drop.magnitude, _post_cosine_at_first, "he", "keeps")
RigL = Preset("RigL", 0.3, drop.magnitude, grow.gradient)

PRESETS = {
    rule.name: rule for rule in (SET, CoDASET, CoPASET, CoRSET, CoDACoRSET, CoPACoRSET, CTRE, CTRE_sim, CTRE_seq, RigL)
}


def preset(name: str, fraction: Fraction | None = None) -> RuleArguments:
    """Return the arguments for `Rewire` that make a published rule.

    Args:
        name: one of `gossamer.plasticity.PRESETS`.
        fraction: another fraction of connections in [0, 1], or a schedule, instead of the published one.

    Returns:
        Keyword arguments of `Rewire`: drop, grow, new_weights and regrown.

    Raises:
        InputError: there is no such rule.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> gs.Rewire(net, **gs.plasticity.preset("SET")).steps
        0
    """
    return PRESETS[check_choice("name", name, tuple(PRESETS))].arguments(fraction)
