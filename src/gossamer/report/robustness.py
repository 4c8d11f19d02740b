"""Accuracy under noise, corruptions and attacks, for the page and the terminal: curves, claims, and their checks.

A claim about attacks stands only if all checks of the network's attacks in that norm passed; otherwise
"not trustworthy" and the reasons stand in its place. Intervals are over the seeds, or over the rows where there is one
seed (Wilson's; draws of noise and kinds of corruption share their rows and count once).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gossamer.runs.robustness import Cell, Check, Kind

from . import text
from .intervals import Interval, mean_interval, newcombe, wilson
from .read import NetworkName, Run

__all__ = [
    *("CheckRow", "Claim", "Curve", "check_rows", "claims", "comparison_curves", "curve_series", "curves"),
    *("distrust", "snr_rows"),
]

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
        >>> from gossamer.report.robustness import Curve
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
        """What distinguishes it from other curves."""
        return self.kind, self.name, self.norm

    @property
    def title(self) -> str:
        """The condition in words."""
        words = self.name.replace("_", " ")
        if self.kind == "attack":
            return _attack_title(self.name, self.norm)
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


def _attack_title(attack: str, norm: str) -> str:
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
    for curve in _clean(run):
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


def _clean(run: Run) -> list[Curve]:
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


def distrust(run: Run, network: NetworkName, attack: str, norm: str) -> list[str] | None:
    """The reasons not to trust a network's accuracy under an attack; None if nothing was checked."""
    checks = [] if run.robustness is None else run.robustness.checks
    own = [check for check in checks if (check.network, check.attack, check.norm) == (network, attack, norm)]
    if not own:
        return None
    return [f"{network}, seed {check.seed}: {check.explanation}" for check in own if not check.passed]


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the comparison under a condition; ``doubts`` are the reasons not to trust it.

    Attributes:
        label: the condition.
        strength: its strength, formatted.
        sparse: accuracy of the sparse network, formatted; likewise the others.
        sparse_note: its interval.
        dense: accuracy of the dense twin.
        dense_note: its interval.
        against: the difference in words, or ``"not trustworthy"``.
        verdict: the better network, or ``"even"``.
        doubts: why it is not trustworthy.
        first: whether it is the first line of its condition.

    Example:
        >>> from gossamer.report import Claim
        >>> Claim("PGD, L∞", "0.1", "30 %", "", "40 %", "", "not trustworthy", "even", ("not checked",), True).doubts
        ('not checked',)
    """

    label: str
    strength: str
    sparse: str
    sparse_note: str
    dense: str
    dense_note: str
    against: str
    verdict: str
    doubts: tuple[str, ...]
    first: bool


def claims(run: Run) -> list[Claim]:
    """Compare the networks on clean inputs and at each strength; of several corruptions, only their mean.

    Args:
        run: a finished run.

    Returns:
        The lines, clean inputs first, then noise, attacks, corruptions; none if nothing was measured.

    Example:
        >>> from gossamer import report
        >>> report.claims(report.read("runs/digits-1"))[0].label  # doctest: +SKIP
        'Clean'
    """
    found = [_claim(run, curve, 0.0, first=True) for curve in _clean(run)]
    listed = curves(run)
    averaged = any(curve.name == MEAN for curve in listed)
    for curve in listed:
        if averaged and curve.kind == "corruption" and curve.name != MEAN:
            continue
        for number, strength in enumerate(s for s in curve.strengths if s > 0):
            found.append(_claim(run, curve, strength, first=number == 0))
    return found


def _claim(run: Run, curve: Curve, strength: float, *, first: bool) -> Claim:
    shown, notes = [], []
    doubts: list[str] = []
    for name in NAMES:
        interval = curve.interval(name, strength)
        shown.append("–" if interval is None else text.percent(interval.center))
        notes.append("" if interval is None else text.interval(interval.low, interval.high))
        if curve.kind == "attack" and interval is not None:
            reasons = distrust(run, name, curve.name, curve.norm)
            doubts += [f"{name}: {curve.title} was not checked"] if reasons is None else reasons
    gap, verdict = curve.difference(strength), "even"
    if doubts:
        against = "not trustworthy"
    elif gap is None:
        against = "no twin"
    elif abs(gap.center) < 5e-5:
        against = "same"
    else:
        against = text.points(gap.center) + ("" if gap.decided else ", within chance")
        verdict = "even" if not gap.decided else "sparse" if gap.center > 0 else "dense"
    return Claim(
        curve.title,
        f"{strength:.3g}" if strength else "",
        shown[0],
        notes[0],
        shown[1],
        notes[1],
        against,
        verdict,
        tuple(doubts),
        first,
    )


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check of an attack, over the seeds.

    Attributes:
        attack: that is checked, with its norm.
        radius: at which.
        name: of the check.
        outcome: by network, how many seeds passed and what was measured; empty if none was checked.
        failed: by network, whether a seed failed.
        limit: what passes at most, formatted.
        explanation: of the check, the first failed one's if there is one.
    """

    attack: str
    radius: str
    name: str
    outcome: dict[NetworkName, str]
    failed: dict[NetworkName, bool]
    limit: str
    explanation: str


