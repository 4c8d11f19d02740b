"""The weights that store given associations with the largest robustness under the constraints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.problem import Associations
from gossamer.associative.solve.constraints import (
    ZERO,
    Certificate,
    Constraints,
    Floats,
    certify,
    check_constraints,
    margins,
)
from gossamer.associative.solve.greedy import eliminate
from gossamer.associative.solve.integer import Incumbent, Program, build_program, integer_program
from gossamer.associative.solve.linear import linear_program
from gossamer.errors import check_choice, check_fraction

__all__ = ["RobustWeights", "robust_weights"]

Solver = Callable[[Program, int, Floats | None, float | None], Incumbent]


@dataclass(frozen=True, eq=False)
class RobustWeights:
    """The outcome of `robust_weights`.

    Attributes:
        status: "optimal"; "feasible", found by greedy elimination, which proves nothing; "infeasible", no weights with
            κ̃ > 0 exist; "not found", where greedy elimination found none, or "time limit", with or without weights.
        weights: J̃ (N,), exactly 0 where there is no connection; None where there are none with κ̃ > 0.
        robustness: κ̃, the least margin of ``weights``; NaN without.
        bound: no weights have a larger κ̃. For "infeasible" at most 0; −inf where the constraints admit no weights.
        tight: which associations are at the margin, within 1e-9, (m,).
        binding: whether l0 or gap changed the result: False where the linear program satisfies them already. Where l0
            alone binds there are N p non-zero weights, unless another number does as well.
        certificate: what an independent check of the weights found; None without weights.
        seconds: how long it took.

    Example:
        >>> from gossamer.associative import Associations
        >>> from gossamer.associative.solve import robust_weights
        >>> robust_weights(Associations([[1, 0], [1, 0]], [1, 0])).status
        'infeasible'
    """

    status: str
    weights: Floats | None
    robustness: float
    bound: float
    tight: NDArray[np.bool_]
    binding: bool
    certificate: Certificate | None
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether the status is certain: optimal, or infeasible."""
        return self.status in ("optimal", "infeasible")

    @property
    def relative_gap(self) -> float:
        """(bound − κ̃)/κ̃: 0 once optimal, NaN without weights."""
        return 0.0 if self.status == "optimal" else (self.bound - self.robustness) / self.robustness

    @property
    def density(self) -> float:
        """The fraction of weights that aren't zero; NaN without weights."""
        return math.nan if self.weights is None else float((self.weights != 0).mean())


