"""The study's numbers, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.data.catalogue import MADELON_INFORMATIVE
from gossamer.report import text
from gossamer.studies.evolving_connectivity.experiment import CONTROLS, RULES, VARIANTS, Plan
from gossamer.studies.findings import Table
from gossamer.studies.statistics import Friedman, Gain, friedman, gains
from gossamer.studies.trials import Record, where

__all__ = [
    "accuracies",
    "all_tables",
    "contrast",
    "hits",
    "madelon_correlations",
    "mean",
    "ranked",
    "versus",
]


def accuracies(records: Sequence[Record], dataset: str, variant: str, field: str = "accuracy") -> NDArray[np.float64]:
    """(seeds,), in the order of the seeds."""
    found = sorted(where(records, dataset=dataset, variant=variant), key=lambda record: record["seed"])
    return np.array([record[field] for record in found], dtype=np.float64)


def mean(records: Sequence[Record], dataset: str, variant: str, field: str = "accuracy") -> float:
    """Return the mean of a field over the records of a variant."""
    return float(accuracies(records, dataset, variant, field).mean())


def ranked(plans: Mapping[str, Plan], records: Sequence[Record]) -> Friedman | None:
    """The variants over the data sets, by mean accuracy; None with a single data set."""
    if len(plans) < 2:
        return None
    return friedman([[mean(records, name, variant) for variant in VARIANTS] for name in plans])


def versus(
    plans: Mapping[str, Plan], records: Sequence[Record], others: Sequence[str], against: str
) -> dict[str, Gain]:
    """The gain of each of ``others`` over ``against``, over the data sets."""
    means = {variant: [mean(records, dataset, variant) for dataset in plans] for variant in (*others, against)}
    return gains({variant: (means[variant], means[against]) for variant in others})


def contrast(record: Record) -> float:
    """Compute the mean accuracy with the least connected inputs removed first, less that with the most connected first.

    It is 0 if degrees carry no information about an input's use.
    """
    curves = record["ablation"]
    zeroed = np.array(curves["zeroed"], dtype=np.float64)
    gap = np.array(curves["least_first"]) - np.array(curves["most_first"])
    return float(np.trapezoid(gap, zeroed) / zeroed[-1])


def hits(record: Record) -> int:
    """How many of Madelon's 20 informative inputs are among the 20 of largest degree."""
    best = np.argsort(-np.array(record["degrees"]), kind="stable")[: len(MADELON_INFORMATIVE)]
    return len(set(best.tolist()) & set(MADELON_INFORMATIVE))


def madelon_correlations() -> NDArray[np.float64]:
    """(500,): each training column's largest |correlation| with another one."""
    from gossamer import data

    x = data.load("madelon", validation_size=0).train.x.astype(np.float64)
    correlation = np.abs(np.corrcoef(x, rowvar=False))
    np.fill_diagonal(correlation, 0)
    largest: NDArray[np.float64] = correlation.max(axis=0)
    return largest


# ---- tables ----------------------------------------------------------------------------------------------------------


def all_tables(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Table]:
    """Make all tables of the study."""
    found = [_accuracy(plans, records), _ranks(plans, records), _costs(plans, records)]
    found += [_shipped_run(records)] if "madelon" in plans else []
    found += [_importance(plans, records)]
    controlled = [name for name, plan in plans.items() if plan.controls]
    found += [_controls(controlled, records)] if controlled else []
    return found


