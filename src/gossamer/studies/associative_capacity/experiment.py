"""What is computed for each random problem: solutions at a load, capacities at a robustness, and small exact programs.

Three kinds of trial, each for one draw of associations with f_in = f_out = ½ and h = 0:

``load``
    the most robust weights at a given load, by the linear program;
``capacity``
    the largest load at which a method stores all associations with a given robustness κ̃. The associations of a smaller
    load are the first ones of a larger load, and the load is found by bisection to 1 % of N. For the linear program
    the result is exact, since its robustness can't rise with further associations. Greedy elimination and the online
    rule are not monotone; bisection gives a load up to which they usually succeed;
``integer``
    mixed-integer programs at m = N: gap, then l0 with as many connections as the gap left, with the greedy and the
    unconstrained solution of the same associations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.studies.trials import Trial

__all__ = ["PLANS", "Part", "Plan", "carry_out", "trials_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Trials of one kind and method with ``draws`` seeds each, for every value in ``constraints``.

    ``constraints`` holds keywords of the theory: ``inhibitory``, ``density``, ``gap``. ``at`` holds loads for the kind
    "load", and robustnesses for the kind "capacity".
    """

    kind: str
    method: str
    n_inputs: int
    draws: int
    constraints: tuple[Mapping[str, float], ...] = ({},)
    at: tuple[float, ...] = (1.0,)
    steps: int = 0
    keep_weights: bool = False
    seconds: float = 60.0


@dataclass(frozen=True)
class Plan:
    """The parts of a preset."""

    parts: tuple[Part, ...]

    def with_draws(self, draws: int) -> Plan:
        """The same with another number of draws."""
        return replace(self, parts=tuple(replace(part, draws=draws) for part in self.parts))


_L1: dict[str, float] = {}
_SIGNS = {"inhibitory": 0.2}
_L0 = tuple({"density": p} for p in (0.1, 0.2, 0.3, 0.45))
_GAP = tuple({"gap": d} for d in (0.5, 1.0, 1.5, 2.0, 3.0))

PLANS: Mapping[str, Plan] = {
    "quick": Plan(
        (
            Part("load", "linear program", 100, 4, (_L1,), (0.4, 0.8, 1.2), keep_weights=True),
            Part("load", "linear program", 100, 4, (_SIGNS,), (0.2, 0.4), keep_weights=True),
            Part("capacity", "linear program", 100, 4, (_L1, _SIGNS), (0.1, 0.3, 0.5)),
            Part("capacity", "greedy", 100, 4, _L0[1:3], (0.3,), keep_weights=True),
            Part("capacity", "greedy", 100, 4, _GAP[2:4], (0.3,), keep_weights=True),
            Part("integer", "integer program", 12, 4, ({"gap": 1.5},), seconds=20.0),
            Part("integer", "integer program", 16, 4, ({"gap": 1.5},), seconds=20.0),
            Part("capacity", "online rule", 100, 4, _GAP[1:4], (0.3,), steps=30_000, keep_weights=True),
        )
    ),
    "full": Plan(
        (
            Part("load", "linear program", 400, 6, (_L1,), (0.3, 0.6, 0.9, 1.2, 1.5), keep_weights=True),
            Part("load", "linear program", 400, 6, (_SIGNS,), (0.2, 0.4, 0.6), keep_weights=True),
            Part("capacity", "linear program", 200, 10, (_L1, _SIGNS), (0.1, 0.3, 0.5, 0.8)),
            Part("capacity", "greedy", 200, 5, (*_L0, *_GAP[1:]), (0.3,), keep_weights=True),
            Part("integer", "integer program", 16, 20, ({"gap": 1.5},), seconds=60.0),
            Part("integer", "integer program", 20, 12, ({"gap": 1.5},), seconds=60.0),
            Part("integer", "integer program", 24, 8, ({"gap": 1.5},), seconds=60.0),
            Part("capacity", "online rule", 200, 20, ({"gap": 0.0}, *_GAP), (0.3,), steps=100_000, keep_weights=True),
            Part("capacity", "online rule", 200, 8, (_GAP[2], _GAP[3]), (0.3,), steps=1_000_000, keep_weights=True),
            Part("capacity", "online rule", 400, 10, _GAP, (0.3,), steps=100_000),
            Part("capacity", "online rule", 200, 20, ({"gap": 1.5, **_SIGNS},), (0.3,), steps=100_000),
            Part("capacity", "older rule", 200, 20, (_SIGNS,), (0.3,), steps=100_000),
        )
    ),
}


def trials_of(plan: Plan) -> list[Trial]:
    """All trials of a plan, draw by draw within each setting."""
    return [
        Trial(
            _name(part, constraint, at),
            f"N = {part.n_inputs}",
            seed,
            {
                "kind": part.kind,
                "method": part.method,
                "n_inputs": part.n_inputs,
                "constraint": dict(constraint),
                "at": at,
                "steps": part.steps,
                "keep_weights": part.keep_weights,
                "seconds": part.seconds,
            },
        )
        for part in plan.parts
        for constraint in part.constraints
        for at in part.at
        for seed in range(part.draws)
    ]


def _name(part: Part, constraint: Mapping[str, float], at: float) -> str:
    letters = {"inhibitory": "φ", "density": "p", "gap": "δ̃"}
    words = [f"{letters[name]} {value:g}" for name, value in constraint.items()] or ["l1"]
    what = {"load": f"load {at:g}", "capacity": f"κ̃ {at:g}", "integer": "m = N"}[part.kind]
    steps = f", {part.steps:,} steps" if part.steps else ""
    return f"{part.method}, {', '.join(words)}, {what}{steps}"


