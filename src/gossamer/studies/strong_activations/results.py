"""Numbers of the trials, by data set and network: each an array over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.studies.strong_activations.plans import Plan
from gossamer.studies.trials import Record, where

__all__ = ["ATTACKS", "active", "balls", "field", "noise", "shown", "strongest", "under", "untrustworthy"]

ATTACKS = ("short PGD", "PGD", "APGD-CE", "APGD-T", "Square", "straight", "transfer")

Ball = tuple[str, float]
Values = NDArray[np.float64]


def _of(records: Sequence[Record], name: str, variant: str) -> list[Record]:
    return sorted(where(records, dataset=name, variant=variant), key=lambda record: record["seed"])


def field(records: Sequence[Record], name: str, variant: str, key: str) -> Values:
    """(seeds,): one number of each trial."""
    return np.array([record[key] for record in _of(records, name, variant)], dtype=np.float64)


def active(records: Sequence[Record], name: str, variant: str) -> Values:
    """(seeds,): share of the activations that are not zero, mean of the blocks."""
    return np.array([np.mean(record["active"]) for record in _of(records, name, variant)])


def noise(records: Sequence[Record], name: str, variant: str) -> Values:
    """(seeds, strengths): accuracy under noise."""
    return np.array([record["noise"] for record in _of(records, name, variant)], dtype=np.float64)


def balls(plan: Plan) -> list[Ball]:
    """Norm and radius of all attacks."""
    return [("linf", radius) for radius in plan.linf] + [("l2", radius) for radius in plan.l2]


def _attacks(records: Sequence[Record], name: str, variant: str, ball: Ball) -> list[dict[str, Any]]:
    return [
        attack
        for record in _of(records, name, variant)
        for attack in record["attacks"]
        if (attack["norm"], attack["radius"]) == ball
    ]


def strongest(records: Sequence[Record], name: str, variant: str, ball: Ball) -> Values:
    """(seeds,): accuracy under all attacks together."""
    return np.array([attack["strongest"] for attack in _attacks(records, name, variant, ball)], dtype=np.float64)


def under(records: Sequence[Record], name: str, variant: str, ball: Ball, attack: str) -> Values | None:
    """(seeds,): accuracy under one attack, None if the network was not attacked by it."""
    found = [each["accuracy"].get(attack) for each in _attacks(records, name, variant, ball)]
    return None if None in found else np.array(found, dtype=np.float64)


def untrustworthy(records: Sequence[Record], plan: Plan, name: str, variant: str, norm: str) -> str:
    """The sanity checks that failed, as a text; "" if all passed.

    A check fails if the share that it measured exceeds its limit in the mean over the seeds that were checked.
    """
    ball = next(ball for ball in reversed(balls(plan)) if ball[0] == norm)
    reports = [each["sanity"]["checks"] for each in _attacks(records, name, variant, ball) if "sanity" in each]
    if not reports:
        return "not checked"
    failed = []
    for same in zip(*reports, strict=True):
        measured, limit = (float(np.mean([check[key] for check in same])) for key in ("measured", "limit"))
        if measured > limit:
            failed.append(f"{same[0]['name']} {100 * measured:.1f} % (limit {100 * limit:.1f} %)")
    return ", ".join(failed)


def shown(values: Values, digits: int = 1) -> str:
    """Mean and standard deviation in percent."""
    mean = f"{100 * values.mean():.{digits}f}"
    return f"{mean} ± {100 * values.std(ddof=1):.{digits}f}" if len(values) > 1 else mean
