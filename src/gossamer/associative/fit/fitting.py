"""Fitting the theory's constraints to measured weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.fit.fitted import ConstraintFit, Estimate, FittedStatistics
from gossamer.associative.fit.laws import CONSTRAINTS, Law, LawTable, Model
from gossamer.associative.fit.likelihood import Binned, Point, distance, maximum
from gossamer.associative.fit.measurements import MeasuredWeights, read_weights
from gossamer.associative.theory import Solution, weight_distribution
from gossamer.errors import InputError, check_count, check_fraction

__all__ = ["fit_statistics"]

Floats = NDArray[np.float64]


def fit_statistics(
    weights: ArrayLike | Path | str | MeasuredWeights,
    *,
    signs: ArrayLike | None = None,
    inhibitory: float | None = None,
    threshold: float = 0.0,
    f_in: float = 0.5,
    f_out: float = 0.5,
    noise: float | None = None,
    scale: str = "all",
    constraints: tuple[str, ...] = CONSTRAINTS,
    bootstrap: int = 200,
    level: float = 0.95,
    generator: np.random.Generator | int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FittedStatistics:
    """Fit each constraint of the theory to measured connection probabilities and connection strengths.

    It is assumed that the cells store associations at capacity. The law of a weight then has one parameter with l1
    alone, κ̃, and two with l0 (κ̃ and p) or a gap (κ̃ and δ̃). They maximise

        log L = Σ_cells [ n₀ log P(J̃ = 0) + Σ_connections log f(|J|/w)/w ],

    with the unit w such that the mean |J| of the law is the measured one. f is the theory's density, with the atom of
    the gap, after a measurement error that is normal with the standard deviation τ. The constraint with the smallest
    BIC is the best. Cells are resampled with replacement for intervals, and for the fraction of samples in which each
    constraint is the best.

    Args:
        weights: a matrix (cells, potential inputs) in any unit with 0 for unconnected, the path of a CSV file with one
            (see `read_weights`), or `MeasuredWeights`, for lists of strengths with a connection probability.
        signs: 1 for excitatory and −1 for inhibitory inputs, one for all or (inputs,); weights of inhibitory inputs are
            negative. None if any input may have weights of either sign.
        inhibitory: φ in [0, 1], the fraction of inhibitory inputs in the circuit; needed where only inputs of one
            kind were measured (default: that among the measured inputs).
        threshold: h̃, as in `gossamer.associative.theory.capacity`.
        f_in: the probability that an input is active, in (0, 1).
        f_out: the probability that a cell is active, in (0, 1).
        noise: τ over the mean strength of connections, in (0, 1]; None to fit it, between 0.01 and 0.5.
        scale: see `MeasuredWeights.from_matrix`.
        constraints: which of "l1", "l0" and "gap" are fitted.
        bootstrap: the number of samples; 0 for none, else at least 10.
        level: of the intervals, in (0, 1).
        generator: draws the samples; a number is a seed of one. Needed for the bootstrap.
        progress: called with the numbers of finished and of all fits.

    Returns:
        `FittedStatistics`; its repr is a table.

    Raises:
        InputError: an argument out of range or of a wrong shape, fewer than 10 connections.

    Example:
        >>> from gossamer.associative import fit_statistics
        >>> from gossamer.associative.theory import capacity, weight_distribution
        >>> law = weight_distribution(capacity(0.3, gap=2.0))
        >>> weights = law.rvs(4000, np.random.default_rng(0)).reshape(20, 200)
        >>> found = fit_statistics(weights, bootstrap=0)
        >>> found.best, round(found.fit.estimates["gap"].value, 1)
        ('gap', 2.0)

    References:
        Baig, Stepanyants, arXiv 2409.04946. J. Chapeton, R. Gala, A. Stepanyants, Front. Comput. Neurosci. 9, 2015.
        A. Clauset, C. R. Shalizi, M. E. J. Newman, "Power-law distributions in empirical data", SIAM Review 51, 2009
        (the parametric bootstrap of the distance).
    """
    measured = _measured(weights, signs, scale)
    model = Model(
        check_fraction("threshold", threshold, low=-1, high=1),
        check_fraction("f_in", f_in, open_low=True, open_high=True),
        check_fraction("f_out", f_out, open_low=True, open_high=True),
        _inhibitory(measured, inhibitory),
    )
    if noise is not None:
        check_fraction("noise", noise, open_low=True)
    check_fraction("level", level, open_low=True, open_high=True)
    if not constraints or set(constraints) - set(CONSTRAINTS):
        raise InputError(f"constraints must be some of {', '.join(map(repr, CONSTRAINTS))}, got {constraints!r}")
    draw = _generator(generator, check_count("bootstrap", bootstrap))
    data = Binned.of(measured)
    total, done = len(constraints) * (1 + 2 * bootstrap), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    tables = {name: LawTable(name, model, measured.connection_probability) for name in constraints}
    whole = data.sample(np.ones(measured.n_cells))
    best: dict[str, Point] = {}
    for name, table in tables.items():
        best[name] = maximum(table, data, whole, noise, None)
        tick()
    samples: dict[str, list[Point]] = {name: [] for name in constraints}
    while draw is not None and len(samples[constraints[0]]) < bootstrap:
        cells = draw.multinomial(measured.n_cells, np.full(measured.n_cells, 1 / measured.n_cells))
        sample = data.sample(cells.astype(np.float64))
        if sample.counts.sum() < 10:  # as few connections can't be fitted; draw again
            continue
        for name, table in tables.items():
            samples[name].append(maximum(table, data, sample, noise, best[name]))
            tick()
    n = measured.potential
    bics = np.array([[_bic(one, n) for one in samples[name]] for name in constraints])
    fits = {}
    for k, (name, table) in enumerate(tables.items()):
        point, solution = best[name], table.solution(*best[name].place)
        off = distance(table.exact(solution), data, whole, point.noise)
        larger = []
        for _ in samples[name]:
            assert draw is not None
            drawn = Binned.of(_simulated(solution, point, measured, draw))
            sample = drawn.sample(np.ones(1))
            refit = maximum(table, drawn, sample, noise, point)
            larger.append(distance(table.law(*refit.place), drawn, sample, refit.noise) >= off)
            tick()
        fits[name] = ConstraintFit(
            constraint=name,
            estimates=_estimates(table, point, samples[name], solution, data, level),
            log_likelihood=point.log_likelihood,
            bic=_bic(point, n),
            support=float((bics.argmin(0) == k).mean()) if larger else math.nan,
            distance=off,
            p_value=float(np.mean(larger)) if larger else math.nan,
            at_bound=_at_bound(table, point),
            solution=solution,
        )
    return FittedStatistics(
        fits=fits,
        best=min(fits, key=lambda name: fits[name].bic),
        connection_probability=measured.connection_probability,
        n_cells=measured.n_cells,
        n_connections=len(measured.values),
        n_potential=n,
        signed=measured.signed,
        level=level,
    )


def _measured(
    weights: ArrayLike | Path | str | MeasuredWeights, signs: ArrayLike | None, scale: str
) -> MeasuredWeights:
    if isinstance(weights, MeasuredWeights):
        if signs is not None:
            raise InputError("signs must be None where weights are MeasuredWeights, which know their signs")
        return weights
    matrix = read_weights(weights) if isinstance(weights, (str, Path)) else weights
    return MeasuredWeights.from_matrix(matrix, signs, scale=scale)


def _inhibitory(measured: MeasuredWeights, given: float | None) -> float | None:
    if not measured.signed:
        if given is not None:
            raise InputError(f"inhibitory must be None where signs are free, got {given!r}; give signs as well")
        return None
    if given is not None:
        return check_fraction("inhibitory", given)
    potential = measured.zeros.sum(0) + np.bincount(measured.sides, minlength=2)
    if not potential.all():
        kind = "excitatory" if potential[0] else "inhibitory"
        raise InputError(
            f"inhibitory must be given where all measured inputs are {kind}: the fraction of inhibitory inputs in the "
            "circuit, such as 0.2"
        )
    return float(potential[1] / potential.sum())


def _generator(given: np.random.Generator | int | None, bootstrap: int) -> np.random.Generator | None:
    if bootstrap == 0:
        return None
    if bootstrap < 10:
        raise InputError(f"bootstrap must be 0 or at least 10, got {bootstrap}")
    if isinstance(given, np.random.Generator):
        return given
    if given is None:
        raise InputError("generator must be a numpy.random.Generator or a seed for the bootstrap, got None")
    return np.random.default_rng(check_count("generator", given))


def _bic(point: Point, n: float) -> float:
    return point.parameters * math.log(n) - 2 * point.log_likelihood


def _at_bound(table: LawTable, point: Point) -> bool:
    pairs = list(zip(point.place, table.bounds, strict=True))[: table.parameters]
    return any(min(x - low, high - x) < 1e-3 * (high - low) for x, (low, high) in pairs)


def _simulated(
    solution: Solution, point: Point, measured: MeasuredWeights, draw: np.random.Generator
) -> MeasuredWeights:
    """As many potential inputs of each class as were measured, drawn from the fitted law, with noise; one cell."""
    potential = Binned.of(measured).potential(Binned.of(measured).sample(np.ones(measured.n_cells)))
    strength = float(np.abs(measured.values).mean()) / point.unit
    values, zeros = [], np.zeros((1, len(potential)))
    for k, inputs in enumerate(potential):
        if inputs == 0:
            continue
        law = weight_distribution(solution, sign=(1, -1)[k] if measured.signed else None)
        drawn = law.rvs(round(float(inputs)), draw)
        on = drawn[drawn != 0]
        zeros[0, k] = len(drawn) - len(on)
        size = np.abs(np.abs(on) + point.noise * strength * draw.standard_normal(len(on)))
        values.append(np.sign(on) * np.maximum(size, 1e-12) * point.unit)
    every = np.concatenate(values)
    return MeasuredWeights(every, np.zeros(len(every), np.int64), zeros, measured.signed)


def _estimates(
    table: LawTable, point: Point, samples: list[Point], solution: Solution, data: Binned, level: float
) -> dict[str, Estimate]:
    """Parameters and what follows from them, with percentile intervals."""
    potential = data.potential(data.sample(np.ones(len(data.zeros))))

    def numbers(one: Point, law: Law) -> dict[str, float]:
        found = {"robustness": math.exp(one.place[0]), "mean_weight": one.unit, "noise": one.noise}
        if table.constraint == "gap":
            found["gap"] = one.place[1]
        if data.signed:
            found["connection_probability"] = float(potential @ law.connected / potential.sum())
            found["excitatory"], found["inhibitory"] = (float(p) for p in law.connected)
        else:
            found["connection_probability"] = float(law.connected.sum())
        return found

    values = numbers(point, table.exact(solution)) | {
        "load": float(solution.load),
        "density": float(solution.density),
    }
    if not samples:
        return {name: Estimate(value) for name, value in values.items()}
    drawn = [numbers(one, table.law(*one.place)) for one in samples]
    curve = table.curve(np.array([one.place for one in samples]))
    ends = {"load": curve.load, "density": curve.density}
    tail = 50 * (1 - level)
    result = {}
    for name, value in values.items():
        spread = ends[name] if name in ends else np.array([one[name] for one in drawn])
        result[name] = Estimate(value, *(float(q) for q in np.percentile(spread, [tail, 100 - tail])))
    return result
