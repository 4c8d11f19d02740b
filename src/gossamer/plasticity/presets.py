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

The five cosine algorithms are SET with another drop, another grow, or both. New links start at 0, but in CTRE uniform
on ±√(6 / n_in), where a link that dies and is born in one step keeps its weight. CTRE_seq wants ``step(score=…)``. RigL
lets ζ fall along `schedule.cosine` and steps every hundred batches or so, after ``backward()``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from gossamer.errors import check_choice
from gossamer.plasticity import drop, grow
from gossamer.plasticity.drop import Drop
from gossamer.plasticity.grow import Grow, Sequential
from gossamer.plasticity.rewire import NewLinks, Regrown
from gossamer.plasticity.schedule import Fraction

__all__ = ["PRESETS", "Preset", "RuleArguments", "preset"]


class RuleArguments(TypedDict):
    """The arguments of `Rewire` that make a rule."""

    drop: Drop
    grow: Grow | Sequential
    new_links: NewLinks
    regrown: Regrown


@dataclass(frozen=True)
class Preset:
    """A published rule, and the fraction of links that it moved."""

    fraction: float
    drop: Callable[[Fraction], Drop]
    grow: Callable[[], Grow | Sequential]
    new_links: NewLinks = "zero"
    regrown: Regrown = "new"


def _post_cosine() -> Grow:
    return grow.cosine("post")


def _post_cosine_elsewhere() -> Grow:
    return grow.cosine("post", exclude_removed=True)


def _post_cosine_at_first() -> Sequential:
    return grow.sequential(_post_cosine(), patience=40)


PRESETS = {
    "SET": Preset(0.3, drop.signed_magnitude, grow.uniform),
    "CoDASET": Preset(0.3, drop.signed_magnitude, grow.cosine),
    "CoPASET": Preset(0.3, drop.signed_magnitude, grow.cosine_proportional),
    "CoRSET": Preset(0.3, drop.magnitude_cosine, grow.uniform),
    "CoDACoRSET": Preset(0.3, drop.magnitude_cosine, grow.cosine),
    "CoPACoRSET": Preset(0.3, drop.magnitude_cosine, grow.cosine_proportional),
    "CTRE": Preset(0.2, drop.magnitude, _post_cosine_elsewhere, "he", "keeps"),
    "CTRE_sim": Preset(0.2, drop.magnitude, _post_cosine_elsewhere, "he", "keeps"),
    "CTRE_seq": Preset(0.2, drop.magnitude, _post_cosine_at_first, "he", "keeps"),
    "RigL": Preset(0.3, drop.magnitude, grow.gradient),
}


def preset(name: str, fraction: Fraction | None = None) -> RuleArguments:
    """Arguments for `Rewire`: ``Rewire(net, optimizer, **preset("CoDACoRSET"), inputs=x)``.

    ``fraction``: another share of links to move, or a schedule, instead of the published one.
    """
    rule = PRESETS[check_choice("name", name, tuple(PRESETS))]
    return {
        "drop": rule.drop(rule.fraction if fraction is None else fraction),
        "grow": rule.grow(),
        "new_links": rule.new_links,
        "regrown": rule.regrown,
    }
