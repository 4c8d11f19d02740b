"""Schedules of the fraction of connections that a rewiring step moves.

A schedule is any function from the step t = 0, 1, 2, … to a number in [0, 1]; these four are the usual ones.

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
    """A schedule along a curve."""

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
    """A schedule of one value."""

    fraction: float

    def __call__(self, step: int) -> float:
        return self.fraction


def constant(fraction: float) -> Schedule:
    """Use the same fraction at every step.

    Args:
        fraction: in [0, 1].

    Returns:
        The schedule.

    Raises:
        InputError: ``fraction`` is outside [0, 1].

    Example:
        >>> gs.plasticity.schedule.constant(0.3)(100)
        0.3
    """
    return _Constant(check_fraction("fraction", fraction))


def cosine(start: float, steps: int, end: float = 0.0) -> Schedule:
    """Move from ``start`` to ``end`` along half a cosine: f(t) = end + (start − end) · ½ (1 + cos(π t / steps)).

    Args:
        start: fraction at step 0, in [0, 1].
        steps: number of steps to the end, ≥ 1.
        end: fraction from ``steps`` on, in [0, 1].

    Returns:
        The schedule.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> schedule = gs.plasticity.schedule.cosine(0.3, steps=100)
        >>> [round(schedule(step), 3) for step in (0, 50, 100)]
        [0.3, 0.15, 0.0]

    References:
        Evci et al., "Rigging the lottery: making all tickets winners", ICML 2020, section 3.
    """
    return _Curve("cosine", start, end, steps)


def cubic(start: float, steps: int, end: float = 0.0) -> Schedule:
    """Move from ``start`` to ``end``, fast first and slowly later: f(t) = end + (start − end) · (1 − t / steps)³.

    Args:
        start: fraction at step 0, in [0, 1].
        steps: number of steps to the end, ≥ 1.
        end: fraction from ``steps`` on, in [0, 1].

    Returns:
        The schedule.

    Raises:
        InputError: an argument is outside its range.

    Example:
        >>> schedule = gs.plasticity.schedule.cubic(1.0, steps=100, end=0.1)
        >>> [round(schedule(step), 3) for step in (0, 50, 100)]
        [1.0, 0.213, 0.1]

    References:
        Zhu, Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression", arXiv
        1710.01878 (2017), equation 1.
    """
    return _Curve("cubic", start, end, steps)


def linear(start: float, steps: int, end: float = 0.0) -> Schedule:
    """Return f(t) = start + (end − start) t / steps, which is ``end`` from t = steps on.

    Args:
        start: f(0), in [0, 1].
        steps: number of steps to the end, ≥ 1.
        end: in [0, 1].

    Returns:
        The schedule.

    Example:
        >>> from gossamer.plasticity import schedule
        >>> [schedule.linear(0.0, 4, end=0.02)(step) for step in (0, 2, 4, 100)]
        [0.0, 0.01, 0.02, 0.02]
    """
    return _Curve("linear", start, end, steps)


def fraction_at(fraction: Fraction, step: int) -> float:
    """Return the value of a fraction or schedule at a step.

    Args:
        fraction: a number in [0, 1], or a schedule.
        step: t = 0, 1, 2, ….

    Returns:
        The number.

    Raises:
        InputError: the number is outside [0, 1].

    Example:
        >>> gs.plasticity.schedule.fraction_at(0.3, step=7)
        0.3
    """
    return check_fraction("fraction", fraction(step) if callable(fraction) else fraction)
