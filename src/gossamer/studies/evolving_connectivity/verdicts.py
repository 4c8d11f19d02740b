"""Claims of the papers, and verdicts from our numbers.

A statement about all data sets holds if the mean gain over them is positive and Wilcoxon's p (adjusted by Holm, one
test for each variant) is below 5 %; it does not hold if the gain is negative and p is below 5 %; else it is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gossamer.data.catalogue import MADELON_INFORMATIVE
from gossamer.report import text
from gossamer.studies.evolving_connectivity import tables
from gossamer.studies.evolving_connectivity.experiment import CONTROLS, COSINE, RULES, VARIANTS, Plan
from gossamer.studies.findings import Claim, Verdict, judged
from gossamer.studies.statistics import paired
from gossamer.studies.trials import Record, where

__all__ = ["claims", "summary"]

_SET = "Mocanu et al. 2018"
_COSINE = "Pieterse & Mocanu 2019"


def claims(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Claim]:
    """Every statement that these data sets can test."""
    found = [
        _against(plans, records, COSINE, "SET", f"The cosine variants usually outperform SET ({_COSINE})."),
        _against(
            plans, records, COSINE, "dense", f"The cosine variants usually outperform dense networks ({_COSINE})."
        ),
        _against(
            plans, records, ("SET",), "fixed", f"SET is better than the same sparse connectivity left alone ({_SET})."
        ),
        _connections_show(plans, records),
    ]
    found += [_controls(plans, records)] if any(plan.controls for plan in plans.values()) else []
    found += _madelon(plans, records) if "madelon" in plans else []
    found += [_at_five_percent(name, plans, records) for name in ("isolet", "fashion_mnist") if name in plans]
    return found


def summary(plans: Mapping[str, Plan], records: Sequence[Record]) -> str:
    """Summarize the best variant over the data sets, and the differences between all."""
    means = {v: float(np.mean([tables.mean(records, d, v) for d in plans])) for v in VARIANTS}
    best = max(means, key=means.__getitem__)
    sparse = {v: value for v, value in means.items() if v != "dense"}
    share = np.mean(
        [tables.mean(records, d, "SET", "connections") / tables.mean(records, d, "dense", "connections") for d in plans]
    )
    spread = text.points(max(sparse.values()) - min(sparse.values()), sign=False)
    line = (
        f"Mean accuracy over {len(plans)} data set{'s' * (len(plans) > 1)}: SET {text.percent(means['SET'])}, "
        f"CoDACoRSET {text.percent(means['CoDACoRSET'])}, fixed topology {text.percent(means['fixed'])}, dense "
        f"networks {text.percent(means['dense'])}; {best} is highest with {text.percent(means[best])}. The sparse "
        f"variants lie within {spread} of each other, with {text.share(float(share))} of the dense networks' "
        "connections on average."
    )
    ranks = tables.ranked(plans, records)
    if ranks is None:
        return line
    differ = "differ by more than chance" if ranks.p < 0.05 else "don't differ by more than chance"
    return f"{line} Their ranks {differ} (Friedman's test, {text.p_value(ranks.p)})."


def _against(
    plans: Mapping[str, Plan], records: Sequence[Record], variants: Sequence[str], other: str, statement: str
) -> Claim:
    """Judged by the majority of the variants that are decided, else undecided."""
    found = tables.versus(plans, records, variants, other)
    verdicts = [judged(gain.mean, gain.p) for gain in found.values()]
    holds, fails = verdicts.count("holds"), verdicts.count("does not hold")
    verdict: Verdict = (
        "undecided" if 2 * max(holds, fails) <= len(variants) else "holds" if holds > fails else "does not hold"
    )
    least = 2.0 ** (1 - len(plans))
    sets = f"{len(plans)} data set{'s' * (len(plans) > 1)}"
    limit = f". With {sets} p is at least {least:g} before adjustment" if least > 0.05 else ""
    evidence = "; ".join(
        f"{variant} {text.points(gain.mean)}, better on {gain.won} and worse on {gain.lost} of {len(plans)}, "
        f"{text.p_value(gain.p)}"
        for variant, gain in found.items()
    )
    return Claim(statement, verdict, f"{evidence}{limit}.")


def _connections_show(plans: Mapping[str, Plan], records: Sequence[Record]) -> Claim:
    """The contrast of the ablation curves against that of a connectivity left alone, over data sets."""
    rule = "CoDACoRSET"
    gaps: dict[str, tuple[float, float]] = {}
    for dataset in plans:
        both = [
            [tables.contrast(r) for r in where(records, dataset=dataset, variant=variant) if "ablation" in r]
            for variant in (rule, "fixed")
        ]
        if all(both):
            gaps[dataset] = float(np.mean(both[0])), float(np.mean(both[1]))
    statement = f"Evolved input connectivity reflects each input's impact on the classification ({_COSINE})."
    if len(gaps) < 2:
        return Claim(statement, "undecided", "Fewer than two data sets have a sparse first layer.")
    ours, fixed = np.transpose(list(gaps.values()))
    p = paired(ours, fixed).wilcoxon_p
    higher = int((ours > fixed).sum())
    return Claim(
        statement,
        judged(float((ours - fixed).mean()), p),
        f"Zeroing the least connected inputs of {rule} first instead of the most connected leaves "
        f"{text.points(float(ours.mean()))} of accuracy on average, {text.points(float(fixed.mean()))} with a fixed "
        f"topology; more on {higher} of {len(gaps)} data sets, {text.p_value(p)} (Wilcoxon).",
    )


def _controls(plans: Mapping[str, Plan], records: Sequence[Record]) -> Claim:
    """Judge the controls.

    Random: worse than SET by at least a tenth of SET's gain over chance. By the largest: at most a tenth of that is
    left.
    """
    verdicts, details = [], []
    for dataset in (name for name, plan in plans.items() if plan.controls):
        chance = tables.mean(records, dataset, "SET", "largest_class")
        ours = tables.mean(records, dataset, "SET")
        by_chance, by_largest = (tables.mean(records, dataset, control) for control in CONTROLS)
        worse, blind = ours - by_chance >= 0.1 * (ours - chance), by_largest - chance <= 0.1 * (ours - chance)
        verdicts.append(worse and blind)
        details.append(
            f"{dataset}: SET {text.percent(ours)}, random removal {text.percent(by_chance)}, largest removed "
            f"{text.percent(by_largest)}, largest class {text.percent(chance)}"
        )
    return Claim(
        "Random removal of connections loses much accuracy, and removal of the largest weights leaves chance level "
        f"({_SET}).",
        "holds" if all(verdicts) else "undecided" if any(verdicts) else "does not hold",
        f"{'; '.join(details)}. With g the gain of SET over the largest class, much is a loss of g/10 or more, and "
        "chance level a gain of g/10 or less.",
    )


def _madelon(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Claim]:
    ours = where(records, dataset="madelon", variant="CoDACoRSET")
    found = [tables.hits(record) for record in ours]
    counts = {
        rule: [tables.hits(r) for r in where(records, dataset="madelon", variant=rule) if "degrees" in r]
        for rule in RULES
    }
    all_found = sum(count == len(MADELON_INFORMATIVE) for count in found)
    last_ten = float(np.mean([record["accuracy"] for record in ours]))
    noisy = [record["curve_with_dropout"] for record in ours]
    largest = tables.madelon_correlations()
    informative = np.sort(largest[list(MADELON_INFORMATIVE)])
    noise = np.delete(largest, list(MADELON_INFORMATIVE))
    return [
        Claim(
            "On Madelon the 20 most connected inputs of CoDACoRSET are the 20 informative ones (the run that comes "
            "with the authors' code).",
            "holds" if all_found >= 0.8 * len(found) else "does not hold",
            f"All 20 in {all_found} of {len(found)} seeds ({', '.join(map(str, found))} of 20). Mean of the others: "
            + ", ".join(f"{rule} {np.mean(c):.1f}" for rule, c in counts.items() if rule != "CoDACoRSET" and c)
            + ".",
        ),
        Claim(
            "It reaches a test accuracy of 71.5 % at the end and 73.5 % at best, with dropout on (the same run).",
            "holds" if np.mean([curve[-1] for curve in noisy]) >= 0.715 - 2 * 0.0184 else "does not hold",
            f"Ours, with dropout on: {text.percent(float(np.mean([curve[-1] for curve in noisy])))} at the end, "
            f"{text.percent(float(np.mean([max(curve) for curve in noisy])))} at best, means over {len(ours)} seeds; "
            f"with dropout off {text.percent(last_ten)} over the last ten epochs. Counted as reached if at most "
            "twice the standard error of one accuracy on 600 samples (1.8 points) below.",
        ),
        Claim(
            "Madelon's informative columns correlate with each other, its noise with nothing: similarity finds them.",
            "holds" if informative.min() > noise.max() else "does not hold",
            f"Largest |correlation| with another column: at least {informative[2]:.3f} for 18 informative ones, "
            f"{informative[0]:.2f} and {informative[1]:.2f} for the other two, at most {noise.max():.3f} for noise.",
        ),
    ]


def _at_five_percent(dataset: str, plans: Mapping[str, Plan], records: Sequence[Record]) -> Claim:
    best = max(RULES, key=lambda variant: tables.mean(records, dataset, variant))
    share = tables.mean(records, dataset, best, "connections") / tables.mean(records, dataset, "dense", "connections")
    ours, dense = (tables.accuracies(records, dataset, v) for v in (best, "dense"))
    gap = float(ours.mean() - dense.mean())
    detail = f"{best} {text.percent(float(ours.mean()))}, dense {text.percent(float(dense.mean()))}"
    verdict: Verdict = "holds" if gap >= 0 else "undecided"
    if len(ours) > 1:
        test = paired(ours, dense)
        detail += (
            f"; difference {text.points(gap)}, 95 % interval {text.points(test.difference.low, unit=False)} to "
            f"{text.points(test.difference.high)} over {test.n} seeds"
        )
        verdict = "holds" if gap >= 0 else "undecided" if test.difference.high >= 0 else "does not hold"
    return Claim(
        f"On {dataset} the best variant is as good as the dense network with at most 5 % of its weights.",
        verdict if share <= 0.05 else "does not hold",
        f"{detail}, with {text.share(share)} of the weights. The best of {len(RULES)} variants is chosen by its test "
        "accuracy, which favours it.",
    )
