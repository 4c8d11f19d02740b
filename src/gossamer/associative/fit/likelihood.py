"""The likelihood of measured weights under a law, its maximum, and the distance of the two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from gossamer.associative.fit.laws import Law, LawTable
from gossamer.associative.fit.measurements import MeasuredWeights

__all__ = ["Binned", "Point", "Sample", "distance", "maximum"]

Floats = NDArray[np.float64]

_WIDTH = 0.01
"""Strengths are binned to this fraction of their mean."""

_NOISE = (0.01, 0.5)
"""The range in which the measurement error is sought, over the mean strength of a connection."""


@dataclass(frozen=True)
class Point:
    """A maximum of the likelihood.

    The place in a table, τ over the mean strength, log L there, the unit w, and the number of parameters.
    """

    place: tuple[float, float]
    noise: float
    log_likelihood: float
    unit: float
    parameters: int


@dataclass(frozen=True, eq=False)
class Sample:
    """Counts of one choice of cells.

    Of the positions, and of unconnected inputs by class; ``strength`` is the mean strength of their connections.
    """

    counts: Floats
    zeros: Floats
    strength: float


@dataclass(frozen=True, eq=False)
class Binned:
    """Strengths to a hundredth of their mean: positions, their sides, and how often each cell has them."""

    positions: Floats
    sides: NDArray[np.int64]
    by_cell: csr_array
    zeros: Floats
    signed: bool

    @classmethod
    def of(cls, measured: MeasuredWeights) -> Binned:
        """The measured weights in bins."""
        size = np.abs(measured.values)
        code = np.rint(size / (_WIDTH * size.mean())).astype(np.int64) * 2 + measured.sides
        _, index = np.unique(code, return_inverse=True)
        index = index.reshape(-1)
        count = np.bincount(index)
        sides = np.zeros(len(count), np.int64)
        sides[index] = measured.sides
        by_cell = csr_array((np.ones(len(size)), (measured.cell, index)), shape=(measured.n_cells, len(count)))
        return cls(np.bincount(index, size) / count, sides, by_cell, measured.zeros, measured.signed)

    def sample(self, cells: Floats) -> Sample:
        """The counts where each cell occurs as often as ``cells`` (cells,) say."""
        counts = np.asarray(cells @ self.by_cell)
        total = float(counts.sum())
        return Sample(counts, cells @ self.zeros, float(counts @ self.positions) / total if total else 0.0)

    def potential(self, sample: Sample) -> Floats:
        """Potential inputs by class."""
        if not self.signed:
            return np.array([sample.zeros[0] + sample.counts.sum()])
        return np.asarray(sample.zeros + np.bincount(self.sides, sample.counts, minlength=2))

    def unit(self, law: Law, sample: Sample) -> float:
        """w: the mean |J| of all potential inputs over that of the law for the same inputs."""
        potential = self.potential(sample)
        expected = float(potential @ law.mean) if self.signed else float(potential[0] * law.mean.sum())
        return float(sample.counts @ self.positions) / expected

    def log_likelihood(self, law: Law, sample: Sample, noise: float) -> float:
        """Return log L; ``noise`` is τ over the mean strength."""
        w = self.unit(law, sample)
        connected = law.connected if self.signed else law.connected.sum(keepdims=True)
        none = np.log(np.maximum(1 - connected, 1e-300))
        value = float(np.where(sample.zeros > 0, sample.zeros * none, 0).sum())
        density = law.density(self.positions / w, self.sides, noise * sample.strength / w) / w
        return value + float(sample.counts @ np.log(density))


def maximum(table: LawTable, data: Binned, sample: Sample, noise: float | None, start: Point | None) -> Point:
    """The most likely point: from a grid, or near ``start``. ``noise`` is sought where it is None."""
    bounds = [*table.bounds[: table.parameters], *([] if noise else [(math.log(_NOISE[0]), math.log(_NOISE[1]))])]
    low, high = np.array(bounds).T

    def parts(x: Floats) -> tuple[tuple[float, float], float]:
        second = float(x[1]) if table.parameters == 2 else 0.0
        return (float(x[0]), second), noise or math.exp(float(x[-1]))

    def loss(x: Floats) -> float:
        place, tau = parts(x)
        return -data.log_likelihood(table.law(*place), sample, tau)

    if start is None:
        axes = [np.linspace(low[i], high[i], 14) for i in range(table.parameters)]
        axes += [] if noise else [np.log([0.02, 0.1])]
        first = min(np.stack(np.meshgrid(*axes), -1).reshape(-1, len(axes)), key=loss)
    else:
        given = [*start.place[: table.parameters], *([] if noise else [math.log(start.noise)])]
        first = np.clip(given, low, high)
    step = (high - low) * (0.06 if start is None else 0.03)
    corners = first + np.diag(np.where(first + step > high, -step, step))
    options: Any = {"initial_simplex": np.vstack([first, corners]), "xatol": 1e-3, "fatol": 1e-2, "maxiter": 300}
    found = minimize(loss, first, method="Nelder-Mead", bounds=bounds, options=options)
    x = np.clip(found.x, low, high)
    place, tau = parts(x)
    law = table.law(*place)
    return Point(place, tau, data.log_likelihood(law, sample, tau), data.unit(law, sample), len(bounds))


def distance(law: Law, data: Binned, sample: Sample, noise: float) -> float:
    """Σ_s ∫ |T_s(r) − T̂_s(r)| dr, weighted by the share of the inputs that may have the sign s.

    T_s(r) is the fraction of potential inputs with a weight of the sign s and |J̃| > r, T̂_s that of the law.
    """
    w = data.unit(law, sample)
    tau = noise * sample.strength / w
    potential = data.potential(sample)
    size = data.positions / w
    grid = np.linspace(0, 1.3 * float(max(size.max(), 1.0)), 1200)
    total = 0.0
    for side in (0, 1):
        inputs = float(potential[side if data.signed else 0])
        if inputs == 0:
            continue
        density = law.density(grid, np.full(len(grid), side), tau)
        below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
        fitted = float(law.connected[side]) - below
        order = np.argsort(np.where(data.sides == side, size, np.inf))
        here = order[: int((data.sides == side).sum())]
        above = np.concatenate([[0], np.cumsum(sample.counts[here])])
        measured = (above[-1] - above[np.searchsorted(size[here], grid, side="right")]) / inputs
        total += inputs / float(potential.sum()) * float(np.abs(measured - fitted).sum() * (grid[1] - grid[0]))
    return total
