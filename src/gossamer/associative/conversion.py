"""Weights with a unit of measurement, and the scaled ones of theory and solvers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from gossamer.associative.theory.sites import numbers
from gossamer.associative.theory.special import Floats
from gossamer.errors import check_count, check_fraction

__all__ = ["Conversion"]


@dataclass(frozen=True)
class Conversion:
    """J = w J̃, h = N w h̃, κ = w √N κ̃, δ = w δ̃: N inputs whose weights have the mean magnitude w.

    Args:
        n_inputs: N ≥ 1.
        mean_weight: w > 0, in the unit of J.

    Example:
        >>> from gossamer.associative.conversion import Conversion
        >>> unit = Conversion(100, mean_weight=1.0)
        >>> unit.scaled_robustness(10.0).item(), unit.robustness(0.5).item()
        (1.0, 5.0)
    """

    n_inputs: int
    mean_weight: float = 1.0

    def __post_init__(self) -> None:
        check_count("n_inputs", self.n_inputs, low=1)
        check_fraction("mean_weight", self.mean_weight, high=math.inf, open_low=True, open_high=True)

    def weights(self, scaled: ArrayLike) -> Floats:
        """Return J = w J̃."""
        return numbers("scaled", scaled, -math.inf, math.inf) * self.mean_weight

    def scaled_weights(self, weights: ArrayLike) -> Floats:
        """Return J̃ = J/w."""
        return numbers("weights", weights, -math.inf, math.inf) / self.mean_weight

    def threshold(self, scaled: ArrayLike) -> Floats:
        """Return h = N w h̃."""
        return numbers("scaled", scaled, -math.inf, math.inf) * (self.n_inputs * self.mean_weight)

    def scaled_threshold(self, threshold: ArrayLike) -> Floats:
        """Return h̃ = h/(N w)."""
        return numbers("threshold", threshold, -math.inf, math.inf) / (self.n_inputs * self.mean_weight)

    def robustness(self, scaled: ArrayLike) -> Floats:
        """Return κ = w √N κ̃."""
        return numbers("scaled", scaled, -math.inf, math.inf) * (math.sqrt(self.n_inputs) * self.mean_weight)

    def scaled_robustness(self, robustness: ArrayLike) -> Floats:
        """Return κ̃ = κ/(w √N)."""
        return numbers("robustness", robustness, -math.inf, math.inf) / (math.sqrt(self.n_inputs) * self.mean_weight)

    def gap(self, scaled: ArrayLike) -> Floats:
        """Return δ = w δ̃."""
        return numbers("scaled", scaled, 0, math.inf) * self.mean_weight

    def scaled_gap(self, gap: ArrayLike) -> Floats:
        """Return δ̃ = δ/w."""
        return numbers("gap", gap, 0, math.inf) / self.mean_weight