def robust_weights(
    problem: Associations,
    *,
    threshold: float = 0.0,
    signs: ArrayLike | None = None,
    density: float | None = None,
    gap: float | None = None,
    method: str = "exact",
    solver: str = "scipy",
    time_limit: float | None = None,
) -> RobustWeights:
    """Maximise the robustness κ̃ of the weights that store given associations.

        maximise κ̃ over J̃ with s^μ ((1/N) J̃·X^μ − h̃) ≥ κ̃/√N for all μ, subject to

        Σ|J̃_i| = N                     always (l1)
        J̃_i g_i ≥ 0                    with ``signs``
        at most N p non-zero weights   with ``density`` p (l0)
        J̃_i = 0 or |J̃_i| ≥ δ̃           with ``gap`` δ̃

    A linear program without l0 and gap (HiGHS dual simplex): seconds at N = 400. With them, or where free signs and
    h̃ ≠ 0 make the best weights of that program fall short of the norm, a mixed-integer one:
    seconds up to N of about 24, often unproven from 40 on. It starts from greedy elimination, whose weights are
    returned if nothing better is found.

    Args:
        problem: m ≥ 1 associations of one unit.
        threshold: h̃ = h/(N w), finite.
        signs: g (N,) of ±1; None for free signs.
        density: p in (0, 1]; N p is rounded.
        gap: δ̃ ≥ 0 in units of the mean |J|.
        method: "exact"; "greedy" solves linear programs only, dropping the weakest 10 % of weights each time.
        solver: of the mixed-integer program: "scipy"; or "highspy" or "pyscipopt", where installed, which also start
            from the greedy weights.
        time_limit: seconds, > 0, for all programs together, those of greedy elimination included, but for a last linear
            program that polishes the weights found; None for no limit.

    Returns:
        `RobustWeights`. That there are no weights, or not enough time, is a status.

    Raises:
        InputError: arguments out of range, m = 0, the targets of several units.
        ModuleNotFoundError: a solver that isn't installed.

    Example:
        >>> from gossamer.associative import random_associations
        >>> from gossamer.associative.solve import robust_weights
        >>> problem = random_associations(50, 40, np.random.default_rng(0))
        >>> found = robust_weights(problem)
        >>> found.status, int(found.tight.sum()) == int((found.weights != 0).sum())
        ('optimal', True)
    """
    started = time.monotonic()
    constraints = check_constraints(problem, threshold, signs, density, gap)
    check_choice("method", method, ("exact", "greedy"))
    check_choice("solver", solver, ("scipy", "highspy", "pyscipopt"))
    if time_limit is not None:
        check_fraction("time_limit", time_limit, high=math.inf, open_low=True, open_high=True)
    deadline = math.inf if time_limit is None else started + time_limit
    engine = _engine(solver)
    n = problem.n_inputs

    def done(status: str, weights: Floats | None, bound: float, binding: bool) -> RobustWeights:
        return _outcome(problem, constraints, status, weights, bound, binding, time.monotonic() - started)

    if constraints.gap * (constraints.connections or 1) > n * (1 + 1e-12):
        return done("infeasible", None, -math.inf, True)
    free = linear_program(problem, constraints, time_limit=time_limit)
    if free is None:  # bounded and never without a solution: else only numerical trouble leads here
        return done("time limit" if time.monotonic() >= deadline else "not found", None, math.inf, False)
    if free.robustness <= ZERO:  # a bound also where the norm isn't used up
        return done("infeasible", None, free.robustness, False)
    size = np.abs(free.weights)
    count = int((size > 0).sum())
    few = constraints.connections is None or count <= constraints.connections
    if free.slack <= ZERO and few and size[size > 0].min() >= constraints.gap:
        return done("optimal", free.weights, free.robustness, False)
    start = eliminate(problem, constraints, free, deadline=deadline)
    if start is not None and not _usable(problem, constraints, start):
        start = None
    left = None if time_limit is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        return done("time limit", start, free.robustness, True)
    if method == "greedy":
        return done("not found" if start is None else "feasible", start, free.robustness, True)
    cutoff = None if start is None else float(margins(problem, start, constraints.threshold).min())
    found = engine(build_program(problem, constraints, cutoff), n, start, left)
    bound = min(found.bound, free.robustness)
    best = _best(problem, constraints, start, found.weights)
    if found.ended == "time limit":
        return done("time limit", best, bound, True)
    if best is None and found.ended == "optimal" and bound > 1e-6:  # its weights missed a constraint by rounding
        return done("not found", None, bound, True)
    if best is None:
        return done("infeasible", None, bound if math.isfinite(bound) else -math.inf, True)
    return done("optimal", best, max(bound, 0.0), True)


def _outcome(
    problem: Associations,
    constraints: Constraints,
    status: str,
    weights: Floats | None,
    bound: float,
    binding: bool,
    seconds: float,
) -> RobustWeights:
    if weights is None:
        none = np.zeros(len(problem), np.bool_)
        return RobustWeights(status, None, math.nan, bound, none, binding, None, seconds)
    margin = margins(problem, weights, constraints.threshold)
    kappa = float(margin.min())
    certificate = certify(problem, weights, kappa, constraints)
    if not certificate.holds():
        raise ArithmeticError(f"the solver's weights break a constraint: {certificate}")
    tight = margin <= kappa + ZERO
    return RobustWeights(status, weights, kappa, max(bound, kappa), tight, binding, certificate, seconds)


def _usable(problem: Associations, constraints: Constraints, weights: Floats) -> bool:
    kappa = float(margins(problem, weights, constraints.threshold).min())
    return kappa > ZERO and certify(problem, weights, kappa, constraints).holds(1e-9)


def _best(problem: Associations, constraints: Constraints, start: Floats | None, found: Floats | None) -> Floats | None:
    """The better of two, that of the solver solved once more on its support by the linear program."""
    candidates = [] if start is None else [start]
    if found is not None and (found != 0).any():
        signs = np.where(found < 0, -1, 1).astype(np.int8)
        exact = linear_program(problem, replace(constraints, signs=signs), found != 0, constraints.gap)
        candidates += [] if exact is None else [exact.weights]
        candidates.append(found / np.abs(found).mean())
    usable = [weights for weights in candidates if _usable(problem, constraints, weights)]
    if not usable:
        return None
    return max(usable, key=lambda weights: float(margins(problem, weights, constraints.threshold).min()))


def _engine(solver: str) -> Solver:
    """The function that solves with ``solver``; found out before anything is computed."""
    if solver == "scipy":
        return lambda program, n, start, limit: integer_program(program, n, limit)
    try:
        import_module(solver)
    except ModuleNotFoundError as error:
        if error.name != solver:
            raise
        raise ModuleNotFoundError(
            f"solver {solver!r} needs {solver}, which isn't installed: pip install {solver}", name=solver
        ) from None
    from gossamer.associative.solve import engines

    return engines.highspy_program if solver == "highspy" else engines.pyscipopt_program
