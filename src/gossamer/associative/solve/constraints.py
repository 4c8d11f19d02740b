"""The constraints on the weights of one unit, and an independent check of weights against them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.problem import Associations, check_signs
from gossamer.errors import InputError, check_fraction

__all__ = ["ZERO", "Certificate", "Constraints", "certify", "check_constraints", "margins"]

Floats = NDArray[np.float64]

ZERO = 1e-9
"""A scaled weight of at most this size counts as zero; a slack of at most this size as none."""


@dataclass(frozen=True, eq=False)
class Constraints:
    """⟨|J̃_i|⟩ = 1 and threshold h̃, with signs, a number of non-zero weights or a gap where they are given.

    ``connections`` is N p, rounded, the most non-zero weights; None without l0.
    """

    threshold: float
    signs: NDArray[np.int8] | None
    connections: int | None
    gap: float


@dataclass(frozen=True)
class Certificate:
    """By how much weights miss each constraint, 0 where they keep it, computed from weights and patterns alone.

    Attributes:
        l1: |⟨|J̃|⟩ − 1|.
        margin: the most by which an association falls short of κ̃, in its unit.
        sign: the largest weight of a forbidden sign.
        connections: how many non-zero weights there are too many.
        gap: the most by which a non-zero weight falls short of δ̃.

    Example:
        >>> from gossamer.associative import random_associations
        >>> from gossamer.associative.solve import robust_weights
        >>> robust_weights(random_associations(20, 10, np.random.default_rng(0))).certificate.holds()
        True
    """

    l1: float
    margin: float
    sign: float
    connections: int
    gap: float

    def holds(self, tolerance: float = 1e-6) -> bool:
        """Whether nothing is missed by more than ``tolerance``, and the number of connections not at all.

        Args:
            tolerance: ≥ 0.

        Returns:
            True or False.
        """
        return max(self.l1, self.margin, self.sign, self.gap) <= tolerance and self.connections == 0


def margins(problem: Associations, weights: Floats, threshold: float) -> Floats:
    """√N s ((1/N) J̃·X − h̃) of each association, (m,)."""
    n = problem.n_inputs
    result: Floats = problem.labels * (problem.inputs @ weights / n - threshold) * math.sqrt(n)
    return result


def certify(problem: Associations, weights: Floats, robustness: float, constraints: Constraints) -> Certificate:
    """Check each constraint on ``weights`` (N,), scaled, and κ̃ of each association."""
    size = np.abs(weights)
    on = size[size > ZERO]
    sign = 0.0
    if constraints.signs is not None:
        sign = float(np.maximum(-weights * constraints.signs, 0).max())
    return Certificate(
        l1=abs(float(size.mean()) - 1),
        margin=max(0.0, robustness - float(margins(problem, weights, constraints.threshold).min())),
        sign=sign,
        connections=max(0, len(on) - constraints.connections) if constraints.connections is not None else 0,
        gap=max(0.0, constraints.gap - float(on.min())) if len(on) else 0.0,
    )


def check_constraints(
    problem: Associations, threshold: float, signs: ArrayLike | None, density: float | None, gap: float | None
) -> Constraints:
    """The arguments of the solvers, checked."""
    if problem.n_units is not None:
        raise InputError(
            f"problem must have the targets (m,) of one unit, got those of {problem.n_units}; choose one, "
            "problem.unit(index)"
        )
    if len(problem) == 0:
        raise InputError("problem must have at least one association, got m = 0, for which robustness has no bound")
    if not isinstance(threshold, (int, float, np.number)) or not math.isfinite(threshold):
        raise InputError(f"threshold must be a finite number, got {threshold!r}")
    connections = None
    if density is not None:
        p = check_fraction("density", density, open_low=True)
        connections = math.floor(p * problem.n_inputs + 0.5)
        if connections == 0:
            raise InputError(
                f"density must leave at least one of {problem.n_inputs} inputs, got {density!r}; "
                f"the smallest is {0.5 / problem.n_inputs:g}"
            )
    delta = 0.0 if gap is None else check_fraction("gap", gap, high=math.inf, open_high=True)
    return Constraints(float(threshold), check_signs(signs, problem.n_inputs), connections, delta)