def _accuracy(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    values = {d: [mean(records, d, v) for v in VARIANTS] for d in plans}
    best = {d: max(round(value, 4) for value in column) for d, column in values.items()}
    rows, marked = [], set()
    for i, variant in enumerate(VARIANTS):
        row: list[str] = [variant]
        for j, dataset in enumerate(plans, start=1):
            found = accuracies(records, dataset, variant)
            spread = f" ± {100 * found.std(ddof=1):.1f}" if len(found) > 1 else ""
            row.append(f"{100 * found.mean():.1f}{spread}")
            if round(values[dataset][i], 4) == best[dataset]:
                marked.add((i, j))
        rows.append(row)
    seeds = sorted({plan.seeds for plan in plans.values()})
    diverged = [f"{r['variant']} on {r['dataset']}, seed {r['seed']}" for r in records if r["diverged"]]
    note = (
        f"Test accuracy in percent, mean and standard deviation over {' or '.join(map(str, seeds))} seeds of the mean "
        "over the last epochs. Bold: the best of a data set."
    )
    return Table(
        "Accuracy",
        ("variant", *plans),
        rows,
        note + (f" Diverged: {'; '.join(diverged)}." if diverged else ""),
        frozenset(marked),
    )


def _ranks(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    ranks = ranked(plans, records)
    against = {name: versus(plans, records, [v for v in VARIANTS if v != name], name) for name in ("SET", "dense")}
    rows = []
    for i, variant in enumerate(VARIANTS):
        row: list[str | float | None] = [variant, None if ranks is None else f"{ranks.ranks[i]:.2f}"]
        for reference, found in against.items():
            if variant == reference:
                row += [None, None, None]
                continue
            gain = found[variant]
            row += [text.points(gain.mean, unit=False), f"{gain.won}–{gain.lost}", f"{gain.p:.3g}"]
        rows.append(row)
    rows.sort(key=lambda row: float(row[1] or 0))
    note = "Gains in percentage points, mean over the data sets; p of Wilcoxon's signed-rank test over the data sets, "
    note += "adjusted by Holm."
    if ranks is not None:
        note = (
            f"Average ranks over {ranks.blocks} data sets (1 is best): Friedman's test with Iman and Davenport's "
            f"correction F = {ranks.f:.2f}, {text.p_value(ranks.p)}; Nemenyi's critical difference at 5 % is "
            f"{ranks.critical_difference:.2f}. {note}"
        )
    columns = ("variant", "rank", "over SET", "won–lost", "p", "over dense", "won–lost", "p")
    return Table("Ranks", columns, rows, note)


def _costs(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    shown = ("SET", "CoDACoRSET", "CoPACoRSET", "CTRE", "RigL", "fixed", "dense")
    rows: list[list[str | float | None]] = []
    for dataset, plan in plans.items():
        whole = mean(records, dataset, "dense", "connections")
        for variant in shown:
            connections = mean(records, dataset, variant, "connections")
            seconds = mean(records, dataset, variant, "train_seconds") / plan.epochs
            moving = mean(records, dataset, variant, "rewire_seconds") / plan.epochs
            rows.append(
                [
                    f"{dataset}, {variant}",
                    text.count(mean(records, dataset, variant, "parameters")),
                    text.share(connections / whole),
                    text.size(mean(records, dataset, variant, "training_bytes")),
                    text.duration(seconds),
                    None if variant in ("fixed", "dense") else text.share(moving / seconds) if moving else "0",
                ]
            )
    note = (
        "Connections as a share of the dense network's; bytes of weights, gradients, momentum and, of sparse layers, "
        "indices; seconds of an epoch of training and rewiring, and the share of rewiring in it. Means over the seeds."
    )
    return Table("Costs", ("network", "parameters", "connections", "memory to train", "epoch", "rewiring"), rows, note)


def _shipped_run(records: Sequence[Record]) -> Table:
    """Of Madelon, beside the run that comes with the authors' code: accuracies .715 and .735, all 20 inputs found."""
    rows: list[list[str | float | None]] = [
        ["authors' run, seed unknown, dropout on", "20 of 20", None, None, "71.5", "73.5"],
    ]
    for record in where(records, dataset="madelon", variant="CoDACoRSET"):
        curve, noisy = record["curve"], record["curve_with_dropout"]
        numbers = (record["accuracy"], curve[-1], noisy[-1], max(noisy))
        rows.append(
            [f"ours, seed {record['seed']}", f"{hits(record)} of 20", *(f"{100 * number:.1f}" for number in numbers)]
        )
    columns = ("CoDACoRSET on Madelon", "inputs found", "last ten", "last", "last, dropout on", "best, dropout on")
    note = (
        "Inputs found: how many of the 20 informative columns are among the 20 of largest core degree. Test accuracy "
        "in percent; the standard error of one accuracy on 600 samples is about 1.8. The best epoch on the test set is "
        "optimistic; it is listed because the authors report it."
    )
    return Table("The authors' run on Madelon, and ours", columns, rows, note)


def _importance(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    rows: list[list[str | float | None]] = []
    shown = [d for d in plans if any("ablation" in record for record in where(records, dataset=d))]
    for variant in (*RULES, "fixed"):
        row: list[str | float | None] = [variant]
        for dataset in shown:
            found = [contrast(r) for r in where(records, dataset=dataset, variant=variant) if "ablation" in r]
            row.append(text.points(float(np.mean(found)), unit=False) if found else None)
        rows.append(row)
    note = (
        "Inputs of the trained network are set to 0 one after the other. Mean test accuracy while the least connected "
        "go first, less that while the most connected go first, in points, averaged over all steps and seeds: 0 if the "
        "number of connections is unrelated to an input's use."
    )
    return Table("Do connections show which inputs matter?", ("variant", *shown), rows, note)


def _controls(datasets: Sequence[str], records: Sequence[Record]) -> Table:
    rows: list[list[str | float | None]] = [
        [variant, *(f"{100 * mean(records, dataset, variant):.1f}" for dataset in datasets)]
        for variant in ("SET", "fixed", *CONTROLS)
    ]
    note = (
        "Test accuracy in percent; connections are removed by smallest weight (SET), at random, or by largest weight."
    )
    return Table("Choice of the connections that are removed", ("variant", *datasets), rows, note)
