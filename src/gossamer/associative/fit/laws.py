"""Laws of measured weights by the theory: tables of order parameters over the constraint's parameters, and densities.

At capacity a weight with sign s is s b/ρ for b ~ N(c_s, 1), b > cut, and s δ̃ with the probability of the second peak
(`gossamer.associative.theory.distribution`). A measurement adds N(0, τ²) to the strength of a connection and keeps its
sign, so that |J̃| = r has the density, with v = 1/ρ² and f folded to r > 0,

    f(r) = N(r; c/ρ, v + τ²) Φ((μ − cut/ρ)/ς) + peak N(r; δ̃, τ²),  μ = (r v + τ² c/ρ)/(v + τ²),  ς² = v τ²/(v + τ²)

c_s, ρ, cut and the peak are smooth functions of κ̃ and of the constraint's strength; they are interpolated by splines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.special import ndtr

from gossamer.associative.theory import Solution, capacity
from gossamer.associative.theory.special import E, upper_tail

__all__ = ["CONSTRAINTS", "Law", "LawTable", "Model"]

Floats = NDArray[np.float64]

CONSTRAINTS = ("l1", "l0", "gap")
"""Beside the l1 norm, which every constraint has."""

_LEAST = 1e-300


@dataclass(frozen=True)
class Model:
    """The circuit, as far as it isn't fitted: scalars of `gossamer.associative.theory.capacity`."""

    threshold: float
    f_in: float
    f_out: float
    inhibitory: float | None

    @property
    def arguments(self) -> dict[str, Any]:
        """As keywords of `capacity`."""
        return {
            "threshold": self.threshold,
            "f_in": self.f_in,
            "f_out": self.f_out,
            "inhibitory": self.inhibitory,
        }


@dataclass(frozen=True, eq=False)
class Law:
    """The law of J̃ for inputs of both signs, index 0 for s = +1 and 1 for s = −1.

    ``connected`` is P(J̃ ≠ 0 with sign s) and ``mean`` E|J̃| of that part; for free signs the parts add up, with signs
    each is the law of the inputs that have it.
    """

    center: Floats
    rate: float
    cut: float
    gap: float
    peak: Floats

    @property
    def connected(self) -> Floats:
        """P(b > cut) + peak, (2,)."""
        result: Floats = upper_tail(self.cut - self.center) + self.peak
        return result

    @property
    def mean(self) -> Floats:
        """E|J̃|, (2,)."""
        t = self.cut - self.center
        bell = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        result: Floats = (bell + self.center * upper_tail(t)) / self.rate + self.gap * self.peak
        return result

    def density(self, r: Floats, side: NDArray[np.int64], noise: float) -> Floats:
        """f(r) of measured strengths ``r`` > 0 with the sign of ``side``; ``noise`` is τ, in units of J̃."""
        m, v = self.center[side] / self.rate, 1 / self.rate**2
        total, least = v + noise**2, self.cut / self.rate
        spread = math.sqrt(v / total) * noise
        result: Floats = np.zeros(len(r))
        for x in (r, -r):
            bell = np.exp(-np.square(x - m) / (2 * total)) / math.sqrt(2 * math.pi * total)
            result += bell * ndtr(((x * v + m * noise**2) / total - least) / spread)
            if self.gap:
                second = np.exp(-np.square(x - self.gap) / (2 * noise**2)) / (math.sqrt(2 * math.pi) * noise)
                result += self.peak[side] * second
        return np.maximum(result, _LEAST)


class LawTable:
    """The laws of one constraint as a smooth function of two numbers.

    Args:
        constraint: of `CONSTRAINTS`.
        model: what is not fitted.
        connected: the measured connection probability, from which the range of the table follows.

    Attributes:
        bounds: of log κ̃ and of the second number: p over the natural density for l0, δ̃ for the gap, unused for l1.
    """

    def __init__(self, constraint: str, model: Model, connected: float) -> None:
        self.constraint, self.model = constraint, model
        low, high = math.log(0.005), math.log(200.0)
        kappa = np.exp(np.linspace(low, high, 60))
        natural = capacity(kappa, **model.arguments).density
        sparse = np.flatnonzero(natural < 0.3 * connected)
        high = math.log(float(kappa[sparse[0]])) if len(sparse) else high
        second = {
            "l1": np.zeros(1),
            "l0": np.linspace(min(0.05, 0.3 * connected), 1, 24),
            "gap": np.linspace(0, 1.5 / connected, 28),
        }[constraint]
        first = np.linspace(low, high, 40)
        found = self._solve(np.exp(first)[:, None], second[None, :])
        columns = [*np.moveaxis(self._numbers(found), -1, 0)]
        if constraint == "l1":  # a constant in the second direction
            second, columns = np.linspace(0, 1, 4), [np.repeat(column, 4, 1) for column in columns]
        self.bounds = ((float(low), float(high)), (float(second[0]), float(second[-1])))
        self._splines = [RectBivariateSpline(first, second, column) for column in columns]

    @property
    def parameters(self) -> int:
        """How many numbers are fitted, beside the unit of weights."""
        return 1 if self.constraint == "l1" else 2

    def solution(self, first: float, second: float) -> Solution:
        """The theory's solution itself, not interpolated, one point."""
        return self._solve(np.array([[math.exp(first)]]), np.array([[second]]))[0, 0]

    def curve(self, places: Floats) -> Solution:
        """The solutions at ``places`` (n, 2), as a curve (n,)."""
        return self._solve(np.exp(places[:, 0]), places[:, 1])

    def law(self, first: float, second: float) -> Law:
        """The interpolated law."""
        values = [float(spline(np.array(first), np.array(second), grid=False)) for spline in self._splines]
        center, rate, cut = np.array(values[:2]), math.exp(values[2]), max(values[3], 0.0)
        gap = second if self.constraint == "gap" else 0.0
        return _law(center, rate, cut if self.constraint == "l0" else 0.0, gap, self.model)

    def exact(self, solution: Solution) -> Law:
        """The law of a solution."""
        c_plus, c_minus, log_rate, cut = (float(x) for x in self._numbers(solution))
        gap = float(solution.gap)
        return _law(np.array([c_plus, c_minus]), math.exp(log_rate), cut, gap, self.model)

    def _solve(self, kappa: Floats, second: Floats) -> Solution:
        if self.constraint == "l0":
            natural = capacity(kappa, **self.model.arguments).density
            return capacity(kappa, density=np.minimum(natural * second, 1.0), **self.model.arguments)
        if self.constraint == "gap":
            return capacity(kappa, gap=second, **self.model.arguments)
        return capacity(kappa, **self.model.arguments)

    def _numbers(self, found: Solution) -> Floats:
        """c₊, c₋, log ρ and the cut √2 x of l0, shape + (4,)."""
        sigma = math.sqrt(self.model.f_in * (1 - self.model.f_in))
        fields = math.sqrt(2) * found.fields()[..., 0, :]
        rate = np.log(math.sqrt(2) * found.Q * sigma)
        result: Floats = np.stack([fields[..., 0], fields[..., 1], rate, math.sqrt(2) * found.cut], -1)
        return result


def _law(center: Floats, rate: float, cut: float, gap: float, model: Model) -> Law:
    if gap:
        y = gap * rate / math.sqrt(2)  # δ̃ σ Q
        a = center / math.sqrt(2)
        return Law(center, rate, math.sqrt(2) * y, gap, E(a - y / 2) - E(a - y))
    return Law(center, rate, cut, 0.0, np.zeros(2))