def check_rows(run: Run) -> list[CheckRow]:
    """Return the checks, one line for each attack, radius and check."""
    groups: dict[tuple[str, str, float, str], list[Check]] = {}
    for check in [] if run.robustness is None else run.robustness.checks:
        groups.setdefault((check.attack, check.norm, check.radius, check.name), []).append(check)
    rows = []
    for (attack, norm, radius, name), checks in groups.items():
        own = {network: [check for check in checks if check.network == network] for network in NAMES}
        worst = max(checks, key=lambda check: check.measured - check.limit)
        rows.append(
            CheckRow(
                attack=_attack_title(attack, norm),
                radius=f"{radius:.3g}",
                name=name,
                outcome={network: _outcome(found) for network, found in own.items()},
                failed={network: not all(check.passed for check in found) for network, found in own.items()},
                limit=text.percent(min(check.limit for check in checks)),
                explanation=worst.explanation,
            )
        )
    return rows


def _outcome(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    passed = sum(check.passed for check in checks)
    result = "passed" if passed == len(checks) else "failed"
    if len(checks) > 1:
        result = f"{passed} of {len(checks)} passed"
    low, high = (text.percent(end(check.measured for check in checks)) for end in (min, max))
    return f"{result}: {low}" if low == high else f"{result}: {low} to {high}"


def snr_rows(run: Run) -> tuple[list[float], list[tuple[str, dict[NetworkName, list[float | None]]]]]:
    """The noise levels, and by layer and network the signal-to-noise ratio at each, in decibels, a mean over seeds."""
    cells = [cell for cell in (run.robustness.cells if run.robustness else ()) if cell.snr]
    levels = sorted({cell.strength for cell in cells})
    layers = dict.fromkeys(layer for cell in cells for layer in cell.snr or ())

    def ratio(layer: str, network: NetworkName, level: float) -> float | None:
        own = [cell.snr for cell in cells if (cell.network, cell.strength) == (network, level)]
        values = [value for snr in own if snr and (value := snr.get(layer)) is not None]
        return float(np.mean(values)) if values else None

    return levels, [
        (layer, {network: [ratio(layer, network, level) for level in levels] for network in NAMES}) for layer in layers
    ]


# ---- for the charts --------------------------------------------------------------------------------------------------


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
    """What the charts of one run draw."""
    return [_drawn(curve, [_line(curve, name, name) for name in NAMES]) for curve in curves(run)]


def comparison_curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What the charts of several runs draw: the conditions under which two of them at least were measured."""
    listed = [{curve.key: curve for curve in curves(run)} for run in runs]
    keys = dict.fromkeys(key for found in listed for key in found)
    drawn = []
    for key in keys:
        having = [(run, found[key]) for run, found in zip(runs, listed, strict=True) if key in found]
        if len(having) > 1:
            lines = [_line(curve, name, f"{run.name}, {name}") for run, curve in having for name in NAMES]
            drawn.append(_drawn(having[0][1], lines))
    return drawn