def carry_out(trial: Trial) -> dict[str, Any]:
    """One trial, from its content alone."""
    kinds: dict[str, Callable[[Trial], dict[str, Any]]] = {
        "load": _at_load,
        "capacity": _capacity,
        "integer": _integer,
    }
    return kinds[trial.settings["kind"]](trial)


def _patterns(trial: Trial, most: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int8] | None]:
    """Inputs (most, N), targets and signs: the same for all methods with the same N and seed, row by row."""
    from gossamer.associative import random_signs

    n = trial.settings["n_inputs"]
    generator = np.random.default_rng([trial.seed, n])
    phi = trial.settings["constraint"].get("inhibitory")
    signs = random_signs(n, 0.2 if phi is None else phi, generator)
    rows = generator.random((most, n + 1)) < 0.5
    return rows[:, :n], rows[:, n], None if phi is None else signs


def _at_load(trial: Trial) -> dict[str, Any]:
    from gossamer.associative import Associations
    from gossamer.associative.solve import robust_weights

    n = trial.settings["n_inputs"]
    m = round(trial.settings["at"] * n)
    inputs, targets, signs = _patterns(trial, m)
    found = robust_weights(Associations(inputs, targets), signs=signs)
    if found.weights is None:
        return {"status": found.status, "robustness": None, "sparsity": None, "tight": None, "connections": None}
    return {
        "status": found.status,
        "robustness": found.robustness,
        "sparsity": 1 - found.density,
        "tight": int(found.tight.sum()),
        "connections": int((found.weights != 0).sum()),
        **_kept(trial, found.weights),
    }


def _capacity(trial: Trial) -> dict[str, Any]:
    from gossamer.associative import Associations, theory

    n, kappa = trial.settings["n_inputs"], trial.settings["at"]
    limit = 1.4 * float(theory.capacity(kappa, **_known(trial)).load) * n
    inputs, targets, signs = _patterns(trial, math.ceil(limit))
    store = _METHODS[trial.settings["method"]]
    low, high, best = 0, math.ceil(limit), None
    while high - low > max(1, n // 100):
        middle = (low + high) // 2
        weights = store(trial, Associations(inputs[:middle], targets[:middle]), signs)
        if weights is None:
            high = middle
        else:
            low, best = middle, weights
    if best is None:
        return {"load": 0.0, "sparsity": None}
    return {"load": low / n, "sparsity": float((best == 0).mean()), **_kept(trial, best)}


def _known(trial: Trial) -> dict[str, float]:
    """The constraint as the theory takes it."""
    return {name: value for name, value in trial.settings["constraint"].items() if (name, value) != ("gap", 0.0)}


def _kept(trial: Trial, weights: Floats) -> dict[str, Any]:
    if not trial.settings["keep_weights"]:
        return {}
    return {"weights": [round(float(weight), 3) for weight in weights[weights != 0]]}


def _by_program(trial: Trial, problem: Any, signs: NDArray[np.int8] | None) -> Floats | None:
    from gossamer.associative.solve import robust_weights

    constraint = trial.settings["constraint"]
    found = robust_weights(
        problem,
        signs=signs,
        density=constraint.get("density"),
        gap=constraint.get("gap"),
        method="greedy" if trial.settings["method"] == "greedy" else "exact",
    )
    return found.weights if found.weights is not None and found.robustness >= trial.settings["at"] else None


def _by_rule(trial: Trial, problem: Any, signs: NDArray[np.int8] | None) -> Floats | None:
    from gossamer.associative import learn_online
    from gossamer.associative.rule import OnlineRule

    older = trial.settings["method"] == "older rule"
    found = learn_online(
        problem,
        robustness=trial.settings["at"] * math.sqrt(problem.n_inputs),
        gap=trial.settings["constraint"].get("gap", 0.0),
        signs=signs,
        rule=OnlineRule.older() if older else None,
        max_steps=trial.settings["steps"],
        generator=np.random.default_rng([trial.seed, len(problem)]),
    )
    return found.weights[0] if found.success[0] else None


_METHODS: Mapping[str, Callable[[Trial, Any, NDArray[np.int8] | None], Floats | None]] = {
    "linear program": _by_program,
    "greedy": _by_program,
    "online rule": _by_rule,
    "older rule": _by_rule,
}


def _integer(trial: Trial) -> dict[str, Any]:
    from gossamer.associative import Associations
    from gossamer.associative.solve import robust_weights

    n, gap, seconds = (trial.settings[name] for name in ("n_inputs", "constraint", "seconds"))
    inputs, targets, _ = _patterns(trial, n)
    problem = Associations(inputs, targets)
    free = robust_weights(problem)
    outcome: dict[str, Any] = {"free": _reported(free), "gap": None, "l0": None, "greedy": None}
    if free.weights is None:
        return outcome
    with_gap = robust_weights(problem, gap=gap["gap"], time_limit=seconds)
    outcome["gap"] = _reported(with_gap)
    if with_gap.weights is not None:
        outcome["l0"] = _reported(robust_weights(problem, density=with_gap.density, time_limit=seconds))
        outcome["greedy"] = _reported(robust_weights(problem, density=with_gap.density, method="greedy"))
    return outcome


def _reported(found: Any) -> dict[str, Any]:
    return {
        "status": found.status,
        "robustness": found.robustness,
        "sparsity": 1 - found.density,
        "bound": found.bound,
        "seconds": round(found.seconds, 2),
    }
