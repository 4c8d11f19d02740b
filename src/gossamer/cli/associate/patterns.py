"""``gossamer associate solve`` and ``learn``: weights for associations from a file, or for random ones."""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.associative import Associations, random_associations, random_signs, theory
from gossamer.cli.associate import drawings as pictures
from gossamer.cli.associate.associations import read_associations
from gossamer.cli.associate.output import Result, progress_bar, waiting, weights_csv
from gossamer.errors import InputError, check_count
from gossamer.studies.findings import Table

__all__ = ["learn", "solve"]


def _problem(arguments: argparse.Namespace, units: int | None) -> tuple[Associations, NDArray[np.int8] | None]:
    """The associations and the signs of the inputs."""
    check_count("seed", arguments.seed)
    if (arguments.data is None) == (arguments.random is None):
        raise InputError("either DATA, a file of associations, or --random N,M must be given")
    generator = np.random.default_rng(arguments.seed)
    if arguments.random is None:
        if units is not None:
            raise InputError(f"--units must be left out with a file, whose targets it has, got {units}")
        problem = read_associations(arguments.data, arguments.target)
    else:
        n, m = arguments.random
        problem = random_associations(n, m, generator, f_in=arguments.f_in, f_out=arguments.f_out, n_units=units)
    if len(problem) == 0:
        raise InputError("there must be at least one association, got none")
    signs = None if arguments.inhibitory is None else random_signs(problem.n_inputs, arguments.inhibitory, generator)
    return problem, signs


def _circuit(arguments: argparse.Namespace, problem: Associations) -> dict[str, Any]:
    """The constraint as the theory takes it, with the probabilities of a file's own patterns."""
    f_in, f_out = arguments.f_in, arguments.f_out
    if arguments.random is None:
        f_in, f_out = (min(max(float(part.mean()), 1e-3), 1 - 1e-3) for part in (problem.inputs, problem.targets))
    known: dict[str, Any] = {"threshold": arguments.threshold, "f_in": f_in, "f_out": f_out}
    if arguments.inhibitory is not None:
        known["inhibitory"] = arguments.inhibitory
    if arguments.gap:
        known["gap"] = arguments.gap
    return known


def solve(arguments: argparse.Namespace) -> Result:
    """``gossamer associate solve``: the most robust weights of one unit."""
    from gossamer.associative.solve import robust_weights

    problem, signs = _problem(arguments, None)
    with waiting(arguments, f"solving: N = {problem.n_inputs}, m = {len(problem)}"):
        found = robust_weights(
            problem,
            threshold=arguments.threshold,
            signs=signs,
            density=arguments.density,
            gap=arguments.gap,
            method=arguments.method or "exact",
            time_limit=arguments.time_limit,
        )
    connections = 0 if found.weights is None else int((found.weights != 0).sum())
    values = {
        "status": found.status, "robustness": found.robustness, "bound": found.bound, "proven": found.proven,
        "sparsity": 1 - found.density, "connections": connections, "tight": int(found.tight.sum()),
        "n_inputs": problem.n_inputs, "n_associations": len(problem), "load": problem.load, "seconds": found.seconds,
    }  # fmt: skip
    known = _circuit(arguments, problem)
    if arguments.density is not None:
        known["density"] = arguments.density
        known.pop("gap", None)  # the theory has either

    def shown() -> list[pictures.Shown]:
        if found.weights is None:
            return []
        parts = [pictures.place(known, [(found.robustness, problem.load)], [1 - found.density])]
        laws = _laws(known, problem.load, "theory, at this load")
        parts.append(pictures.weights(found.weights[found.weights != 0], laws, found.density))
        return [part for part in parts if part is not None]

    columns = ("quantity", "value")
    rows = [(name.replace("_", " ").replace("n ", "number of "), _cell(value)) for name, value in values.items()]
    files = {} if found.weights is None else {"weights.csv": weights_csv(found.weights[None], signs)}
    sure = "" if found.proven else f" It is not proven to be the best: no weights exceed {found.bound:.4g}."
    text = f"No weights with a positive robustness: {found.status}." if found.weights is None else (
        f"{found.status}: robustness {found.robustness:.4g} with {connections} of {problem.n_inputs} connections "
        f"(sparsity {1 - found.density:.3f}), {int(found.tight.sum())} associations at the margin.{sure}"
    )  # fmt: skip
    return Result(
        title=f"{len(problem)} associations of {problem.n_inputs} inputs",
        summary=text,
        values=values,
        tables=[Table("Solution", columns, rows)],
        shown=shown,
        files=files,
        settings=known,
    )


