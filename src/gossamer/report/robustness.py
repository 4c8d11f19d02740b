"""Comparison of accuracies under noise, corruptions and attacks, for the page and the terminal, and the checks.

A claim about attacks stands only if all checks of the network's attacks in that norm passed; otherwise
"not trustworthy" and the reasons stand in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gossamer.runs.robustness import Check

from . import text
from .accuracy_curves import MEAN, NAMES, Curve, attack_title, clean_curves, curves
from .read import NetworkName, Run

__all__ = ["CheckRow", "Claim", "check_rows", "claims", "distrust", "snr_rows"]


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
    found = [_claim(run, curve, 0.0, first=True) for curve in clean_curves(run)]
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
        outcome: by network, how many seeds passed, with the range of the measurements; empty if none was checked.
        failed: by network, whether a seed failed.
        limit: the largest value that passes, formatted.
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
                attack=attack_title(attack, norm),
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
