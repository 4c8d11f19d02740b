"""Newton's method on many points at once, and continuation of all of them from one problem to another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gossamer.associative.theory.equations import System
from gossamer.associative.theory.special import Floats

__all__ = ["ConvergenceError", "follow", "newton"]


class ConvergenceError(ArithmeticError):
    """The equations couldn't be solved at some point; the message names the point, the progress and the residual."""


TOLERANCE = 1e-12
ACCEPTED = 1e-9
_ITERATIONS = 12
_LONGEST = 0.7
"""A corrector that moves an unknown further than this from the prediction may have left its branch."""


def newton(system: System, unknowns: Floats) -> tuple[Floats, Floats]:
    """Newton's iteration from ``unknowns`` (B, size): the best unknowns met, and their largest residuals (B,).

    A point stops where its residual is below 1e-12 or no longer falls. A step that isn't finite ends it; so does a
    singular Jacobian.
    """
    best, least = unknowns.copy(), np.full(len(unknowns), np.inf)
    active, current = np.arange(len(unknowns)), unknowns.copy()
    for _ in range(_ITERATIONS):
        residual, jacobian = system.at(active).residuals(current)
        size = np.abs(residual).max(1)
        finite = np.isfinite(size) & np.isfinite(jacobian).all((1, 2))
        better = finite & (size < least[active])
        best[active[better]], least[active[better]] = current[better], size[better]
        near = least[active] < ACCEPTED
        going = finite & (size > TOLERANCE) & (better | ~near)
        active, current = active[going], current[going]
        if not len(active):
            break
        step = _solve(jacobian[going], residual[going])
        length = np.abs(step).max(1, keepdims=True)
        current = current - step * np.minimum(1, 1 / np.maximum(length, 1e-300))
    return best, least


def follow(
    at: Callable[[Floats], System], unknowns: Floats, *, first: float = 0.25, shortest: float = 1e-4
) -> tuple[Floats, Floats, Floats]:
    """Continue solutions of ``at(0)`` to ``at(1)``, each point at its own pace.

    A step starts from the line through the last two solutions. It is halved where Newton's method fails or ends far
    from there, doubled where that took little, and given up below ``shortest``.

    Args:
        at: the system of all B points at the times t (B,) in [0, 1].
        unknowns: (B, size), the solutions at t = 0.
        first: the length of the first step.
        shortest: the shortest step.

    Returns:
        The unknowns (B, size), the times reached (B,), 1 where all went well, and the residuals (B,), those at t = 1
        or of the step that failed.
    """
    count = len(unknowns)
    here, before = unknowns.copy(), unknowns.copy()
    t, last, step = np.zeros(count), np.zeros(count), np.full(count, first)
    residual = np.full(count, np.inf)
    going = np.arange(count)
    while len(going):
        advance = np.minimum(step[going], 1 - t[going])
        times = t.copy()
        times[going] = np.where(advance >= 1 - t[going], 1.0, t[going] + advance)
        slope = (here[going] - before[going]) / np.where(last[going] > 0, last[going], 1)[:, None]
        guess = here[going] + slope * advance[:, None]
        found, size = newton(at(times).at(going), guess)
        moved = np.abs(found - guess).max(1)
        good = (size < ACCEPTED) & (moved < _LONGEST)
        residual[going] = size
        forward = going[good]
        before[forward], here[forward] = here[forward], found[good]
        last[forward], t[forward] = advance[good], times[forward]
        step[going] = np.where(good, np.where(moved < 0.2, 2.0, 1.0), 0.4) * advance
        going = going[(t[going] < 1) & (step[going] > shortest)]
    return here, t, residual


def _solve(jacobian: NDArray[np.float64], residual: Floats) -> Floats:
    result: Floats
    try:
        result = np.linalg.solve(jacobian, residual[..., None])[..., 0].astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        singular = np.linalg.cond(jacobian) > 1e15
        jacobian = np.where(singular[:, None, None], np.eye(jacobian.shape[1]), jacobian)
        result = np.linalg.solve(jacobian, residual[..., None])[..., 0].astype(np.float64, copy=False)
        result[singular] = np.nan
    return result
