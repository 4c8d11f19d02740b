"""Greedy elimination of weak connections: a lower bound for l0 and gap at any N, by a few dozen linear programs."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from gossamer.associative.problem import Associations
from gossamer.associative.solve.constraints import Constraints, Floats
from gossamer.associative.solve.linear import Vertex, linear_program

__all__ = ["eliminate"]


def eliminate(
    problem: Associations,
    constraints: Constraints,
    start: Vertex,
    fraction: float = 0.1,
    deadline: float = math.inf,
) -> Floats | None:
    """Drop the weakest ``fraction`` of the non-zero weights and solve again, until the constraints hold.

    It starts from the linear program's weights. At least one weight is dropped each time. With l0 no more than down to
    N p are. With a gap δ̃ the program is solved on each support once more, with signs as they are and |J̃| ≥ δ̃; the
    best of these is kept. At ``deadline``, a value of `time.monotonic`, the best so far is returned.

    Returns:
        Scaled weights (N,), or None where none were found.
    """
    best: tuple[float, Floats] | None = None
    current: Vertex | None = start
    n, most = problem.n_inputs, constraints.connections
    while current is not None:
        size = np.abs(current.weights)
        count = int((size > 0).sum())
        if count == 0:
            break
        fits = most is None or count <= most
        if fits and constraints.gap == 0:
            return current.weights
        if fits and constraints.gap * count <= n:
            kept = _kept(problem, constraints, current, deadline)
            if kept is not None and (best is None or kept.robustness > best[0]):
                best = (kept.robustness, kept.weights)
        drop = max(1, math.floor(fraction * count))
        if most is not None and count > most:
            drop = min(drop, count - most)
        order = np.argsort(np.where(size > 0, size, np.inf), kind="stable")
        support = size > 0
        support[order[:drop]] = False
        if count == drop:
            break
        current = linear_program(problem, constraints, support, time_limit=_left(deadline))
    return None if best is None else best[1]


def _kept(problem: Associations, constraints: Constraints, current: Vertex, deadline: float) -> Vertex | None:
    """The best weights with the signs and support of ``current``, each at least δ̃."""
    signs = np.where(current.weights < 0, -1, 1).astype(np.int8)
    own = replace(constraints, signs=signs)
    return linear_program(problem, own, current.weights != 0, constraints.gap, _left(deadline))


def _left(deadline: float) -> float | None:
    """Seconds until ``deadline``, for the linear program."""
    return None if deadline == math.inf else max(deadline - time.monotonic(), 0.0)
