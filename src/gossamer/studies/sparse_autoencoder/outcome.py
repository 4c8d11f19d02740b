"""Results of the networks: tables and verdicts.

Networks of one seed share its division of the rows and its order of samples, so that differences are paired over seeds:
Student's t-test, adjusted by Holm for all comparisons together, decides; Wilcoxon's exact p is given beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.report import text
from gossamer.studies.findings import Cell, Claim, Findings, Table, Verdict, judged
from gossamer.studies.sparse_autoencoder.experiment import LOUD, VARIANTS, Plan, errors
from gossamer.studies.statistics import Paired, holm, mean_interval, paired
from gossamer.studies.trials import Record, where

__all__ = ["Comparison", "claims", "compared", "findings"]

_QUESTIONS = (
    ("both", "neither", "Sparse activations and sparse connectivity together classify better than neither."),
    ("activation", "neither", "Sparse activations alone classifies better than neither."),
    ("connectivity", "neither", "Sparse connectivity alone classifies better than neither."),
    ("both", "activation", "Both together classify better than sparse activations alone."),
    ("both", "connectivity", "Both together classify better than sparse connectivity alone."),
    ("activation", "l0 activation", "To project is a better way to sparse activations than to keep the largest units."),
    ("both", "MLP from samples", "Both together classify better than a multilayer perceptron that starts alike."),
)

_PUBLISHED = 0.0085  # the best error of the paper is 0.8 % as rounded


@dataclass(frozen=True)
class Comparison:
    """How much lower the test error of ``first`` is than that of ``second``; ``p`` is that of the t-test, adjusted."""

    first: str
    second: str
    statement: str
    test: Paired
    p: float


def compared(records: Sequence[Record]) -> list[Comparison]:
    """All questions; none of them can be answered from one seed."""
    if len(errors(records, "both")) < 2:
        return []
    tests = [paired(errors(records, second), errors(records, first)) for first, second, _ in _QUESTIONS]
    adjusted = holm([test.t_p for test in tests])
    return [Comparison(*question, test, p) for question, test, p in zip(_QUESTIONS, tests, adjusted, strict=True)]


def findings(plan: Plan, records: Sequence[Record], jobs: int = 1) -> Findings:
    """Return the findings, except for the title."""
    from gossamer.studies.sparse_autoencoder import pictures

    return Findings(
        title="",
        claim="",
        preset="",
        claims=claims(plan, records),
        summary=_summary(records),
        tables=[_networks(records), *([_comparisons(records)] if compared(records) else [])],
        figures=[pictures.errors_of_all(records), pictures.filters(records)],
        departures=_departures(plan, jobs),
        settings={
            "data": plan.dataset
            + (", each sample shifted by up to a pixel, anew in each epoch" if plan.shifts else ""),
            "rows": f"{records[0]['rows']:,} to train, {records[0]['test_rows']:,} to test",
            "hidden units": plan.hidden,
            "epochs": plan.epochs,
            "batch": plan.batch_size,
            "optimizer": f"Adam, learning rate {plan.learning_rate:g} after warm-up, then half a cosine to 0",
            "α after ν epochs": f"1 − exp(−ν / {plan.tau:g})",
            "sparseness of codes": plan.sparseness,
            "sparseness of weights": plan.connectivity,
            "active units in l0": plan.live_units,
            "non-zero weights of a unit in l0": f"{plan.live_weights}, chosen anew every {plan.l0_every} steps",
            "seeds": plan.seeds,
        },
    )


# ---- tables ----------------------------------------------------------------------------------------------------------


def _percent(value: float) -> str:
    return f"{100 * value:.2f}".replace("-", "−")


def _error(value: float) -> str:
    return f"{_percent(value)}{text.SPACE}%"


def _networks(records: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = []
    means = {name: float(errors(records, name).mean()) for name in VARIANTS}
    for name in VARIANTS:
        mine, found = where(records, variant=name), errors(records, name)

        def mean(field: str, mine: Sequence[Record] = mine) -> float:
            return float(np.mean([record[field] for record in mine]))

        rows.append(
            [
                name,
                _percent(means[name]),
                _percent(float(found.std(ddof=1))) if len(found) > 1 else None,
                f"{mean('correlation'):.2f}" if VARIANTS[name].reconstructs else None,
                text.share(mean("active_units")),
                f"{mean('code_sparseness'):.2f}",
                text.share(mean("loud_weights")),
                f"{mean('weight_sparseness'):.2f}",
                text.duration(mean("train_seconds")),
            ]
        )
    best = min(means.values())
    columns = (
        "network", "test error, %", "deviation", "correlation", "active units", "σ of codes", "connections",
        "σ of weights", "trained in",
    )  # fmt: skip
    note = (
        "Deviation: standard deviation over seeds. Correlation: of reconstructions with test samples. Connections: "
        f"share of a unit's weights above {100 * LOUD:g} % of its largest. σ: Hoyer's sparseness, as mean over test "
        "samples or units. Bold: the lowest error."
    )
    return Table(
        "All networks", columns, rows, note, frozenset((i, 1) for i, m in enumerate(means.values()) if m == best)
    )


def _comparisons(records: Sequence[Record]) -> Table:
    rows: list[list[Cell]] = [
        [
            f"{c.first} against {c.second}",
            _percent(c.test.difference.center),
            f"{_percent(c.test.difference.low)} to {_percent(c.test.difference.high)}",
            f"{c.test.t_p:.2g}",
            f"{c.p:.2g}",
            f"{c.test.wilcoxon_p:.2g}",
        ]
        for c in compared(records)
    ]
    columns = ("", "points lower", "95 % interval", "p, t-test", "adjusted", "p, Wilcoxon")
    seeds = len(errors(records, "both"))
    note = (
        f"Test error in percentage points, paired over {seeds} seeds. Adjusted: by Holm, for these "
        f"{len(rows)} comparisons. Wilcoxon's p is exact, and at least {2.0 ** (1 - seeds):.2g} with {seeds} seeds."
    )
    return Table("Paired over seeds", columns, rows, note)


# ---- verdicts --------------------------------------------------------------------------------------------------------


def _summary(records: Sequence[Record]) -> str:
    means = {name: float(errors(records, name).mean()) for name in VARIANTS}
    best = min(means, key=lambda name: means[name])
    return (
        f"Test error {_error(means['both'])} with sparse activations and sparse connectivity, "
        f"{_error(means['activation'])} with sparse activations alone, {_error(means['connectivity'])} with sparse "
        f"connectivity alone, {_error(means['neither'])} with neither. The lowest of all is that of “{best}”, "
        f"{_error(means[best])}."
    )


def claims(plan: Plan, records: Sequence[Record]) -> list[Claim]:
    """Each question by its test, and the published error where the data are the paper's."""
    found = []
    for c in compared(records):
        first, second = (float(errors(records, name).mean()) for name in (c.first, c.second))
        gain = c.test.difference
        found.append(
            Claim(
                c.statement,
                judged(gain.center, c.p),
                f"Test error {_error(first)} ({c.first}) against {_error(second)} ({c.second}); the difference "
                f"of {_percent(gain.center)} points has a 95{text.SPACE}% interval from {_percent(gain.low)} to "
                f"{_percent(gain.high)}, {text.p_value(c.p)} (t-test over {c.test.n} pairs, adjusted by Holm; "
                f"{text.p_value(c.test.wilcoxon_p)} by Wilcoxon's test, not adjusted).",
            )
        )
    if plan.dataset == "mnist":
        found.append(_published(errors(records, "both")))
    return found


