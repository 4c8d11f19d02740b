"""Results of the selectors: tables, figures and verdicts.

The score of a selector on a division of the rows is the mean test accuracy over judges and numbers of features.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.data.catalogue import MADELON_INFORMATIVE
from gossamer.report import text
from gossamer.studies import figures as drawing
from gossamer.studies.feature_selection.experiment import JUDGES, OURS, SELECTORS, USUAL, Plan
from gossamer.studies.findings import Claim, Figure, Table, Verdict, judged
from gossamer.studies.statistics import Friedman, friedman, gains, paired
from gossamer.studies.trials import Record, where

__all__ = ["claims", "figures", "scores", "stability", "summary", "tables"]

_KNOWN: Mapping[str, tuple[int, ...]] = {"madelon": MADELON_INFORMATIVE, "madelon_like": tuple(range(20))}
"""The columns that are known to be informative."""


def scores(records: Sequence[Record], dataset: str, selector: str, judge: str | None = None) -> NDArray[np.float64]:
    """(seeds,): each division's score, of one judge or of all."""
    found = sorted(where(records, dataset=dataset, variant=selector), key=lambda record: record["seed"])
    judges = JUDGES if judge is None else (judge,)
    return np.array([np.mean([record["accuracy"][name] for name in judges]) for record in found])


