"""Pictures of the study: accuracy over the strength of noise, and over the radius of attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gossamer.studies import figures as drawing
from gossamer.studies.findings import Figure
from gossamer.studies.statistics import mean_interval
from gossamer.studies.strong_activations.plans import MAIN, NOISE, Plan
from gossamer.studies.strong_activations.results import Values, field, noise, strongest, untrustworthy
from gossamer.studies.trials import Record

__all__ = ["figures"]

Plans = Mapping[str, Plan]


def figures(plans: Plans, records: Sequence[Record]) -> list[Figure]:
    """The two pictures, of the networks that are judged."""
    networks = [v for v in MAIN if any(v in plan.variants for plan in plans.values())]
    return [
        Figure(
            "noise",
            _drawn([(name, plan, "") for name, plan in plans.items()], records, "standard deviation of the noise"),
            "Test accuracy over the strength of Gaussian noise, mean and 95 % interval over the seeds.",
            f"Accuracy over noise of {', '.join(networks)} on {', '.join(plans)}.",
        ),
        Figure(
            "attacks",
            _drawn([(n, p, norm) for n, p in plans.items() for norm in ("linf", "l2")], records, "radius"),
            "Accuracy under the strongest of all attacks over their radius, mean and 95 % interval over the seeds: an "
            "upper bound. Hollow, dotted: a sanity check failed, not trustworthy.",
            f"Accuracy over the radius of attacks of {', '.join(networks)} on {', '.join(plans)}.",
        ),
    ]


def _drawn(panels: Sequence[tuple[str, Plan, str]], records: Sequence[Record], axis: str) -> str:
    with drawing.canvas(max(4.5, 2.9 * len(panels)), 3.4) as figure:
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for panel, (name, plan, norm) in zip(grid, panels, strict=True):
            for i, variant in enumerate(v for v in MAIN if v in plan.variants):
                x, values = _curve(name, plan, variant, norm, records)
                failed = bool(norm) and bool(untrustworthy(records, plan, name, variant, norm))
                _line(panel, x, values, i, variant, failed=failed)
            panel.set_title(f"{name}, {'Linf' if norm == 'linf' else 'L2'}" if norm else name)
            panel.set_xlabel(axis)
            panel.grid()
        grid[0].set_ylim(0, 102)
        grid[0].set_ylabel("accuracy, %")
        handles, labels = grid[0].get_legend_handles_labels()
        drawing.legend(figure, handles, labels, 4)
        return drawing.svg(figure, f"Accuracy over the {axis}")


def _curve(
    name: str, plan: Plan, variant: str, norm: str, records: Sequence[Record]
) -> tuple[list[float], list[Values]]:
    """Strengths from 0 on, and the accuracies (seeds,) at each."""
    if not norm:
        return [0.0, *NOISE], [field(records, name, variant, "accuracy"), *noise(records, name, variant).T]
    radii: tuple[float, ...] = getattr(plan, norm)
    attacked = [strongest(records, name, variant, (norm, radius)) for radius in radii]
    return [0.0, *radii], [field(records, name, variant, "attacked_accuracy"), *attacked]


def _line(panel: Any, x: Sequence[float], values: Sequence[Values], i: int, label: str, *, failed: bool) -> None:
    error = [mean_interval(v.tolist()).high - v.mean() if len(v) > 1 else 0.0 for v in values]
    panel.errorbar(
        x,
        [100 * v.mean() for v in values],
        yerr=100 * np.array(error),
        label=label,
        color=drawing.COLOURS[i],
        marker=drawing.MARKERS[i],
        linestyle=":" if failed else "-",
        markerfacecolor="white" if failed else drawing.COLOURS[i],
        elinewidth=0.8,
        capsize=2,
    )
