"""How the fraction of connections that a rewiring step moves changes with the step t = 0, 1, 2, …

A schedule is any function from the step to a number in [0, 1]; these four are the usual ones.

==========  =======================================================================  ================================
constant    f(t) = start
linear      f(t) = end + (start − end) · (1 − t / steps)                             the opening gap of `drop.gap`
cosine      f(t) = end + (start − end) · ½ (1 + cos(π t / steps))                    Evci et al. 2020, section 3
cubic       f(t) = end + (start − end) · (1 − t / steps)³                            Zhu & Gupta 2017, equation 1
==========  =======================================================================  ================================

From t = steps on, the last three stay at ``end``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gossamer.errors import check_count, check_fraction

__all__ = ["Fraction", "Schedule", "constant", "cosine", "cubic", "fraction_at", "linear"]

Schedule = Callable[[int], float]
Fraction = float | Schedule


_POWERS = {"linear": 1, "cubic": 3}


@dataclass(frozen=True)
class _Curve:
    shape: str
    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        check_fraction("start", self.start)
        check_fraction("end", self.end)
        check_count("steps", self.steps, low=1)

    def __call__(self, step: int) -> float:
        t = min(step, self.steps) / self.steps
        left = 0.5 * (1 + math.cos(math.pi * t)) if self.shape == "cosine" else (1 - t) ** _POWERS[self.shape]
        return self.end + (self.start - self.end) * left


@dataclass(frozen=True)
class _Constant:
    fraction: float

    def __call__(self, step: int) -> float:
        return self.fraction


def constant(fraction: float) -> Schedule:
    """The same fraction at every step."""
    return _Constant(check_fraction("fraction", fraction))


def cosine(start: float, steps: int, end: float = 0.0) -> Schedule:
    """From ``start`` to ``end`` within ``steps`` steps along half a cosine."""
    return _Curve("cosine", start, end, steps)


def cubic(start: float, steps: int, end: float = 0.0) -> Schedule:
    """From ``start`` to ``end`` within ``steps`` steps, fast at first and slowly at the end."""
    return _Curve("cubic", start, end, steps)


def linear(start: float, steps: int, end: float = 0.0) -> Schedule:
    """From ``start`` to ``end`` within ``steps`` steps by equal differences.

    Example:
        >>> from gossamer.plasticity import schedule
        >>> [schedule.linear(0.0, 4, end=0.02)(step) for step in (0, 2, 4, 100)]
        [0.0, 0.01, 0.02, 0.02]
    """
    return _Curve("linear", start, end, steps)


def fraction_at(fraction: Fraction, step: int) -> float:
    """The value of ``fraction`` at ``step``, in [0, 1] or an `InputError`."""
    return check_fraction("fraction", fraction(step) if callable(fraction) else fraction)
