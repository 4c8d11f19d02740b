"""Curves of accuracy along the strength of noise, attacks and corruptions.

Intervals are over the seeds, or over the rows where there is one seed (Wilson's; draws of noise and kinds of corruption
share their rows and count once).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gossamer.runs.robustness import Cell, Kind

from .intervals import Interval, mean_interval, newcombe, wilson
from .read import NetworkName, Run

__all__ = ["MEAN", "NAMES", "Curve", "attack_title", "clean_curves", "comparison_curves", "curve_series", "curves"]

NAMES: tuple[NetworkName, ...] = ("sparse", "dense")
_ORDER: tuple[Kind, ...] = ("noise", "attack", "corruption")
_NORMS = {"linf": "L∞", "l2": "L2"}
MEAN = "mean of all corruptions"

Values = dict[int, float]  # accuracy by seed


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy along the strength of one condition.

    Attributes:
        kind: ``"noise"``, ``"attack"`` or ``"corruption"``.
        name: of the condition.
        norm: of an attack, otherwise "".
        rows: number of test rows.
        values: by network and strength, the accuracy of each seed; strength 0 is that of clean inputs.

    Example:
        >>> from gossamer.report.accuracy_curves import Curve
        >>> values = {"sparse": {0.0: {0: 0.9}, 0.1: {0: 0.8}}, "dense": {}}
        >>> Curve("noise", "gaussian", "", 100, values).title
        'Gaussian noise'
    """

    kind: Kind
    name: str
    norm: str
    rows: int
    values: dict[NetworkName, dict[float, Values]]

    @property
    def key(self) -> tuple[Kind, str, str]:
        """The key of the curve: kind, name and norm."""
        return self.kind, self.name, self.norm

    @property
    def title(self) -> str:
        """The condition in words."""
        words = self.name.replace("_", " ")
        if self.kind == "attack":
            return attack_title(self.name, self.norm)
        return f"{words.capitalize()} noise" if self.kind == "noise" else words.capitalize().replace("Jpeg", "JPEG")

    @property
    def axis(self) -> str:
        """The strength in words."""
        return {"noise": "standard deviation σ", "attack": "radius", "corruption": "severity"}.get(self.kind, "")

    @property
    def strengths(self) -> list[float]:
        """The strengths at which a network was measured, ascending."""
        return sorted({strength for values in self.values.values() for strength in values})

    def interval(self, network: NetworkName, strength: float) -> Interval | None:
        """The accuracy of a network with its interval; None if it was not measured."""
        values = [*self.values[network].get(strength, {}).values()]
        return _interval(values, self.rows) if values else None

    def difference(self, strength: float) -> Interval | None:
        """The accuracy of sparse minus that of dense, paired by seed; None if no seed has both."""
        sparse, dense = (self.values[name].get(strength, {}) for name in NAMES)
        pairs = [(value, dense[seed]) for seed, value in sparse.items() if seed in dense]
        if not pairs:
            return None
        gaps = [one - other for one, other in pairs]
        if max(gaps) - min(gaps) < 1e-12:
            one, other = (round(float(np.mean(values)) * self.rows) for values in zip(*pairs, strict=True))
            return newcombe(one, other, self.rows)
        return mean_interval(gaps)


def attack_title(attack: str, norm: str) -> str:
    """Name an attack and its norm for readers."""
    name, colon, settings = attack.partition(":")
    shown = name.capitalize() if name == "square" else name.upper()
    return f"{shown}{colon and f' ({settings})'}, {_NORMS.get(norm, norm)}"


def _interval(values: Sequence[float], rows: int) -> Interval:
    if len(set(values)) == 1:
        return wilson(min(rows, round(values[0] * rows)), rows)
    found = mean_interval(values)
    return Interval(max(0.0, found.low), found.center, min(1.0, found.high), found.method)


def curves(run: Run) -> list[Curve]:
    """Return the curves of a run, noise first, then attacks, then corruptions; empty if nothing was measured.

    With more than one corruption the first of them is their mean, over seeds and severities that have all.
    """
    if run.robustness is None:
        return []
    rows = run.robustness.rows
    groups: dict[tuple[Kind, str, str], list[Cell]] = {}
    clean: dict[NetworkName, Values] = {name: {} for name in NAMES}
    for curve in clean_curves(run):
        clean = {name: curve.values[name].get(0.0, {}) for name in NAMES}
    for cell in run.robustness.cells:
        if cell.kind != "clean":
            groups.setdefault((cell.kind, cell.name, cell.norm), []).append(cell)

    found = [_curve(key, cells, rows) for kind in _ORDER for key, cells in groups.items() if kind == key[0]]
    for each in found:
        for name in NAMES:
            if each.values[name] and clean[name]:
                each.values[name][0.0] = clean[name]
    corruptions = [each for each in found if each.kind == "corruption"]
    if len(corruptions) > 1:
        at = found.index(corruptions[0])
        found.insert(at, _mean(corruptions, rows))
    return found


def clean_curves(run: Run) -> list[Curve]:
    """The accuracy on clean inputs, at strength 0; nothing if it was not measured."""
    cells = [cell for cell in run.robustness.cells if cell.kind == "clean"] if run.robustness else []
    return [_curve(("clean", "clean", ""), cells, cells[0].rows)] if cells else []


def _curve(key: tuple[Kind, str, str], cells: Sequence[Cell], rows: int) -> Curve:
    values: dict[NetworkName, dict[float, Values]] = {name: {} for name in NAMES}
    for cell in cells:
        values[cell.network].setdefault(cell.strength, {})[cell.seed] = cell.accuracy
    return Curve(*key, rows, values)


def _mean(corruptions: Sequence[Curve], rows: int) -> Curve:
    values: dict[NetworkName, dict[float, Values]] = {name: {} for name in NAMES}
    for name in NAMES:
        for strength in corruptions[0].values[name]:
            parts = [each.values[name].get(strength, {}) for each in corruptions]
            seeds = set.intersection(*map(set, parts))
            means = {seed: float(np.mean([part[seed] for part in parts])) for seed in sorted(seeds)}
            if means:
                values[name][strength] = means
    return Curve("corruption", MEAN, "", rows, values)


def _line(curve: Curve, network: NetworkName, label: str) -> dict[str, Any] | None:
    points = [(s, curve.interval(network, s)) for s in curve.strengths]
    known = [(s, interval) for s, interval in points if interval is not None]
    if not known:
        return None
    return {
        "network": network,
        "label": label,
        "strength": [s for s, _ in known],
        "accuracy": [interval.center for _, interval in known],
        "low": [interval.low for _, interval in known],
        "high": [interval.high for _, interval in known],
    }


def _drawn(curve: Curve, lines: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    kept = [line for line in lines if line is not None]
    return {"kind": curve.kind, "title": curve.title, "axis": curve.axis, "lines": kept}


def curve_series(run: Run) -> list[dict[str, Any]]:
    """Return the curves of one run for the charts."""
    return [_drawn(curve, [_line(curve, name, name) for name in NAMES]) for curve in curves(run)]


def comparison_curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the curves of several runs for the charts, under conditions in which at least two were measured."""
    listed = [{curve.key: curve for curve in curves(run)} for run in runs]
    keys = dict.fromkeys(key for found in listed for key in found)
    drawn = []
    for key in keys:
        having = [(run, found[key]) for run, found in zip(runs, listed, strict=True) if key in found]
        if len(having) > 1:
            lines = [_line(curve, name, f"{run.name}, {name}") for run, curve in having for name in NAMES]
            drawn.append(_drawn(having[0][1], lines))
    return drawn