def stability(records: Sequence[Record], dataset: str, selector: str) -> float:
    """Compute the mean overlap |A ∩ B| / |A ∪ B| of the best features of two divisions.

    The best 20, or a quarter of all features if there are fewer than 80.
    """
    found = where(records, dataset=dataset, variant=selector)
    count = min(20, max(1, found[0]["features"] // 4))
    sets = [set(record["ranking"][:count]) for record in found]
    return float(np.mean([len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)])) if sets[1:] else 1.0


def _mean(records: Sequence[Record], dataset: str, selector: str) -> float:
    return float(scores(records, dataset, selector).mean())


def _ranked(plans: Mapping[str, Plan], records: Sequence[Record]) -> Friedman | None:
    if len(plans) < 2:
        return None
    return friedman([[_mean(records, dataset, selector) for selector in SELECTORS] for dataset in plans])


def _hits(record: Record) -> int:
    known = _KNOWN[record["dataset"]]
    return len(set(record["ranking"][: len(known)]) & set(known))


# ---- tables ----------------------------------------------------------------------------------------------------------


def tables(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Table]:
    """Make all tables of the study."""
    return [
        _accuracy(plans, records),
        _against_trees(plans, records),
        *(_by_judge(plans, records, judge) for judge in JUDGES),
        _seconds(plans, records),
        _other(plans, records),
    ]


def _best(rows: Sequence[Sequence[float]]) -> frozenset[tuple[int, int]]:
    """Cells, counted with the column of names, that are best in their column to the digit shown."""
    table = np.round(np.array(rows), 3)
    return frozenset((int(i), int(j) + 1) for i, j in np.argwhere(table == table.max(axis=0)))


def _accuracy(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    means = [[_mean(records, dataset, selector) for dataset in plans] for selector in SELECTORS]
    ranks = _ranked(plans, records)
    rows = [
        [selector, *(f"{100 * value:.1f}" for value in row), None if ranks is None else f"{ranks.ranks[i]:.2f}"]
        for i, (selector, row) in enumerate(zip(SELECTORS, means, strict=True))
    ]
    note = (
        "Test accuracy in percent, mean over judges, numbers of features and divisions. Bold: the best of a data set."
    )
    if ranks is not None:
        note += (
            f" Rank: mean over the {ranks.blocks} data sets; Friedman's test with Iman and Davenport's correction "
            f"F = {ranks.f:.2f}, {text.p_value(ranks.p)}, Nemenyi's critical difference at 5 % "
            f"{ranks.critical_difference:.2f}."
        )
    if diverged := [f"{r['variant']} on {r['dataset']}, seed {r['seed']}" for r in records if r["diverged"]]:
        note += f" Diverged, and counted with random features: {'; '.join(diverged)}."
    return Table("Accuracy with the selected features", ("selector", *plans, "rank"), rows, note, _best(means))


def _against_trees(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    """Compare the networks with trees on each data set."""
    rows: list[list[str | None]] = []
    for dataset in plans:
        usual = max(USUAL, key=lambda selector: _mean(records, dataset, selector))
        row: list[str | None] = [dataset, f"{usual} {100 * _mean(records, dataset, usual):.1f}"]
        for selector in OURS:
            ours, trees = scores(records, dataset, selector), scores(records, dataset, "trees")
            gap = float((ours - trees).mean())
            if len(ours) < 2:
                row += [text.points(gap, unit=False), None]
                continue
            found = paired(ours, trees).difference
            row.append(
                f"{text.points(gap, unit=False)} ({text.points(found.low, unit=False)} to "
                f"{text.points(found.high, unit=False)})"
            )
            row.append(("wins" if gap > 0 else "trees win") if found.decided else "even")
        rows.append(row)
    columns = ["data set", "best usual selector"]
    for selector in OURS:
        columns += [f"{selector} over trees", ""]
    note = (
        "Difference of the score to tree importance in percentage points with its 95 % interval, paired over "
        "divisions; even: the interval contains 0. The best usual selector is chosen by its test accuracy."
    )
    return Table("Networks against trees", columns, rows, note)


def _by_judge(plans: Mapping[str, Plan], records: Sequence[Record], judge: str) -> Table:
    means = [[float(scores(records, d, selector, judge).mean()) for d in plans] for selector in SELECTORS]
    rows = [[s, *(f"{100 * value:.1f}" for value in row)] for s, row in zip(SELECTORS, means, strict=True)]
    title = {"trees": "Judged by trees", "neighbours": "Judged by nearest neighbours", "linear": "Judged linearly"}
    note = "Test accuracy in percent, mean over numbers of features and divisions. Bold: the best of a data set."
    return Table(title[judge], ("selector", *plans), rows, note, _best(means))


def _seconds(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    rows = []
    for selector in SELECTORS:
        times = [np.mean([r["select_seconds"] for r in where(records, dataset=d, variant=selector)]) for d in plans]
        rows.append([selector, *(text.duration(float(seconds)) for seconds in times)])
    shapes = [where(records, dataset=dataset)[0] for dataset in plans]
    note = "Mean time to rank all features. Rows × features: "
    note += ", ".join(f"{r['dataset']} {r['rows']} × {r['features']}" for r in shapes)
    return Table("Time to select", ("selector", *plans), rows, f"{note}.")


def _other(plans: Mapping[str, Plan], records: Sequence[Record]) -> Table:
    known = [dataset for dataset in plans if dataset in _KNOWN]
    rows: list[list[str]] = []
    for selector in SELECTORS:
        row = [selector, *(f"{stability(records, dataset, selector):.2f}" for dataset in plans)]
        for dataset in known:
            hits = [_hits(record) for record in where(records, dataset=dataset, variant=selector)]
            row.append(f"{np.mean(hits):.1f} of {len(_KNOWN[dataset])}")
        rows.append(row)
    note = (
        "Share of the best 20 features (a quarter of all if they are fewer than 80) that two divisions have in common."
    )
    if known:
        note += " Found: the number of informative columns among as many best-ranked ones."
    return Table("Stability of the selection", ("selector", *plans, *(f"found, {d}" for d in known)), rows, note)


# ---- pictures --------------------------------------------------------------------------------------------------------


def figures(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Figure]:
    """Draw all figures of the study."""
    found = [_curves(plans, records)]
    ranks = _ranked(plans, records)
    if ranks is not None:
        found.append(drawing.average_ranks(SELECTORS, ranks, "selectors"))
    return found


def _curves(plans: Mapping[str, Plan], records: Sequence[Record]) -> Figure:
    columns = min(3, len(plans))
    rows = math.ceil(len(plans) / columns)
    with drawing.canvas(2.6 * max(2, columns) + 0.4, 0.8 + 2.0 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for unused in grid.flat[len(plans) :]:
            unused.set_visible(False)
        for panel, dataset in zip(grid.flat, plans, strict=False):
            for i, selector in enumerate(SELECTORS):
                mine = where(records, dataset=dataset, variant=selector)
                curve = 100 * np.mean([[r["accuracy"][judge] for judge in JUDGES] for r in mine], axis=(0, 1))
                ours = selector in OURS
                panel.plot(
                    mine[0]["counts"],
                    curve,
                    label=selector,
                    color=drawing.SOFT if selector == "random" else drawing.COLOURS[i],
                    marker=None if selector == "random" else drawing.MARKERS[i],
                    linestyle=":" if selector == "random" else "-",
                    linewidth=2.2 if ours else 1.1,
                    markersize=5 if ours else 3.5,
                    zorder=3 if ours else 2,
                )
            panel.set_xscale("log")
            drawing.log_ticks(panel.xaxis)
            panel.set_title(dataset)
            panel.grid()
            panel.set_xlabel("features selected")
        grid[0, 0].set_ylabel("test accuracy, %")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        drawing.legend(figure, handles, labels, 4)
        return Figure(
            "curves",
            drawing.svg(figure, "Test accuracy by number of features"),
            "Test accuracy with the k best features of each selector, mean over the three judges and the divisions.",
            f"Accuracy against the number of selected features for {len(SELECTORS)} selectors on {', '.join(plans)}.",
        )


# ---- verdicts --------------------------------------------------------------------------------------------------------


def summary(plans: Mapping[str, Plan], records: Sequence[Record]) -> str:
    """Summarize which selector is best on which data."""
    winners = {dataset: max(SELECTORS, key=lambda s: _mean(records, dataset, s)) for dataset in plans}
    wins = {s: [d for d, best in winners.items() if best == s] for s in SELECTORS}
    listed = "; ".join(f"{selector} on {', '.join(datasets)}" for selector, datasets in wins.items() if datasets)
    means = {s: float(np.mean([_mean(records, d, s) for d in plans])) for s in SELECTORS}
    place = f"Over all {len(plans)} data sets" if len(plans) > 1 else "There"
    reached = ", ".join(f"{selector} {text.percent(means[selector])}" for selector in OURS)
    return (
        f"Best by mean accuracy: {listed}. {place}: {reached}, tree importance {text.percent(means['trees'])}, "
        f"random features {text.percent(means['random'])}."
    )


_QUESTIONS = (
    ("CoDACoRSET", "random", "The best connected inputs of CoDACoRSET are better features than random ones."),
    ("QuickSelection", "random", "So are the strongest inputs of QuickSelection, which does not use the classes."),
    ("SET", "random", "So are the strongest inputs of SET."),
    ("SET", "CoDACoRSET", "The strongest inputs of SET are better features than the best connected of CoDACoRSET."),
    ("CoDACoRSET", "trees", "CoDACoRSET selects better than tree importance."),
    ("SET", "trees", "SET selects better than tree importance."),
)


def claims(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Claim]:
    """Each comparison over the data sets, all adjusted together, and which columns were found where they are known."""
    means = {s: [_mean(records, dataset, s) for dataset in plans] for s in SELECTORS}
    compared = gains({statement: (means[first], means[second]) for first, second, statement in _QUESTIONS})
    least = 2.0 ** (1 - len(plans))
    sets = f"{len(plans)} data set{'s' * (len(plans) > 1)}"
    limit = f" With {sets} p is at least {least:g} before adjustment." if least > 0.05 else ""
    found = [
        Claim(
            statement,
            judged(gain.mean, gain.p),
            f"{text.points(gain.mean)} on average, better on {gain.won} and worse on {gain.lost} of {sets}, "
            f"{text.p_value(gain.p)} (Wilcoxon, adjusted by Holm).{limit}",
        )
        for statement, gain in compared.items()
    ]
    return found + [_columns(dataset, records) for dataset in plans if dataset in _KNOWN]


def _columns(dataset: str, records: Sequence[Record]) -> Claim:
    count = len(_KNOWN[dataset])
    hits = {s: float(np.mean([_hits(r) for r in where(records, dataset=dataset, variant=s)])) for s in SELECTORS}
    verdict: Verdict = "holds" if hits["CoDACoRSET"] >= 0.95 * count else "does not hold"
    return Claim(
        f"CoDACoRSET finds the {count} informative columns of {dataset}.",
        verdict,
        f"Informative columns among the {count} best ones, mean over the divisions: "
        + ", ".join(f"{selector} {mean:.1f}" for selector, mean in hits.items())
        + ". Counted as found from 95 % on.",
    )
