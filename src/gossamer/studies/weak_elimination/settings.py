"""The options that each method is tried with, and how the networks of each data set are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["METHODS", "OPTIONS", "OTHERS", "PLANS", "Option", "Options", "Plan", "plans"]

OTHERS = ("magnitude", "gradual", "SET", "RigL", "l1", "Hoyer", "random")
METHODS = ("gap", *OTHERS)

Option = str | float
OPTIONS: Mapping[str, tuple[Option, ...]] = {
    "gap": ("equal steps", "cubic", "at once"),
    "magnitude": (0.25, 0.5, 0.75),
    "gradual": (0.5, 0.75, 0.9),
    "SET": (0.1, 0.3, 0.5),
    "RigL": (0.1, 0.3, 0.5),
    "l1": (0.5, 1.0, 2.0),
    "Hoyer": (1.0, 2.0, 4.0),
    "random": ("er", "uniform"),
}
"""The options that each method is tried with."""

Options = Mapping[tuple[str, str], Option]
"""The chosen option of each data set and method."""


@dataclass(frozen=True)
class Plan:
    """How the networks of one data set are trained.

    ``widths`` are the gaps δ, each of which gives one density, and ``tuned`` those of them at which options are chosen,
    with ``tuning_seeds`` seeds; ``rows`` is the number of training rows, drawn anew for each seed, if there are more.
    """

    widths: tuple[float, ...]
    tuned: tuple[float, ...]
    seeds: int = 5
    tuning_seeds: int = 2
    epochs: int = 10
    hidden: tuple[int, ...] = (100, 50)
    batch_size: int = 64
    learning_rate: float = 0.002
    rows: int = 2560


_QUICK = Plan(widths=(0.05, 0.15), tuned=(0.15,), tuning_seeds=1, epochs=6, hidden=(60, 40), batch_size=32, rows=640)

PLANS: Mapping[str, Mapping[str, Plan]] = {
    "quick": {"digits": _QUICK, "breast_cancer": _QUICK},
    "full": {
        "fashion_mnist": Plan(widths=(0.02, 0.06, 0.12, 0.18, 0.26), tuned=(0.06, 0.18)),
        "isolet": Plan(widths=(0.02, 0.06, 0.1, 0.15), tuned=(0.06, 0.15)),
    },
}


def plans(preset: str, seeds: int | None, data: tuple[str, ...] | None) -> dict[str, Plan]:
    """The plan of each data set; one that the preset doesn't know gets that of its first."""
    known = PLANS[preset]
    other = next(iter(known.values()))
    chosen = {name: known.get(name, other) for name in data or known}
    return {name: plan if seeds is None else replace(plan, seeds=seeds) for name, plan in chosen.items()}
