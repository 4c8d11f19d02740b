"""The online rule of an associative unit: one association at a time, and weak connections eliminated on the way.

A unit has weights J, a threshold h and a robustness κ, and is to store associations (X, y): s (J·X − h) ≥ κ with
s = 2y − 1, at a mean size w of its weights, Σ|J_i| = N w. Connections may have signs g_i = ±1 (J_i g_i ≥ 0) and a gap
δ_i (J_i = 0 or |J_i| ≥ δ_i). One step is, in this order:

1. One of the violated associations is drawn, and J_i ← J_i + β s X_i. With signs, J_i ← 0 where J_i g_i < 0. Without
   any violated association there is no such step, and no clipping.
2. J_i ← J_i − β_w sign(J_i) (mean|J| − w) for the weights that are neither zero nor at the edge of the gap,
   |J_i| = δ_i; the mean is over all weights. Then signs are clipped again. Without any such weight nothing is done.
3. Each weight in the gap, 0 < |J_i| < δ_i, becomes 0, but with the probability ε each it is set to the edge of the gap,
   δ_i sign(J_i), or to the other edge, −δ_i sign(J_i).
4. Violated associations are found again.

It stops when no association is violated, no sign is wrong, no weight is in the gap and |mean|J| / w − 1| is within a
tolerance. A zero weight comes back in step 1 only, and is mostly eliminated again in step 3: the 2 ε of them that are
not are how other sets of connections are tried.

The older rule (2019) has no gap and needs signs. Its step 1 is the same; then J_i ← J_i − g_i (mean|J| − w) for all
weights, and signs are clipped.

**Arithmetic.** Weights, β, δ and the l1 step are multiples of a quantum, a power of two near 2⁻³⁶ w for N = 400
(`Grid`). All sums of weights are exact in float64 then, in any order, so that the compiled rule, which updates fields
by what changed, and the plain one (`gossamer.associative.plain`) give the same weights to the last bit on any machine.

References:
    Baig, Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv 2409.04946,
    Suppl. Eq. 47 and its code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError, check_choice, check_fraction

__all__ = ["Grid", "OnlineRule"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OnlineRule:
    """The constants of the online rule.

    Args:
        step: β / w, of the step on a violated association, in (0, 100].
        l1_step: β_w in (0, 1], the part of the excess of mean|J| that one step removes; 1 in the older rule.
        exploration: ε in [0, 0.5), the probability with which a weight in the gap is kept, and that with which it is
            flipped.
        tolerance: largest |mean|J| / w − 1| at which the rule stops, in (0, 1).
        variant: ``"gap"``, or ``"2019"`` for the older rule.

    Raises:
        InputError: a constant out of range.

    Example:
        >>> from gossamer.associative.rule import OnlineRule
        >>> OnlineRule(exploration=0).chance
        0
    """

    step: float = 0.1
    l1_step: float = 0.1
    exploration: float = 0.02
    tolerance: float = 1e-3
    variant: Literal["gap", "2019"] = "gap"

    def __post_init__(self) -> None:
        check_fraction("step", self.step, high=100, open_low=True)
        check_fraction("l1_step", self.l1_step, open_low=True)
        check_fraction("exploration", self.exploration, high=0.5, open_high=True)
        check_fraction("tolerance", self.tolerance, open_low=True, open_high=True)
        check_choice("variant", self.variant, ("gap", "2019"))

    @classmethod
    def older(cls) -> OnlineRule:
        """The rule of 2019 with its own constants, β = 0.01 w."""
        return cls(step=0.01, l1_step=1.0, variant="2019")

    @property
    def chance(self) -> int:
        """ε in units of 2⁻³², as random words are compared with."""
        return round(self.exploration * 2**32)


@dataclass(frozen=True)
class Grid:
    """The multiples of a power of two on which one unit computes without rounding.

    Args:
        quantum: the spacing.
        kick: β, on the grid.
        bound: Σ|J_i| above which a unit has diverged; sums stay exact up to four times that.
    """

    quantum: float
    kick: float
    bound: float

    @classmethod
    def of(cls, rule: OnlineRule, n: int, weight_norm: float, gap: Floats) -> Grid:
        """The grid of a unit of ``n`` inputs with mean|J| = ``weight_norm`` and a gap δ (N,)."""
        size = n * (weight_norm * (1 + rule.step) + float(gap.max()))
        quantum = math.ldexp(1.0, math.frexp(64 * size)[1] - 53)
        kick = float(np.rint(rule.step * weight_norm / quantum)) * quantum
        if not kick > 0 or not math.isfinite(64 * size):
            raise InputError(
                f"step, weight_norm and gap must be of comparable size, got {rule.step:g}, {weight_norm:g} and at most "
                f"{gap.max():g}: float64 can't hold the sum of {n} weights to the size of one step"
            )
        return cls(quantum, kick, 16 * size)

    def nearest(self, values: Floats) -> Floats:
        """``values`` rounded to the grid."""
        return np.rint(values / self.quantum) * self.quantum + 0.0

    def above(self, values: Floats) -> Floats:
        """``values`` rounded up to the grid."""
        return np.ceil(values / self.quantum) * self.quantum
