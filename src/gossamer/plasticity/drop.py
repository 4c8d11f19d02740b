"""Which connections a rewiring step removes.

A rule gives every connection an importance I, and a way to pick:

*of each sign*   of the positive I the ⌊ζ n₊⌋ smallest, of the negative I the ⌊ζ n₋⌋ nearest zero, and all exact zeros;
*smallest*       the ⌊ζ n⌋ smallest I.

ζ is the ``fraction``: a number in [0, 1] or a schedule, a function from the step 0, 1, … to one. Of equal I the lowest
flat index, out · n_in + in, goes first.

====================  ===================  ============  =============================================================
rule                  importance I         pick          source
====================  ===================  ============  =============================================================
`signed_magnitude`    W                    of each sign  SET, Mocanu et al. 2018
`magnitude_cosine`    W C, C the cosine    of each sign  CoRSET and relatives, Pieterse & Mocanu, arXiv 1903.07138v1
`magnitude`           |W|                  smallest      RigL, Evci et al. 2020; CTRE, Atashgahi et al. 2022
`sensitivity`         |W ∂L/∂W|            smallest      first-order change of the loss (as SNIP, Lee et al. 2019)
`gap`                 |W|                  I < width     weak connections of Baig & Stepanyants 2024
`random`, `largest`   –, −|W|              smallest      controls: what selection by magnitude is to be compared with
====================  ===================  ============  =============================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gossamer.errors import InputError, check_fraction
from gossamer.plasticity.evidence import Evidence, Statistic
from gossamer.plasticity.flat_indices import share, smallest, smallest_of_each_sign
from gossamer.plasticity.schedule import Fraction, fraction_at
from gossamer.plasticity.similarity import Activation, Cosine

__all__ = ["Drop", "gap", "largest", "magnitude", "magnitude_cosine", "random", "sensitivity", "signed_magnitude"]

Pick = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Drop:
    """A rule of removal: ``pick(importance(evidence), fraction)`` is True for the connections to remove."""

    name: str
    fraction: Fraction
    importance: Callable[[Evidence], Tensor]
    pick: Pick
    needs: tuple[Statistic, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.fraction):
            check_fraction("fraction", self.fraction)

    def __call__(self, evidence: Evidence, step: int) -> Tensor:
        """(nnz) bool: the connections to remove."""
        importance = self.importance(evidence)
        if bool(importance.isnan().any()):
            raise InputError(f"{self.name} of layer {evidence.name!r} must be numbers, got NaN")
        return self.pick(importance, fraction_at(self.fraction, step))


def _smallest_share(importance: Tensor, fraction: float) -> Tensor:
    return smallest(importance, share(fraction, importance.numel()))


def _weight(e: Evidence) -> Tensor:
    return e.values


def _magnitude(e: Evidence) -> Tensor:
    return e.values.abs()


def _weight_times_cosine(e: Evidence, statistic: Cosine) -> Tensor:
    return e.values * e.statistics[statistic].connections(e.structure)


def _minus_magnitude(e: Evidence) -> Tensor:
    return -e.values.abs()


def _sensitivity(e: Evidence) -> Tensor:
    return (e.values * e.gradient).abs_()


def _chance(e: Evidence) -> Tensor:
    return torch.rand(e.values.shape, generator=e.generator, dtype=torch.float64).to(e.values.device)


def _weakness(e: Evidence, spared: float) -> Tensor:
    magnitude = e.values.abs()
    if spared:
        magnitude[_chance(e) < spared] = math.inf
    return magnitude


def _below(importance: Tensor, fraction: float, width: float) -> Tensor:
    return importance < width


def signed_magnitude(fraction: Fraction) -> Drop:
    """SET: of the positive and of the negative weights the share ``fraction`` nearest zero, and all exact zeros."""
    return Drop("signed_magnitude", fraction, _weight, smallest_of_each_sign)


def magnitude_cosine(fraction: Fraction, activation: Activation = "pre", *, absolute: bool = True) -> Drop:
    """CoR: as `signed_magnitude`, by weight · C: a connection goes if it is weak or if its two units respond unlike.

    C in [0, 1] is measured on the connections only; see `similarity` for it and for ``activation``.
    """
    statistic = Cosine(activation, absolute)
    importance = partial(_weight_times_cosine, statistic=statistic)
    return Drop("magnitude_cosine", fraction, importance, smallest_of_each_sign, (statistic,))


def magnitude(fraction: Fraction) -> Drop:
    """The share ``fraction`` of all connections with the smallest |weight|."""
    return Drop("magnitude", fraction, _magnitude, _smallest_share)


def sensitivity(fraction: Fraction) -> Drop:
    """The share ``fraction`` with the smallest |weight · gradient|, the first-order change of the loss if a connection
    goes.

    Reads ``values.grad``: step between ``backward()`` and ``zero_grad()``."""
    return Drop("sensitivity", fraction, _sensitivity, _smallest_share)


def gap(width: float, spared: float = 0.0) -> Drop:
    """Every connection with |weight| < ``width``, so that live weights keep a gap around zero.

    Each weak connection is spared with probability ``spared``. (The online rule of Baig & Stepanyants 2024 spares 4 %
    and moves them to ±width; a drop rule leaves survivors as they are.)
    """
    if not width >= 0:
        raise InputError(f"width must be at least 0, got {width!r}")
    importance = partial(_weakness, spared=check_fraction("spared", spared))
    return Drop("gap", 1.0, importance, partial(_below, width=width))


def random(fraction: Fraction) -> Drop:
    """A control: the share ``fraction``, chosen at random."""
    return Drop("random", fraction, _chance, _smallest_share)


def largest(fraction: Fraction) -> Drop:
    """A control: the share ``fraction`` with the largest |weight|."""
    return Drop("largest", fraction, _minus_magnitude, _smallest_share)
