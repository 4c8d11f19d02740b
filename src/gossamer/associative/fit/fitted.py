"""What `gossamer.associative.fit.fit_statistics` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gossamer.associative.theory import Solution

__all__ = ["ConstraintFit", "Estimate", "FittedStatistics"]


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval; ``low`` and ``high`` are NaN without a bootstrap."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.3g}"
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True, eq=False)
class ConstraintFit:
    """The best parameters of one constraint.

    Attributes:
        constraint: "l1", "l0" or "gap", with l1 in all of them; with signs where the inputs have them.
        estimates: by name: ``robustness`` κ̃; ``gap`` δ̃; ``load`` α_c; ``connection_probability`` of the measured
            inputs, with signs also ``excitatory`` and ``inhibitory``, those of either kind; ``density``, that of all
            inputs of the circuit, which is the parameter p of l0; ``mean_weight`` w, in the unit of the weights, the
            mean |J| over all inputs of the circuit; ``noise``, τ over the mean strength of a connection.
        log_likelihood: of all potential inputs.
        bic: k log n − 2 log L, with k parameters and n potential inputs; the smaller the better.
        support: the fraction of bootstrap samples in which this constraint has the smallest BIC; NaN without.
        distance: the area between the measured and the fitted distribution of weights, zeros included: by how much of
            the mean weight the weights would have to change, on average, to follow the law (Wasserstein).
        p_value: the fraction of samples drawn from the fitted law, and fitted, with a larger distance; NaN without a
            bootstrap. A small one says that the constraint does not describe the weights.
        at_bound: whether a parameter is at the end of the range that was searched, so that its value says little.
        solution: the theory at these parameters; `weight_distribution` takes it.
    """

    constraint: str
    estimates: Mapping[str, Estimate]
    log_likelihood: float
    bic: float
    support: float
    distance: float
    p_value: float
    at_bound: bool
    solution: Solution

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: NaN is None."""
        plain = {name: {k: _number(v) for k, v in asdict(one).items()} for name, one in self.estimates.items()}
        names = ("log_likelihood", "bic", "support", "distance", "p_value")
        numbers = {name: _number(getattr(self, name)) for name in names}
        return {"constraint": self.constraint, "estimates": plain, **numbers, "at_bound": self.at_bound}


@dataclass(frozen=True, eq=False)
class FittedStatistics:
    """Fits of all constraints to measured weights.

    Attributes:
        fits: by constraint.
        best: the name of the constraint with the smallest BIC.
        connection_probability: measured, of all potential inputs.
        n_cells: cells, or connections where cells are not known.
        n_connections: weights other than zero.
        n_potential: potential inputs.
        signed: whether inputs were known to be excitatory or inhibitory.
        level: of the intervals.
    """

    fits: Mapping[str, ConstraintFit]
    best: str
    connection_probability: float
    n_cells: int
    n_connections: int
    n_potential: float
    signed: bool
    level: float

    @property
    def fit(self) -> ConstraintFit:
        """The fit of the best constraint."""
        return self.fits[self.best]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        own = {name: getattr(self, name) for name in ("best", "connection_probability", "n_cells", "n_connections")}
        own |= {name: getattr(self, name) for name in ("n_potential", "signed", "level")}
        return {**own, "fits": {name: fit.to_json() for name, fit in self.fits.items()}}

    def rows(self) -> list[list[str]]:
        """The table of the fits as text, a row for each constraint, under `COLUMNS`."""
        return [
            [
                f"{'sign + ' if self.signed else ''}l1{'' if name == 'l1' else f' + {name}'}",
                *(str(fit.estimates[key]) if key in fit.estimates else "–" for key in _SHOWN),
                f"{fit.bic - self.fit.bic:.1f}",
                _percent(fit.support),
                f"{fit.distance:.3f}",
                "–" if math.isnan(fit.p_value) else f"{fit.p_value:.2g}",
            ]
            for name, fit in self.fits.items()
        ]

    def __repr__(self) -> str:
        table = [list(COLUMNS), *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
        marks = ["  ", *("* " if name == self.best else "  " for name in self.fits)]
        interval = f"; {100 * self.level:g} % intervals by bootstrap" if self.fit.support == self.fit.support else ""
        head = (
            f"{self.n_connections} connections of {self.n_potential:.0f} potential inputs, {self.n_cells} cells: "
            f"connection probability {self.connection_probability:.3g}{interval}"
        )
        bound = [name for name, fit in self.fits.items() if fit.at_bound]
        foot = [f"at the end of the range that was searched: {', '.join(bound)}"] if bound else []
        return "\n".join([head, *(mark + line.rstrip() for mark, line in zip(marks, lines, strict=True)), *foot])


_SHOWN = ("robustness", "connection_probability", "gap", "load")
COLUMNS = (
    "constraint", "robustness", "connection probability", "gap", "load", "ΔBIC", "support", "distance", "p",
)  # fmt: skip
"""Headings of `FittedStatistics.rows`."""


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"