def learn(arguments: argparse.Namespace) -> Result:
    """``gossamer associate learn``: the online rule on many units."""
    from gossamer.associative import learn_online

    problem, signs = _problem(arguments, arguments.units)
    n = problem.n_inputs
    units = problem.n_units or 1
    check_count("steps", arguments.steps, low=1, high=10**9)
    every = max(1, arguments.steps // 2000)
    with (
        progress_bar(arguments, "learning, units finished", units)
        if units > 1  # of one unit, a bar would stay empty until the end
        else waiting(arguments, f"learning, at most {arguments.steps:,} steps")
    ) as progress:
        found = learn_online(
            problem,
            robustness=arguments.robustness * math.sqrt(n),
            threshold=arguments.threshold * n,
            gap=arguments.gap or 0.0,
            signs=signs,
            max_steps=arguments.steps,
            history=every if arguments.out is not None else 0,
            generator=np.random.default_rng([arguments.seed, 1]),
            time_limit=arguments.time_limit,
            progress=progress,
        )
    density = float((found.weights != 0).mean())
    conditions = found.conditions
    values = {
        "success": int(found.success.sum()), "units": units, "sparsity": 1 - density,
        "median_steps": float(np.median(found.steps)), "n_inputs": n, "n_associations": len(problem),
        "load": problem.load, "robustness": arguments.robustness,
        "unstored": int((conditions.violated > 0).sum()), "wrong_signs": int((conditions.sign_violations > 0).sum()),
        "in_gap": int((conditions.gap_violations > 0).sum()),
        "off_norm": int((np.abs(conditions.norm_error) > 1e-3).sum()),
        "status": found.status if units <= 1000 else None, "steps": found.steps.tolist() if units <= 1000 else None,
    }  # fmt: skip
    known = _circuit(arguments, problem)

    def shown() -> list[pictures.Shown]:
        sparsity = [1 - density]
        laws = _laws(known, None, "theory, at capacity", arguments.robustness)
        parts = [
            pictures.place(known, [(arguments.robustness, problem.load)], sparsity),
            pictures.weights(found.weights[found.weights != 0], laws, density),
        ]
        if found.history is not None and found.history_steps is not None:
            parts.append(pictures.history(found.history_steps, found.history))
        return [part for part in parts if part is not None]

    words = {
        "units": "units", "success": "that met all four conditions", "unstored": "with violated associations",
        "wrong_signs": "with weights of the wrong sign", "in_gap": "with weights in the gap",
        "off_norm": "with a wrong mean magnitude", "sparsity": "sparsity", "median_steps": "steps, median",
        "load": "load",
    }  # fmt: skip
    failed = "" if values["success"] == units else (
        " The others may need more --steps, fewer associations, or a smaller --robustness or --gap."
    )  # fmt: skip
    return Result(
        title=f"{len(problem)} associations of {n} inputs, learned online",
        summary=f"{values['success']} of {units} units met all four stop conditions, with a sparsity of "
        f"{1 - density:.3f}.{failed}",
        values=values,
        tables=[Table("Outcome", ("quantity", "value"), [(text, _cell(values[name])) for name, text in words.items()])],
        shown=shown,
        files={"weights.csv": weights_csv(found.weights, signs)},
        settings=known | {"steps": arguments.steps, "robustness": arguments.robustness},
    )


def _laws(
    known: dict[str, Any], load: float | None, name: str, robustness: float = 0.0
) -> dict[str, theory.WeightDistribution]:
    """The theory's law at a load or robustness; empty where there is none."""
    try:
        point = theory.capacity(robustness, **known) if load is None else theory.max_robustness(load, **known)
    except (ValueError, ArithmeticError):
        return {}
    return {name: theory.weight_distribution(point)}


def _cell(value: Any) -> Any:
    return "yes" if value is True else "no" if value is False else value
