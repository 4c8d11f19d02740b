"""Results of the ways to a sparse network: tables, a figure and verdicts.

Methods are compared at equal density on equal rows with equal seeds. The score of a method for a seed is its mean test
accuracy over data sets and densities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.report import text
from gossamer.studies import figures as drawing
from gossamer.studies.findings import Claim, Figure, Table, Verdict, judged
from gossamer.studies.statistics import holm, paired
from gossamer.studies.trials import Record, where
from gossamer.studies.weak_elimination.settings import METHODS, OPTIONS, OTHERS, Options, Plan

__all__ = ["claims", "departures", "figures", "of_level", "settings", "summary", "tables", "tuning_table"]

_NEAR = 0.01  # "nearly as good": at most one percentage point less


def of_level(records: Sequence[Record], dataset: str, width: float, method: str, field: str) -> NDArray[np.float64]:
    """(seeds,): ``field`` of the networks of ``method`` at the density that the gap ``width`` found, by seed."""
    found = [r for r in where(records, dataset=dataset, variant=method) if r["settings"].get("width") == width]
    return np.array([r[field] for r in sorted(found, key=lambda r: r["seed"])], dtype=np.float64)


def _levels(plans: Mapping[str, Plan]) -> list[tuple[str, float]]:
    return [(name, width) for name, plan in plans.items() for width in plan.widths]


def _density(records: Sequence[Record], dataset: str, width: float) -> float:
    positions = int(where(records, dataset=dataset)[0]["positions"])
    return float(of_level(records, dataset, width, "gap", "connections").mean()) / positions


def _scores(plans: Mapping[str, Plan], records: Sequence[Record], method: str) -> NDArray[np.float64]:
    """(seeds,): mean accuracy over data sets and densities; seeds that all data sets have."""
    columns = [of_level(records, dataset, width, method, "accuracy") for dataset, width in _levels(plans)]
    seeds = min(len(column) for column in columns)
    means: NDArray[np.float64] = np.array([column[:seeds] for column in columns]).mean(axis=0)
    return means


# ---- tables ----------------------------------------------------------------------------------------------------------


def tables(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Table]:
    """Accuracy and differences of each data set, and the cost of training."""
    return [
        *(_accuracy(name, plan, records) for name, plan in plans.items()),
        *(_differences(name, plan, records) for name, plan in plans.items()),
        *(_cost(name, plan, records) for name, plan in plans.items()),
        *(_layers(name, plan, records) for name, plan in plans.items()),
    ]


def _headings(name: str, plan: Plan, records: Sequence[Record]) -> list[str]:
    return [text.share(_density(records, name, width)) for width in plan.widths]


def _accuracy(name: str, plan: Plan, records: Sequence[Record]) -> Table:
    means = [[float(of_level(records, name, w, method, "accuracy").mean()) for w in plan.widths] for method in METHODS]
    spread = [[of_level(records, name, w, method, "accuracy").std() for w in plan.widths] for method in METHODS]
    rows = [
        [method, *(f"{100 * mean:.1f} ± {100 * float(sd):.1f}" for mean, sd in zip(line, around, strict=True))]
        for method, line, around in zip(METHODS, means, spread, strict=True)
    ]
    shown = np.round(np.array(means), 3)
    best = frozenset((int(i), int(j) + 1) for i, j in np.argwhere(shown == shown.max(axis=0)))
    dense = np.array([r["accuracy"] for r in where(records, dataset=name, variant="dense")])
    note = (
        f"Test accuracy in percent by density, mean and standard deviation over {len(dense)} seeds. Bold: the "
        "best at a "
        f"density. A dense network: {100 * dense.mean():.1f} ± {100 * dense.std():.1f}. The gaps are "
        f"{', '.join(f'{w:g}' for w in plan.widths)}."
    )
    return Table(f"Accuracy on {name}", ("method", *_headings(name, plan, records)), rows, note, best)


def _differences(name: str, plan: Plan, records: Sequence[Record]) -> Table:
    cells = [(method, width) for method in OTHERS for width in plan.widths]
    gaps = {w: of_level(records, name, w, "gap", "accuracy") for w in plan.widths}
    tests = {(m, w): paired(gaps[w], of_level(records, name, w, m, "accuracy")) for m, w in cells}
    adjusted = dict(zip(cells, holm([tests[cell].t_p for cell in cells]), strict=True))
    rows = [
        [
            method,
            *(
                text.points(tests[method, w].difference.center, unit=False)
                + ("*" if adjusted[method, w] < 0.05 else "")
                for w in plan.widths
            ),
        ]
        for method in OTHERS
    ]
    note = (
        "Accuracy of gap less that of the method, in percentage points, at equal density. *: p < 0.05, paired "
        "t-test over "
        "seeds, adjusted by Holm for all cells of the table."
    )
    return Table(f"Gap against the others on {name}", ("gap −", *_headings(name, plan, records)), rows, note)


def _cost(name: str, plan: Plan, records: Sequence[Record]) -> Table:
    dense = where(records, dataset=name, variant="dense")
    whole = float(np.mean([r["macs"] for r in dense]))
    rows: list[list[str]] = []
    for method in METHODS:
        row = [method]
        for width in plan.widths:
            macs = of_level(records, name, width, method, "macs").mean() / whole
            seconds = float(np.median(of_level(records, name, width, method, "train_seconds")))
            row.append(f"{100 * macs:.2g} %, {text.duration(seconds)}")
        rows.append(row)
    seconds = float(np.median([r["train_seconds"] for r in dense]))
    note = (
        "Multiply-adds of training (forward, both gradients) as a share of a dense network's, and the median time, by "
        f"density. Dense: {whole:.3g} multiply-adds, {text.duration(seconds)}. Times are those of a machine "
        "that did other "
        "work too: they say little."
    )
    return Table(f"Cost of training on {name}", ("method", *_headings(name, plan, records)), rows, note)


def _layers(name: str, plan: Plan, records: Sequence[Record]) -> Table:
    rows: list[list[str]] = []
    for width in plan.widths:
        row = [f"{width:g}", text.share(_density(records, name, width))]
        for method in ("gap", "gradual", "random"):
            found = [r for r in where(records, dataset=name, variant=method) if r["settings"].get("width") == width]
            layers = [r["layers"] for r in found]
            names = sorted({layer for each in layers for layer in each})
            row.append(" / ".join(text.count(float(np.mean([each[layer] for each in layers]))) for layer in names))
        rows.append(row)
    note = "Mean number of connections of each hidden layer. Random networks share them out by their option."
    return Table(f"Where the connections are, {name}", ("gap δ", "density", "gap", "gradual", "random"), rows, note)


def tuning_table(plans: Mapping[str, Plan], options: Options, tuning: Sequence[Record]) -> Table:
    """Mean validation accuracy of each option."""
    rows: list[list[str]] = []
    best = set()
    for method in METHODS:
        for option in OPTIONS[method]:
            row = [method, option if isinstance(option, str) else f"{option:g}"]
            for column, name in enumerate(plans):
                found = [r for r in where(tuning, dataset=name, variant=method) if r["settings"]["option"] == option]
                row.append(f"{100 * float(np.mean([r['accuracy'] for r in found])):.1f}")
                if options[name, method] == option:
                    best.add((len(rows), column + 2))
            rows.append(row)
    gaps = "; ".join(f"{name}: {', '.join(f'{w:g}' for w in plan.tuned)}" for name, plan in plans.items())
    note = (
        "Mean accuracy in percent on validation rows, a fifth of the training rows, with seeds that are not reported. "
        f"Bold: chosen. The gaps are {gaps}; the other methods have the density of the gap's chosen option."
    )
    return Table("Choice of options", ("method", "option", *plans), rows, note, frozenset(best))


# ---- picture ---------------------------------------------------------------------------------------------------------


def figures(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Figure]:
    """Accuracy against density, a panel for each data set."""
    with drawing.canvas(3.6 * len(plans), 3.9) as figure:
        grid = figure.subplots(1, len(plans), squeeze=False)
        for panel, (name, plan) in zip(grid[0], plans.items(), strict=True):
            x = [100 * _density(records, name, width) for width in plan.widths]
            for i, method in enumerate(METHODS):
                values = [100 * of_level(records, name, width, method, "accuracy") for width in plan.widths]
                error = [v.std(ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.0 for v in values]
                panel.errorbar(
                    x,
                    [v.mean() for v in values],
                    yerr=error,
                    label=method,
                    color=drawing.SOFT if method == "random" else drawing.COLOURS[i if i < 6 else 9],
                    marker=drawing.MARKERS[i],
                    linestyle=":" if method == "random" else "-",
                    linewidth=2.4 if method == "gap" else 1.1,
                    markersize=6 if method == "gap" else 4,
                    elinewidth=0.8,
                    zorder=3 if method == "gap" else 2,
                )
            dense = np.mean([r["accuracy"] for r in where(records, dataset=name, variant="dense")])
            panel.axhline(100 * dense, color=drawing.INK, linewidth=0.8, linestyle="--", label="dense")
            panel.set_xscale("log")
            drawing.log_ticks(panel.xaxis)
            panel.set_title(name)
            panel.grid()
            panel.set_xlabel("density, %")
        grid[0, 0].set_ylabel("test accuracy, %")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        drawing.legend(figure, handles, labels, 5)
        drawn = drawing.svg(figure, "Test accuracy by density")
    return [
        Figure(
            "accuracy",
            drawn,
            "Test accuracy by the density of the hidden layers, mean and standard error over the seeds. Every "
            "method has "
            "the density that the gap found.",
            f"Accuracy against density of {len(METHODS)} methods on {', '.join(plans)}.",
        )
    ]


# ---- verdicts --------------------------------------------------------------------------------------------------------


def _compared(plans: Mapping[str, Plan], records: Sequence[Record]) -> dict[str, tuple[Any, float]]:
    """For each other method, the paired comparison of gap with it, and its p adjusted for all of them."""
    gap = _scores(plans, records, "gap")
    tests = {method: paired(gap, _scores(plans, records, method)) for method in OTHERS}
    adjusted = holm([test.t_p for test in tests.values()])
    return {method: (test, p) for (method, test), p in zip(tests.items(), adjusted, strict=True)}


def claims(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Claim]:
    """Gap against each method, and against the best of them at the highest and at the lowest density."""
    if len(_scores(plans, records, "gap")) < 2:
        return []
    found = []
    for method, (test, p) in _compared(plans, records).items():
        d = test.difference
        found.append(
            Claim(
                f"Eliminating weak connections online (gap) classifies better than {_NAMES[method]} at equal density.",
                judged(d.center, p),
                f"{text.points(d.center)} on average over data sets and densities, 95 % interval "
                f"{text.points(d.low, unit=False)} to {text.points(d.high)}, {text.p_value(p)} (paired t-test over "
                f"{test.n} seeds, adjusted by Holm).",
            )
        )
    return found + [_nearly(name, width, records) for name, plan in plans.items() for width in _ends(plan)]


_NAMES = {
    "magnitude": "magnitude pruning at once",
    "gradual": "gradual magnitude pruning",
    "SET": "SET",
    "RigL": "RigL",
    "l1": "training in an l1 ball with pruning after it",
    "Hoyer": "training at a given sparseness with pruning after it",
    "random": "a random fixed pattern",
}


def _ends(plan: Plan) -> tuple[float, ...]:
    return tuple(dict.fromkeys((plan.widths[0], plan.widths[-1])))


def _nearly(name: str, width: float, records: Sequence[Record]) -> Claim:
    means = {m: float(of_level(records, name, width, m, "accuracy").mean()) for m in OTHERS}
    best = max(means, key=means.__getitem__)
    test = paired(*(of_level(records, name, width, m, "accuracy") for m in ("gap", best)))
    d = test.difference
    verdict: Verdict = "holds" if d.low > -_NEAR else "does not hold" if d.high < -_NEAR else "undecided"
    return Claim(
        f"On {name} at density {text.share(_density(records, name, width))}, gap loses at most one percentage point "
        "against the best other method.",
        verdict,
        f"Best of the others by its test accuracy: {best}. Gap less {best}: {text.points(d.center)}, 95 % interval "
        f"{text.points(d.low, unit=False)} to {text.points(d.high)} over {test.n} seeds.",
    )


def summary(plans: Mapping[str, Plan], records: Sequence[Record]) -> str:
    """The order of the methods, and the best at each density."""
    means = {method: float(_scores(plans, records, method).mean()) for method in METHODS}
    order = sorted(METHODS, key=lambda method: -means[method])
    best = []
    for name, width in _levels(plans):
        level = {m: float(of_level(records, name, width, m, "accuracy").mean()) for m in METHODS}
        best.append(f"{max(level, key=level.__getitem__)} at {text.share(_density(records, name, width))} on {name}")
    return (
        "Mean accuracy over data sets and densities: "
        + ", ".join(f"{method} {text.percent(means[method])}" for method in order)
        + f". Best: {'; '.join(best)}."
    )


def settings(plans: Mapping[str, Plan]) -> dict[str, Any]:
    """The settings that the networks of each data set share."""
    return {
        name: {
            "gaps": list(plan.widths),
            "gaps at which options are chosen": list(plan.tuned),
            "seeds for choosing options": plan.tuning_seeds,
            "seeds": plan.seeds,
            "hidden units": list(plan.hidden),
            "epochs": plan.epochs,
            "batch size": plan.batch_size,
            "learning rate (Adam)": plan.learning_rate,
            "training rows, at most": plan.rows,
        }
        for name, plan in plans.items()
    }


def departures(jobs: int) -> list[str]:
    """Where the experiment is not the paper's, and the limits of it."""
    notes = [
        "The paper's rule trains one threshold unit by perceptron steps under a fixed l1 norm. Here the gap "
        "acts between "
        'the steps of Adam on ReLU networks, nothing fixes the l1 norm, and unless the option is "at once" the gap '
        "opens from 0 to δ instead of being there from the start.",
        "A connection that is eliminated is gone. In the paper a perceptron step can revive it.",
        "The gap chooses its density, and the layers' shares; the others are given the total. Magnitude, "
        "gradual, l1 and "
        "Hoyer rank the connections of all layers together; SET and RigL share them out as Erdős–Rényi does, random "
        "that way or with one density for all layers.",
        "Small networks, few training rows and few epochs, so that eight methods, all densities and five seeds take "
        "less than half an hour: accuracies are far from what these data sets allow.",
        "Each method has one option of three values (two for random), chosen on validation rows at some of the gaps "
        "and for all densities together, with seeds that are not reported. Other settings, the learning rate "
        "among them, are the same for all methods and not tuned.",
        "The option of the gap is chosen by accuracy at the density that it leads to: an opening that leaves more "
        "connections has an advantage over other openings. It has none over other methods, which are given the "
        "same number of connections.",
        "That a gap should open at all, and the widths, came from earlier single runs on these data sets; widths were "
        "chosen for the densities that they give.",
        "Training is short, which is hard on methods that need time after a change: SET moves connections "
        "after each epoch "
        "but the last, RigL twice an epoch, gap and gradual act about ten times an epoch. The mean over "
        "densities is "
        "dominated by the lowest ones, at which pruning at once fails.",
        "The densities are those that suit the gap, since it finds them.",
        "Test rows are the same for all seeds; a seed draws training rows, where there are more than are used, the "
        "first weights and the order of rows. Differences between seeds do not include those between test sets.",
    ]
    if jobs > 1:
        notes.append(f"{jobs} networks trained at a time: their times are longer than alone.")
    return notes
