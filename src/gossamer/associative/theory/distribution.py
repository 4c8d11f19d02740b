"""Distributions of weights: a density and atoms, at zero and, with a gap, at its ends.

With μ = √2 Q, μ_i = μ σ_i and b ~ N(√2 a_s, 1) for each allowed sign s of the input i, the weight is

- l1: J̃ = s b/μ_i for b > 0, else 0;
- l0: the same for b > √2 x, so that no weight has 0 < |J̃| < √2 x/μ_i = x/(σ_i Q);
- gap, y = δ̃ σ_i Q: 0 for b < y/√2; s δ̃ for y/√2 < b < √2 y, a second atom; s b/μ_i beyond.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.theory.moments import gap_moments, l0_moments
from gossamer.associative.theory.solution import Solution
from gossamer.associative.theory.special import E, Floats, upper_tail
from gossamer.errors import InputError

__all__ = ["WeightDistribution", "weight_distribution"]


@dataclass(frozen=True, eq=False)
class WeightDistribution:
    """The law of one scaled weight J̃ = J/w, drawn from all inputs, or from those with one sign.

    Attributes:
        share: probability of each of k parts of the law. In a part, b ~ N(center, 1) gives the weight sign·b/rate where
            b > cut.
        sign: ±1 of each part.
        center: mean of b.
        rate: scale of the weight.
        cut: smallest b of a non-zero weight.
        peak: the probability of sign·``gap`` in the part.
        zero: P(J̃ = 0).
        gap: δ̃, 0 without a gap.
        mean: E J̃.
        mean_magnitude: E |J̃|.
        mean_square: E J̃².

    Example:
        >>> from gossamer.associative.theory import capacity, weight_distribution
        >>> law = weight_distribution(capacity(0.5))
        >>> round(law.density + law.zero, 12)
        1.0
    """

    share: Floats
    sign: Floats
    center: Floats
    rate: Floats
    cut: Floats
    peak: Floats
    zero: float
    gap: float
    mean: float
    mean_magnitude: float
    mean_square: float

    @property
    def density(self) -> float:
        """P(J̃ ≠ 0), the connection probability."""
        return 1 - self.zero

    @property
    def atoms(self) -> tuple[Floats, Floats]:
        """Where single values have a positive probability, ascending, and these probabilities."""
        place, mass = [0.0], [self.zero]
        for side in (-1.0, 1.0):
            there = float((self.share * self.peak)[self.sign == side].sum())
            if there > 0:
                place.append(side * self.gap)
                mass.append(there)
        order = np.argsort(place)
        return np.array(place)[order], np.array(mass)[order]

    def pdf(self, weights: ArrayLike) -> Floats:
        """The density of the continuous part at ``weights``, in their shape; it adds up to 1 less the atoms.

        Args:
            weights: J̃, any shape.

        Returns:
            The density, in the shape of ``weights``.
        """
        b, right = self._along(weights)
        inside = right & (b > self.cut)
        bell = np.exp(-0.5 * np.square(b - self.center)) / math.sqrt(2 * math.pi)
        result: Floats = (self.share * self.rate * np.where(inside, bell, 0)).sum(-1)
        return result

    def cdf(self, weights: ArrayLike) -> Floats:
        """P(J̃ ≤ weights), atoms included, in the shape of ``weights``.

        Args:
            weights: J̃, any shape.

        Returns:
            The probabilities, in the shape of ``weights``.
        """
        w = np.asarray(weights, np.float64)[..., None]
        beyond = upper_tail(np.maximum(np.abs(w) * self.rate, self.cut) - self.center)
        whole = upper_tail(self.cut - self.center)
        at_peak = np.abs(w) >= self.gap
        below = np.where(w < 0, beyond + np.where((np.abs(w) <= self.gap), self.peak, 0), whole + self.peak)
        above = np.where(w < 0, 0, whole - beyond + np.where(at_peak, self.peak, 0))
        part = np.where(self.sign < 0, below, above)
        result: Floats = (self.share * part).sum(-1) + np.where(w[..., 0] >= 0, self.zero, 0)
        return result

    def rvs(self, size: int, generator: np.random.Generator) -> Floats:
        """``size`` independent weights.

        Args:
            size: number of weights, ≥ 0.
            generator: draws them.

        Returns:
            The weights (size,).
        """
        from scipy.special import ndtri

        tail = upper_tail(self.cut - self.center)
        mass = np.concatenate([[self.zero], self.share * self.peak, self.share * tail])
        kind = generator.choice(len(mass), size, p=mass / mass.sum())
        u = 1 - generator.random(size)  # never 0
        k = len(self.share)
        part = np.maximum(kind - 1, 0) % k
        b = self.center[part] - ndtri(u * tail[part])
        value = self.sign[part] * np.where(kind <= k, self.gap, b / self.rate[part])
        result: Floats = np.where(kind == 0, 0.0, value)
        return result

    def _along(self, weights: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
        w = np.asarray(weights, np.float64)[..., None]
        return np.abs(w) * self.rate, np.sign(w) == self.sign


def weight_distribution(solution: Solution, *, sign: int | None = None) -> WeightDistribution:
    """The distribution of the weights that solve the problem at capacity.

    Args:
        solution: one point, shape (): ``curve[3]`` of a curve.
        sign: 1 for excitatory inputs only, −1 for inhibitory ones; needs a solution with signs. None for all inputs.

    Returns:
        The distribution.

    Raises:
        InputError: a curve of several points, a sign without signs, or that no input has.

    Example:
        >>> from gossamer.associative.theory import capacity, weight_distribution
        >>> law = weight_distribution(capacity(0.5))
        >>> round(law.zero, 4), round(law.mean_magnitude, 12)
        (0.4574, 1.0)
    """
    if solution.shape != ():
        raise InputError(f"solution must be of one point, got a curve of shape {solution.shape}; choose one, curve[i]")
    if sign is not None and (solution.free_signs or sign not in (-1, 1)):
        raise InputError(f"sign must be None, or −1 or 1 with a solution that has signs, got {sign!r}")
    signs = np.broadcast_to(np.array([1.0, -1.0]), solution.share.shape)
    chosen = (solution.share > 0) & ((signs == sign) if sign is not None else True)
    if not chosen.any():
        raise InputError(f"sign must be that of some inputs, got {sign!r}")
    share = solution.share[chosen]
    total = share.sum() / (2 if solution.free_signs else 1)
    share = share / total
    sigma = np.sqrt(solution.f * (1 - solution.f))[:, None] * np.ones(2)
    a, sigma, side = solution.fields()[chosen], sigma[chosen], signs[chosen]
    Q = float(solution.Q)
    y = float(solution.gap) * sigma * Q
    if float(solution.cut) > 0:
        moments, _, _ = l0_moments(a, np.full(a.shape, float(solution.cut)))
        cut = np.full(a.shape, math.sqrt(2) * float(solution.cut))
    else:
        moments, _, _ = gap_moments(a, y)
        cut = math.sqrt(2) * y
    magnitude = moments.m1 / (2 * Q * sigma)
    return WeightDistribution(
        share=share,
        sign=side,
        center=math.sqrt(2) * a,
        rate=math.sqrt(2) * Q * sigma,
        cut=cut,
        peak=np.maximum(E(a - y / 2) - E(a - y), 0) if (y > 0).any() else np.zeros(a.shape),
        zero=float(1 - (share * moments.P).sum()),
        gap=float(solution.gap),
        mean=float((share * side * magnitude).sum()),
        mean_magnitude=float((share * magnitude).sum()),
        mean_square=float((share * moments.m2 / (2 * Q**2 * sigma**2)).sum()),
    )
