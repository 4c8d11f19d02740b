"""l1, and l1 with signs: a linear program, solved at a vertex.

With u = J̃/N, u = u⁺ − u⁻ and κ' = κ̃/√N:

    maximise κ'  subject to  κ' − s^μ X^μ·u ≤ −s^μ h̃ for all μ,  Σ(u⁺ + u⁻) = 1,  u± ≥ 0

A weight has the one part that its sign allows. At a vertex the number of associations at the margin equals that of
non-zero weights (unless vertices coincide), as κ' and the norm are one unknown and one equation more. The vertex and
its multipliers are computed once more, from its basis by two dense solutions, to the accuracy of float64. The
multipliers λ ≥ 0 of the associations prove that it is the optimum, if the norm's is the largest |Σ_μ λ_μ s^μ X_i^μ|.
Where they don't, the program is solved again with tighter tolerances, which takes about half as long again.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from gossamer.associative.problem import Associations
from gossamer.associative.solve.constraints import ZERO, Constraints, Floats, margins

__all__ = ["Vertex", "linear_program"]


@dataclass(frozen=True, eq=False)
class Vertex:
    """The optimum of the linear program: weights J̃ (N,), κ̃, and an upper bound on κ̃ for Σ|J̃| ≤ N.

    ``robustness`` is the least margin of ``weights``, which may have Σ|J̃| < N; ``slack`` is 1 − Σ|J̃|/N.
    """

    weights: Floats
    robustness: float
    slack: float


def linear_program(
    problem: Associations,
    constraints: Constraints,
    support: NDArray[np.bool_] | None = None,
    lower: float = 0.0,
    time_limit: float | None = None,
) -> Vertex | None:
    """Maximise κ̃ over the weights of ``support`` (N,); with signs, each of at least ``lower``.

    None where there are no such weights, or where ``time_limit`` seconds did not suffice.
    """
    n, m = problem.n_inputs, len(problem)
    inside = np.flatnonzero(np.ones(n, np.bool_) if support is None else support)
    k, s = len(inside), problem.labels
    if k == 0 or lower * k > n:
        return None
    rows = np.empty((m, 1 + (k if constraints.signs is not None else 2 * k)))
    rows[:, 0] = 1
    signed = -s[:, None] * problem.inputs[:, inside]
    if constraints.signs is None:
        rows[:, 1 : k + 1], rows[:, k + 1 :] = signed, -signed
    else:
        rows[:, 1:] = signed * constraints.signs[inside]
    columns = rows.shape[1]
    cost = np.zeros(columns)
    cost[0] = -1
    whole = np.ones((1, columns))
    whole[0, 0] = 0
    if time_limit is not None and time_limit <= 0:
        return None
    started = time.monotonic()
    for tolerance in (1e-7, 1e-10):
        options: Any = {"primal_feasibility_tolerance": tolerance, "dual_feasibility_tolerance": tolerance}
        if time_limit is not None:
            options["time_limit"] = max(time_limit - (time.monotonic() - started), 1e-3)
        found = linprog(
            cost,
            A_ub=rows,
            b_ub=-s * constraints.threshold,
            A_eq=whole,
            b_eq=[1.0],
            bounds=[(None, None), *[(lower / n, None)] * (columns - 1)],
            method="highs-ds",
            options=options,
        )
        if found.x is None or found.status != 0:
            return None
        parts = found.x[1:]
        weights = np.zeros(n)
        weights[inside] = n * (
            parts[:k] - parts[k:] if constraints.signs is None else parts * constraints.signs[inside]
        )
        weights[np.abs(weights) <= tolerance] = 0
        if lower > 0:
            break
        exact = _polish(problem, constraints, weights, inside)
        if exact is not None:
            weights = exact
            break
    kappa = float(margins(problem, weights, constraints.threshold).min())
    return Vertex(weights, kappa, max(0.0, 1 - float(np.abs(weights).mean())))


def _polish(
    problem: Associations, constraints: Constraints, weights: Floats, inside: NDArray[np.intp]
) -> Floats | None:
    """The vertex with the non-zero weights and tight rows of ``weights``, if it is the optimum; None otherwise."""
    n, on, threshold = problem.n_inputs, np.flatnonzero(weights), constraints.threshold
    margin = margins(problem, weights, threshold)
    tight = np.flatnonzero(margin <= margin.min() + 1e-6)
    k = len(on)
    if len(tight) != k or abs(np.abs(weights).mean() - 1) > 1e-6:
        return None
    signed = problem.labels[tight, None] * problem.inputs[tight] / math.sqrt(n)
    matrix = np.zeros((k + 1, k + 1))
    matrix[:k, :k] = signed[:, on]
    matrix[:k, k] = -1
    matrix[k, :k] = np.sign(weights[on]) / n
    goal, unit = np.append(problem.labels[tight] * threshold * math.sqrt(n), 1.0), np.zeros(k + 1)
    unit[k] = -1
    try:
        vertex, multipliers = np.linalg.solve(matrix, goal), np.linalg.solve(matrix.T, unit)
    except np.linalg.LinAlgError:
        return None
    price = n * (multipliers[:k] @ signed)[inside]
    price = np.abs(price) if constraints.signs is None else price * constraints.signs[inside]
    optimal = multipliers[:k].min() >= -1e-9 and price.max() <= -multipliers[k] + 1e-9
    result = np.zeros(n)
    result[on] = vertex[:k]
    same = (np.sign(result) == np.sign(weights)).all()
    feasible = margins(problem, result, threshold).min() >= vertex[k] - ZERO
    return result if same and optimal and feasible else None
