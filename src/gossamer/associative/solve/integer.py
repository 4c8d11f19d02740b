"""l0, gap and both: a mixed-integer linear program.

As in the linear program, u = u⁺ − u⁻ with Σ(u⁺ + u⁻) = 1, and binaries c± for the parts that may be used:

    (δ̃/N) c± ≤ u± ≤ c±,   c⁺ + c⁻ ≤ 1,   Σ(c⁺ + c⁻) ≤ N p for l0

c± ≤ 1 is tight, since a part is never above the whole norm. c⁺ + c⁻ ≤ 1 forbids that both parts of a weight are
positive, by which norm would be wasted. A known solution enters as the lower bound of κ̃.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, hstack, vstack

from gossamer.associative.problem import Associations
from gossamer.associative.solve.constraints import Constraints, Floats

__all__ = ["Incumbent", "Program", "build_program", "integer_program"]


@dataclass(frozen=True, eq=False)
class Program:
    """Minimise cost·v over low ≤ v ≤ high and row_low ≤ matrix v ≤ row_high, v integer where ``integer``.

    v holds κ', then k parts of weights, then their k binaries; ``inputs`` and ``signs`` (k,) say of which weight each
    is a part.
    """

    cost: Floats
    low: Floats
    high: Floats
    matrix: csr_array
    row_low: Floats
    row_high: Floats
    integer: NDArray[np.int64]
    inputs: NDArray[np.intp]
    signs: Floats

    def weights(self, v: Floats, n: int) -> Floats:
        """J̃ (N,) of a solution; parts whose binary is 0 are 0."""
        k = len(self.inputs)
        result = np.zeros(n)
        np.add.at(result, self.inputs, n * self.signs * v[1 : k + 1] * (v[k + 1 :] > 0.5))
        return result

    def variables(self, weights: Floats, robustness: float) -> Floats:
        """Return v of given weights."""
        n = len(weights)
        part = np.maximum(self.signs * weights[self.inputs], 0) / n
        return np.concatenate([[robustness / math.sqrt(n)], part, part > 0])


@dataclass(frozen=True, eq=False)
class Incumbent:
    """The result of a solver: weights, if any, an upper bound on κ̃, and how it ended."""

    weights: Floats | None
    bound: float
    ended: str
    """"optimal", "infeasible" or "time limit"."""


def build_program(problem: Associations, constraints: Constraints, cutoff: float | None) -> Program:
    """The program; ``cutoff`` is a value that κ̃ can attain."""
    n, m = problem.n_inputs, len(problem)
    every = np.arange(n)
    if constraints.signs is None:
        inputs, signs = np.concatenate([every, every]), np.repeat([1.0, -1.0], n)
    else:
        inputs, signs = every, constraints.signs.astype(np.float64)
    k = len(inputs)
    patterns = np.zeros((m, 1 + 2 * k))
    patterns[:, 0] = 1
    patterns[:, 1 : k + 1] = -problem.labels[:, None] * problem.inputs[:, inputs] * signs
    blocks = [csr_array(patterns)]
    row_low = [np.full(m, -np.inf)]
    row_high = [-problem.labels * constraints.threshold]

    def add(on_parts: csr_array, on_binaries: csr_array, low: Floats, high: Floats) -> None:
        blocks.append(hstack([csr_array((on_parts.shape[0], 1)), on_parts, on_binaries], format="csr"))
        row_low.append(low)
        row_high.append(high)

    one, none, ones = eye_array(k, format="csr"), csr_array((1, k)), csr_array(np.ones((1, k)))
    add(ones, none, np.ones(1), np.ones(1))
    add(one, -one, np.full(k, -np.inf), np.zeros(k))
    if constraints.gap > 0:
        add(one, -constraints.gap / n * one, np.zeros(k), np.full(k, np.inf))
    if constraints.signs is None:
        half = eye_array(n, format="csr")
        add(csr_array((n, k)), hstack([half, half], format="csr"), np.full(n, -np.inf), np.ones(n))
    if constraints.connections is not None:
        add(none, ones, np.zeros(1), np.full(1, float(constraints.connections)))
    low, high = np.zeros(1 + 2 * k), np.ones(1 + 2 * k)
    low[0] = -np.inf if cutoff is None else cutoff / math.sqrt(n) - 1e-9
    high[0] = np.inf
    cost = np.zeros(1 + 2 * k)
    cost[0] = -1
    integer = np.repeat([0, 1], [1 + k, k])
    return Program(
        cost,
        low,
        high,
        vstack(blocks, format="csr"),
        np.concatenate(row_low),
        np.concatenate(row_high),
        integer,
        inputs,
        signs,
    )


def integer_program(program: Program, n: int, time_limit: float | None) -> Incumbent:
    """Solve with HiGHS as SciPy comes with it."""
    options: Any = {"mip_rel_gap": 1e-7} | ({} if time_limit is None else {"time_limit": time_limit})
    found = milp(
        program.cost,
        integrality=program.integer,
        bounds=Bounds(program.low, program.high),
        constraints=LinearConstraint(program.matrix, program.row_low, program.row_high),
        options=options,
    )
    weights = None if found.x is None else program.weights(found.x, n)
    bound = -found.mip_dual_bound * math.sqrt(n) if found.mip_dual_bound is not None else math.inf
    ended = {0: "optimal", 2: "infeasible"}.get(found.status, "time limit")
    return Incumbent(weights, bound if math.isfinite(bound) else math.inf, ended)