def _published(found: NDArray[np.float64]) -> Claim:
    verdict: Verdict = "undecided"
    evidence = f"Mean {_error(found.mean())} over {len(found)} seeds, the lowest {_error(found.min())}"
    if len(found) > 1:
        interval = mean_interval(found.tolist())
        verdict = "holds" if interval.high < _PUBLISHED else "does not hold" if interval.low > _PUBLISHED else verdict
        evidence += f"; 95{text.SPACE}% interval of the mean {_percent(interval.low)} to {_error(interval.high)}"
    return Claim(
        "Both together reach the best published error of such a network, 0.8 % (as a third party lists it, rounded).",
        verdict,
        f"{evidence}. Counted as reached below {_error(_PUBLISHED)}.",
    )


def _departures(plan: Plan, jobs: int) -> list[str]:
    notes = [
        "We do not know the paper's settings. Degrees of sparseness, step sizes and their schedule, number of epochs, "
        "batches, the time constant of α, and non-negative codes are ours. They were chosen by a few trials on samples "
        "held out of the training rows; test rows had no influence.",
        "The network (tied weights, no biases), its cost, the form of α's schedule and the initialization from samples "
        "are reconstructed from memory and were not checked against the article.",
        "All networks have the same learning rate. On held-out samples it was the best for both (on MNIST 0.001 and "
        "0.003 were tried) and for neither (0.001, 0.003, 0.006); on digits for both, connectivity and neither (0.003 "
        "to 0.02). The perceptrons share these settings.",
        "The optimizer is Adam instead of gradient descent on single samples, with a projection after every step. "
        "Weights that a projection has set to zero move in the next step, so that many small weights remain rather "
        "than zeros. The l0 variants have exact zeros.",
        "Dense activations are tanh. With the identity the network would be a linear classifier, and no rival.",
        "Sparse weights have length 1 where codes are projected. With tanh their lengths are kept: on held-out samples "
        "of MNIST, after 8 epochs, the error was 1.7 % with length 1 (sparseness 0.6) and 1.2 % with the lengths kept "
        "(0.75).",
        f"Weights are projected to sparseness {plan.connectivity:g}. On held-out samples of MNIST, after 8 epochs, the "
        "error of “both” was 1.05 % with it and 1.21 % with 0.75.",
    ]
    if plan.shifts:
        notes.append(
            "One of the nine shifts is drawn for each sample in each epoch. The paper seems to train on all nine "
            "copies, so an epoch there has nine times as many samples."
        )
    else:
        notes.append("Small images, few samples, no shifts: this is not the experiment of the paper.")
    if jobs > 1:
        notes.append(f"{jobs} networks were trained at a time: their times are longer than those of a single one.")
    return notes
