"""The solvers on data: exact facts at finite N, agreement with the theory, states, and what is refused."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from gossamer.associative import Associations, random_associations, random_signs
from gossamer.associative.solve import RobustWeights, robust_weights
from gossamer.associative.solve.constraints import Constraints, certify
from gossamer.associative.theory import capacity, weight_distribution
from gossamer.errors import InputError


def draw(n: int, m: int, seed: int, **probabilities: Any) -> Associations:
    return random_associations(n, m, np.random.default_rng(seed), **probabilities)


def check(problem: Associations, found: RobustWeights, **asked: Any) -> None:
    """Every constraint, computed here once more."""
    J, n = found.weights, problem.n_inputs
    assert J is not None
    assert np.abs(J).sum() == pytest.approx(n, abs=1e-6)
    fields = np.sqrt(n) * problem.labels * (problem.inputs.astype(float) @ J / n - asked.get("threshold", 0))
    assert fields.min() == pytest.approx(found.robustness, abs=1e-9)
    assert found.robustness > 0
    assert found.bound >= found.robustness - 1e-12
    assert np.array_equal(found.tight, fields <= fields.min() + 1e-9)
    if asked.get("signs") is not None:
        assert (J * asked["signs"] >= 0).all()
    if asked.get("density"):
        most = int(asked["density"] * n + 0.5)
        assert (J != 0).sum() <= most
    if asked.get("gap"):
        assert (np.abs(J[J != 0]) >= asked["gap"] - 1e-9).all()
    assert found.certificate is not None
    assert found.certificate.holds()


# ---- exact at finite N -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.03])
def test_tight_rows_equal_nonzero_weights(signed: bool, threshold: float) -> None:
    for seed in range(5):
        problem = draw(60, 30, seed)
        signs = random_signs(60, 0.3, np.random.default_rng(seed)) if signed else None
        found = robust_weights(problem, signs=signs, threshold=threshold)
        assert found.status == "optimal"
        assert found.proven
        check(problem, found, signs=signs, threshold=threshold)
        assert found.weights is not None
        assert found.tight.sum() == (found.weights != 0).sum()


@pytest.mark.parametrize("n", [12, pytest.param(16, marks=pytest.mark.slow)])
def test_greedy_is_at_most_exact_and_exact_at_most_free(n: int) -> None:
    used = []
    for seed in range(6 if n == 12 else 34):
        problem = draw(n, n, seed)
        free, greedy, exact = (
            robust_weights(problem),
            robust_weights(problem, density=0.5, method="greedy"),
            robust_weights(problem, density=0.5),
        )
        assert exact.proven
        if exact.status == "infeasible":
            assert greedy.weights is None
            continue
        check(problem, exact, density=0.5)
        assert exact.robustness <= free.robustness + 1e-9
        assert exact.weights is not None
        used.append((exact.weights != 0).sum() if exact.binding else n // 2)
        if greedy.weights is not None:
            check(problem, greedy, density=0.5)
            assert greedy.robustness <= exact.robustness + 1e-9
            assert greedy.robustness <= greedy.bound
    assert np.mean(np.array(used) == n // 2) > 0.8  # all N p connections, but for ties


CASES: list[dict[str, Any]] = [
    {"gap": 2.0},
    {"gap": 1.5, "density": 0.5},
    {"gap": 1.5, "signs": "drawn"},
    {"density": 0.25, "signs": "drawn"},
    {"gap": 2.0, "threshold": 0.05},
]


@pytest.mark.parametrize("case", CASES)
def test_mixed_integer_constraints(case: dict[str, Any]) -> None:
    solved = 0
    for seed in range(3):
        problem = draw(12, 7, seed)
        asked = dict(case)
        if "signs" in case:
            asked["signs"] = random_signs(12, 0.4, np.random.default_rng(seed))
        exact, greedy = robust_weights(problem, **asked), robust_weights(problem, method="greedy", **asked)
        assert exact.proven
        if exact.status == "optimal":
            solved += 1
            check(problem, exact, **asked)
        if greedy.weights is not None:
            check(problem, greedy, **asked)
            assert greedy.robustness <= exact.robustness + 1e-9
    assert solved


def test_small_problems_by_enumeration() -> None:
    """l0 with N = 6: the best of the linear programs on all supports."""
    from itertools import combinations

    for seed in range(4):
        problem = draw(6, 4, seed)
        exact = robust_weights(problem, density=0.5)
        best = 0.0
        for chosen in combinations(range(6), 3):
            part = robust_weights(Associations(problem.inputs[:, chosen], problem.targets))
            if part.weights is not None:  # of twice the size, as its norm is 6 instead of 3
                best = max(best, part.robustness * np.sqrt(2))
        assert (exact.robustness if exact.weights is not None else 0) == pytest.approx(best, abs=1e-7)


@pytest.mark.parametrize("solver", ["highspy", "pyscipopt"])
def test_other_solvers_agree_and_print_nothing(solver: str, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(solver)
    problem = draw(12, 10, 1)
    each: list[dict[str, Any]] = [{"density": 0.25}, {"gap": 2.0}]
    for asked in each:
        ours, theirs = robust_weights(problem, **asked), robust_weights(problem, solver=solver, **asked)
        assert ours.status == theirs.status == "optimal"
        assert ours.robustness == pytest.approx(theirs.robustness, abs=1e-6)
        check(problem, theirs, **asked)
    assert capfd.readouterr() == ("", "")


# ---- against the theory ----------------------------------------------------------------------------------------------


def test_linear_program_meets_the_theory() -> None:
    """l1, κ̃ = 0.5, N = 200: mean robustness, density and margin, and the weights of all draws in one KS test."""
    theory = capacity(0.5)
    runs = [robust_weights(draw(200, round(float(theory.load) * 200), seed)) for seed in range(12)]
    assert np.mean([run.robustness for run in runs]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([run.density for run in runs]) == pytest.approx(float(theory.density), abs=0.03)
    assert np.mean([run.tight.mean() for run in runs]) == pytest.approx(float(theory.margin), abs=0.03)
    weights = np.concatenate([run.weights for run in runs if run.weights is not None])
    law = weight_distribution(theory)
    assert (weights == 0).mean() == pytest.approx(law.zero, abs=0.03)
    low = law.cdf(0.0)

    def size(w: Any) -> Any:
        return (law.cdf(w) - low) / (1 - low)

    assert kstest(np.abs(weights[weights != 0]), size).pvalue > 0.01
    assert np.mean(weights**2) / 4 == pytest.approx(float(theory.variance), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("robustness", "case", "within"),
    [
        (0.1, {}, 0.05),
        (0.3, {"inhibitory": 0.2}, 0.1),
        (0.1, {"f_in": 0.2, "f_out": 0.2, "threshold": 0.05}, 0.05),
        (0.2, {"f_out": 0.3, "threshold": 0.1}, 0.05),
        (0.3, {"f_in": np.repeat([0.2, 0.4, 0.6, 0.8], 50), "threshold": 0.05}, 0.05),
    ],
)
def test_more_linear_programs_meet_the_theory(robustness: float, case: dict[str, Any], within: float) -> None:
    theory = capacity(robustness, **case)
    runs = []
    for seed in range(12):
        probabilities = {name: case[name] for name in ("f_in", "f_out") if name in case}
        problem = draw(200, round(float(theory.load) * 200), seed, **probabilities)
        share = case.get("inhibitory")
        signs = None if share is None else random_signs(200, share, np.random.default_rng(seed))
        runs.append(robust_weights(problem, signs=signs, threshold=case.get("threshold", 0.0)))
    assert np.mean([run.robustness for run in runs]) == pytest.approx(robustness, abs=within)
    assert np.mean([run.density for run in runs]) == pytest.approx(float(theory.density), abs=0.03)
    assert all(run.tight.sum() == round(run.density * 200) for run in runs)


@pytest.mark.slow
@pytest.mark.parametrize(("balanced", "full", "off"), [(False, 2.0, 0.1), (True, 1.0, 0.2)])
def test_feasible_below_capacity_only(balanced: bool, full: float, off: float) -> None:
    signs = np.repeat([1, -1], 100) if balanced else None

    def share(load: float) -> float:
        runs = (robust_weights(draw(200, round(load * 200), seed), signs=signs) for seed in range(20))
        return float(np.mean([run.status == "optimal" for run in runs]))

    assert share(full * (1 - off)) > 0.8
    assert share(full * (1 + off)) < 0.3


# ---- states ----------------------------------------------------------------------------------------------------------


def test_contradictory_patterns_are_infeasible() -> None:
    problem = Associations(np.array([[1, 0, 1], [0, 1, 1], [1, 0, 1]]), [1, 0, 0])
    each: list[dict[str, Any]] = [{}, {"density": 0.5}, {"gap": 1.2}]
    for asked in each:
        found = robust_weights(problem, **asked)
        assert (found.status, found.weights, found.proven) == ("infeasible", None, True)
        assert found.bound <= 1e-9
        assert np.isnan(found.robustness)
        assert np.isnan(found.density)
        assert not found.tight.any()


def test_loads_far_above_capacity_are_infeasible_at_once() -> None:
    """J = 0 is the best of the linear program, with no norm at all: no reason for a mixed-integer one."""
    each: list[dict[str, Any]] = [{}, {"gap": 2.0}, {"density": 0.2}]
    for asked in each:
        found = robust_weights(draw(100, 300, 0), time_limit=60, **asked)
        assert found.status == "infeasible"
        assert found.seconds < 20


def test_a_gap_that_no_weights_have() -> None:
    problem = draw(10, 3, 0)
    each: list[dict[str, Any]] = [{"gap": 10.5}, {"gap": 2.5, "density": 0.5}]
    for asked in each:
        found = robust_weights(problem, **asked)
        assert (found.status, found.bound) == ("infeasible", -np.inf)
    alone = robust_weights(Associations([[1, 0], [1, 1]], [1, 1]), gap=2.0)
    assert alone.weights is not None
    assert alone.weights.tolist() == [2, 0]


def test_a_time_limit_is_a_state() -> None:
    problem = draw(40, 30, 0)
    found = robust_weights(problem, density=0.3, time_limit=1.0)
    assert found.status == "time limit"
    assert not found.proven
    assert found.weights is not None
    check(problem, found, density=0.3)
    assert found.relative_gap > 0
    greedy = robust_weights(problem, density=0.3, method="greedy")
    assert found.robustness >= greedy.robustness - 1e-9


@pytest.mark.parametrize("asked", [{"gap": 2.0}, {"density": 0.2}, {"gap": 2.0, "method": "greedy"}])
def test_a_time_limit_bounds_the_programs_of_greedy_elimination(asked: dict[str, Any]) -> None:
    problem = draw(200, 200, 0)
    for limit in (1e-3, 0.3):
        found = robust_weights(problem, time_limit=limit, **asked)
        assert found.status == "time limit"
        assert found.seconds < limit + 0.5
        assert found.weights is None or found.certificate is not None


def test_a_density_above_the_natural_one_does_not_bind() -> None:
    problem = draw(40, 10, 0)
    free, l0 = robust_weights(problem), robust_weights(problem, density=0.9)
    assert not l0.binding
    assert l0.status == "optimal"
    assert l0.weights is not None
    assert free.weights is not None
    assert np.array_equal(l0.weights, free.weights)


def test_one_input_one_pattern_and_equal_targets() -> None:
    one = robust_weights(Associations([[1]], [0]))
    assert one.weights is not None
    assert one.weights.tolist() == [-1]
    assert one.robustness == pytest.approx(1)
    assert robust_weights(Associations([[0]], [1])).status == "infeasible"
    assert robust_weights(Associations([[1], [1]], [0, 0]), signs=[1]).status == "infeasible"
    same = Associations(draw(20, 10, 0).inputs, np.ones(10))
    found = robust_weights(same)
    check(same, found)
    assert found.weights is not None
    silent = robust_weights(Associations(same.inputs, np.zeros(10)), threshold=0.8, signs=np.ones(20))
    check(Associations(same.inputs, np.zeros(10)), silent, threshold=0.8, signs=np.ones(20))


def test_a_norm_that_the_linear_program_does_not_use_up() -> None:
    """All targets 0 and a high threshold: without weights the margin would be best, yet their norm is prescribed."""
    problem = Associations([[1, 1, 1], [1, 0, 1]], [0, 1])
    for threshold in (0.9, 0.2, -0.3, -2.0):
        found = robust_weights(problem, threshold=threshold)
        if found.weights is not None:
            check(problem, found, threshold=threshold)
    high = robust_weights(Associations([[1, 1], [1, 1]], [0, 0]), threshold=5.0)
    assert high.weights is not None
    assert np.abs(high.weights).mean() == pytest.approx(1)


def test_the_certificate_sees_what_is_wrong() -> None:
    problem = draw(10, 4, 0)
    J = robust_weights(problem).weights
    assert J is not None
    asked = Constraints(0.0, np.where(J < 0, 1, -1).astype(np.int8), 1, 100.0)
    kappa = robust_weights(problem).robustness
    found = certify(problem, 0.5 * J, kappa, asked)
    assert found.l1 == pytest.approx(0.5)
    assert found.margin == pytest.approx(kappa / 2)
    assert found.sign == pytest.approx(np.abs(J).max() / 2)
    assert found.connections == (J != 0).sum() - 1
    assert found.gap > 0
    assert not found.holds()
    assert certify(problem, J, kappa, replace(asked, signs=None, connections=None, gap=0.0)).holds(1e-12)


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"density": 0.0}, "density must be in (0, 1], got 0.0"),
        ({"density": 0.01}, "density must leave at least one of 10 inputs, got 0.01"),
        ({"gap": -1}, "gap must be in [0, inf), got -1"),
        ({"gap": float("nan")}, "gap must be in [0, inf), got nan"),
        ({"threshold": float("inf")}, "threshold must be a finite number, got inf"),
        ({"threshold": "0"}, "threshold must be a finite number, got '0'"),
        ({"signs": [1]}, "signs must have shape (10,)"),
        ({"method": "fast"}, "method must be one of 'exact', 'greedy', got 'fast'"),
        ({"solver": "gurobi"}, "solver must be one of"),
        ({"time_limit": 0}, "time_limit must be in (0, inf), got 0"),
    ],
)
def test_bad_input(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        robust_weights(draw(10, 4, 0), **asked)


def test_a_solver_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(ModuleNotFoundError, match=r"solver 'highspy' needs highspy, .* pip install highspy"):
        robust_weights(draw(10, 4, 0), solver="highspy")


def test_problems_that_are_none() -> None:
    with pytest.raises(InputError, match="problem must have at least one association, got m = 0"):
        robust_weights(draw(10, 0, 0))
    with pytest.raises(InputError, match="problem must have the targets"):
        robust_weights(draw(10, 4, 0, n_units=2))
