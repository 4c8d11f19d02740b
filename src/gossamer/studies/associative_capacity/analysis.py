"""Trials beside the theory: means over the draws, the trade-off of gap and l0, and weights with their law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.associative import theory
from gossamer.associative.theory import Solution
from gossamer.studies.statistics import Interval, mean_interval
from gossamer.studies.trials import Record

__all__ = ["Cloud", "Points", "Trade", "kolmogorov", "losses", "measured", "points"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """All draws of one setting: what the theory says, and means with 95 % intervals over the draws."""

    kind: str
    method: str
    n: int
    steps: int
    constraint: Mapping[str, float]
    at: float
    theory: Solution
    robustness: Interval | None
    load: Interval | None
    sparsity: Interval | None
    draws: int

    @property
    def name(self) -> str:
        """The constraint in letters."""
        letters = {"inhibitory": "φ", "density": "p", "gap": "δ̃"}
        return ", ".join(f"{letters[key]} {value:g}" for key, value in self.constraint.items()) or "l1"


def points(records: Sequence[Record]) -> list[Points]:
    """One for each setting of the kinds "load" and "capacity"."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record["settings"]["kind"] in ("load", "capacity"):
            groups.setdefault((record["variant"], record["dataset"]), []).append(record)
    return [_point(group) for group in groups.values()]


def _point(group: Sequence[Record]) -> Points:
    told = group[0]["settings"]
    known = {key: value for key, value in told["constraint"].items() if (key, value) != ("gap", 0.0)}
    if told["kind"] == "load":
        solution = theory.max_robustness(told["at"], **known)
        load, robustness = None, _interval(group, "robustness")
    else:
        solution = theory.capacity(told["at"], **known)
        load, robustness = _interval(group, "load"), None
    return Points(
        told["kind"],
        told["method"],
        told["n_inputs"],
        told["steps"],
        told["constraint"],
        told["at"],
        solution,
        robustness,
        load,
        _interval(group, "sparsity"),
        len(group),
    )


def _interval(group: Sequence[Record], field: str) -> Interval | None:
    values = [record[field] for record in group if record[field] is not None]
    return mean_interval(values) if len(values) > 1 else None


@dataclass(frozen=True, eq=False)
class Trade:
    """Capacity of l0 and of the gap at equal sparsity, along the gap."""

    robustness: float
    free: Solution
    sparsity: Floats
    gap: Floats
    l0: Floats

    @property
    def loss(self) -> Floats:
        """1 − α_gap/α_l0."""
        return np.asarray(1 - self.gap / self.l0)


def losses(robustness: Sequence[float] = (1e-3, 0.1, 0.3, 0.5, 0.8)) -> list[Trade]:
    """δ̃ in [0.05, 5], and l0 with the density that the gap leaves."""
    result = []
    for kappa in robustness:
        gap = theory.capacity(kappa, gap=np.linspace(0.05, 5, 80))
        l0 = theory.capacity(kappa, density=gap.density)
        free = theory.capacity(kappa)
        result.append(Trade(kappa, free, 1 - gap.density, gap.load, l0.load))
    return result


@dataclass(frozen=True, eq=False)
class Cloud:
    """Non-zero weights of all draws of a setting beside the law of the theory."""

    title: str
    method: str
    weights: Floats
    connected: float
    """Their share of all weights."""
    law: theory.WeightDistribution


def measured(records: Sequence[Record]) -> list[Cloud]:
    """One for each setting whose weights were kept."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.get("weights"):
            groups.setdefault((record["variant"], record["dataset"]), []).append(record)
    clouds = []
    for (_, dataset), group in groups.items():
        point = _point(group)
        weights = np.concatenate([np.array(record["weights"]) for record in group])
        connected = len(weights) / (len(group) * point.n)
        title = f"{point.method}, {point.name}, {dataset}"
        clouds.append(Cloud(title, point.method, weights, connected, theory.weight_distribution(point.theory)))
    return clouds


def kolmogorov(cloud: Cloud) -> float:
    """The largest difference between the distribution functions of non-zero weights."""
    x = np.sort(cloud.weights)
    step = np.arange(len(x)) / len(x)
    law = (cloud.law.cdf(x) - np.where(x >= 0, cloud.law.zero, 0)) / cloud.law.density
    return float(max(np.abs(law - step).max(), np.abs(law - step - 1 / len(x)).max()))
