"""Sparse against dense, in numbers and in words.

A cost is compared by the ratio of means, dense / sparse: above 1 the sparse network wins, below 1 it loses, and the row
says so. A cost that is measured (loss, time, latency) counts as even within `NOISE` of 1; an accuracy counts as even
where the 95 % interval of the difference holds 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from . import text
from .intervals import Interval, mean_interval, newcombe, wilson
from .read import Network, NetworkName, Run

__all__ = ["NOISE", "Row", "accuracy", "connection_share", "difference", "headline", "known", "rows", "summary"]

NOISE = 0.05
"""Ratios of measured costs closer to 1 than this aren't called a win for either side."""

Verdict = Literal["sparse", "dense", "even"]
Measure = Callable[[Network], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of both networks.

    Attributes:
        label: name of the quantity.
        sparse: its value of the sparse network, formatted.
        dense: its value of the dense twin.
        ratio: the comparison, formatted.
        verdict: the better network, ``"sparse"``, ``"dense"`` or ``"even"``.
        sparse_note: range or interval of the sparse network's value.
        dense_note: range or interval of the dense twin's value.
        factor: dense / sparse of a cost; None of an accuracy.
        part: whether it is a part of the row above.

    Example:
        >>> from gossamer.report import Row
        >>> Row("Weights", "1 kB", "10 kB", "10 times less", "sparse", factor=10.0).part
        False
    """

    label: str
    sparse: str
    dense: str
    ratio: str
    verdict: Verdict
    sparse_note: str = ""
    dense_note: str = ""
    factor: float | None = None
    part: bool = False


def _test_accuracy(network: Network) -> float:
    return network.test_accuracy


def _mean(networks: Sequence[Network], of: Measure) -> float:
    return float(np.mean([of(network) for network in networks]))


def accuracy(run: Run, name: NetworkName, of: Measure = _test_accuracy) -> Interval | None:
    """The accuracy ``of`` the networks ``name``: over seeds, or over test samples if there is one; None without any."""
    values = [of(network) for network in run.networks(name)]
    if not values:
        return None
    if len(set(values)) == 1:
        return wilson(round(values[0] * run.data.test), run.data.test)
    interval = mean_interval(values)
    return Interval(max(0.0, interval.low), interval.center, min(1.0, interval.high), interval.method)


def difference(run: Run, of: Measure = _test_accuracy) -> Interval | None:
    """The accuracy ``of`` sparse minus that of dense, paired by seed; None if no seed has both."""
    twins = {network.seed: network for network in run.dense}
    pairs = [(of(network), of(twins[network.seed])) for network in run.sparse if network.seed in twins]
    if not pairs:
        return None
    gaps = [sparse - dense for sparse, dense in pairs]
    if max(gaps) - min(gaps) < 1e-12:  # the seeds give no estimate of the variance
        sparse, dense = (round(float(np.mean(values)) * run.data.test) for values in zip(*pairs, strict=True))
        return newcombe(sparse, dense, run.data.test)
    interval = mean_interval(gaps)
    return Interval(interval.low, interval.center, interval.high, f"paired {interval.method}")


def connection_share(run: Run) -> float:
    """The sparse network's connections as a share of those of its dense twin (or of all that its layers could hold)."""
    if run.dense:
        possible = _mean(run.dense, lambda network: network.connections)
    else:
        possible = sum(layer.in_features * layer.out_features for layer in run.sparse[0].layers)
    return _mean(run.sparse, lambda network: network.connections) / max(1.0, possible)


def noise_levels(run: Run) -> list[float]:
    """The noise levels above 0 at which every network was tested."""
    return sorted(set.intersection(*(set(network.noise_accuracy) for network in run.sparse + run.dense)) - {0.0})


def batch_sizes(run: Run) -> list[int]:
    """The batch sizes at which every network was timed."""
    return sorted(set.intersection(*(set(network.latency_ms) for network in run.sparse + run.dense)))


def _score_row(run: Run, label: str, of: Measure) -> Row:
    """A row for an accuracy: the more the better."""
    sparse, dense, gap = accuracy(run, "sparse", of), accuracy(run, "dense", of), difference(run, of)
    shown, notes = zip(
        *[(text.percent(a.center), text.interval(a.low, a.high)) if a else ("–", "") for a in (sparse, dense)],
        strict=True,
    )
    ratio = "no twin"
    verdict: Verdict = "even"
    if gap is not None:
        apart = text.points(gap.center) + ("" if gap.decided else ", within chance")
        ratio = apart if abs(gap.center) >= 5e-5 else "same"
        verdict = "even" if not gap.decided else "sparse" if gap.center > 0 else "dense"
    return Row(label, shown[0], shown[1], ratio, verdict, notes[0], notes[1])


def _cost_row(
    run: Run, label: str, of: Measure, show: Callable[[float], str], less: str, more: str,
    *, measured: bool = False, part: bool = False,
) -> Row:  # fmt: skip
    """A row for a cost: the less the better. A measured cost also shows its range over the seeds."""
    shown, notes, means = [], [], []
    for networks in (run.sparse, run.dense):
        values = [of(network) for network in networks]
        means.append(float(np.mean(values)) if values else math.nan)
        shown.append(show(means[-1]) if values else "–")
        low, high = (show(min(values)), show(max(values))) if values else ("", "")
        notes.append(f"{low} to {high}" if measured and low != high else "")
    sparse, dense = means
    factor = dense / sparse if sparse > 0 and 0 < dense < math.inf else None
    tolerance = NOISE if measured else 0.0
    verdict: Verdict = "even"
    if not run.dense:
        ratio = "no twin"
    elif not (math.isfinite(sparse) and math.isfinite(dense)):
        ratio = "no ratio"
    elif sparse == dense:
        ratio = "same"
    elif factor is None:
        ratio, verdict = ("sparse needs none", "sparse") if sparse < dense else ("dense needs none", "dense")
    elif 1 / (1 + tolerance) <= factor <= 1 + tolerance:
        ratio = "about the same"
    else:
        ratio, verdict = text.ratio(factor, less, more), "sparse" if factor > 1 else "dense"
    return Row(label, shown[0], shown[1], ratio, verdict, notes[0], notes[1], factor, part)


def known(value: float | None) -> float:
    """Return NaN for an unknown number."""
    return math.nan if value is None else value


def _counted(value: float) -> str:
    """Format a count; a dash for an unknown one."""
    return "–" if math.isnan(value) else text.count(value)


_COSTS: tuple[tuple[str, Measure, Callable[[float], str], str, str, bool, bool], ...] = (
    # label, measure, format, less, more, measured, part
    ("Connections", lambda n: n.connections, text.count, "fewer", "more", False, False),
    ("Parameters", lambda n: n.parameters, text.count, "fewer", "more", False, False),
    ("Memory to train", lambda n: n.training_bytes, text.size, "less", "more", False, False),
    ("weights", lambda n: n.weight_bytes, text.size, "less", "more", False, True),
    ("gradients", lambda n: n.gradient_bytes, text.size, "less", "more", False, True),
    ("optimizer state", lambda n: n.optimizer_bytes, text.size, "less", "more", False, True),
    ("indices of the connections", lambda n: n.index_bytes, text.size, "less", "more", False, True),
    ("Multiply-adds per sample", lambda n: known(n.macs_per_sample_active), _counted, "fewer", "more", False, False),
    ("if every unit were active", lambda n: known(n.macs_per_sample), _counted, "fewer", "more", False, True),
    ("Training time", lambda n: n.training_seconds, text.duration, "faster", "slower", True, False),
)


def rows(run: Run) -> list[Row]:
    """Make the table of the comparison, in reading order.

    Args:
        run: a finished run.

    Returns:
        The rows.

    Example:
        >>> from gossamer import report
        >>> report.rows(report.read("runs/digits-1"))[0].label  # doctest: +SKIP
        'Test accuracy'
    """
    found = [_score_row(run, "Test accuracy", _test_accuracy)]
    if levels := noise_levels(run):
        label = f"Accuracy under noise, mean over σ = {', '.join(f'{level:g}' for level in levels)}"
        found.append(_score_row(run, label, lambda n: sum(n.noise_accuracy[level] for level in levels) / len(levels)))
    found.append(_cost_row(run, "Test loss", lambda n: known(n.test_loss), text.plain, "less", "more", measured=True))
    for label, of, show, less, more, measured, part in _COSTS:
        found.append(_cost_row(run, label, of, show, less, more, measured=measured, part=part))
    for batch in batch_sizes(run):
        label = "Latency, one sample" if batch == 1 else f"Latency, batch of {batch}"

        def seconds(network: Network, batch: int = batch) -> float:
            return network.latency_ms[batch] / 1000

        found.append(_cost_row(run, label, seconds, text.duration, "faster", "slower", measured=True))
    return found


def headline(run: Run) -> str:
    """Return one sentence: the effect of the share of connections on the accuracy."""
    share, blocks = connection_share(run), run.sparse[0].hebbian_blocks
    start = f"At {text.share(share)} of the connections the sparse network"
    if share >= 1 and blocks:
        start = f"With all connections and {blocks} HaH block{'s' * (blocks > 1)} the network"
    gap = difference(run)
    if gap is None:
        return f"{start} classifies {text.percent(_mean(run.sparse, _test_accuracy))} of the test set correctly."
    if abs(gap.center) < 5e-5:
        return f"{start} is as accurate as its dense twin."
    how = f"{text.points(gap.center, sign=False)} {'better' if gap.center > 0 else 'worse'}"
    return f"{start} is {how} than its dense twin{'' if gap.decided else ', a difference within chance'}."


def summary(run: Run) -> str:
    """Return the sentences under the headline: the certainty of the difference, the savings and their cost."""
    sparse, dense, gap = accuracy(run, "sparse"), accuracy(run, "dense"), difference(run)
    if sparse is None or dense is None or gap is None:
        return "No dense twin of the same seed was trained, so there is nothing to compare it with."
    ratios = {row.label: row.ratio for row in rows(run)}

    def relative(label: str, noun: str) -> str:
        ratio = ratios[label]
        return (
            f"{ratio} {noun}" if "×" in ratio else f"about as {'much' if noun.startswith('memory') else 'many'} {noun}"
        )

    def timed(label: str, verb: str) -> str:
        return f"{verb} {ratios[label] if '×' in ratios[label] else 'about as fast'}"

    needs = [relative("Memory to train", "memory to train")]
    if ratios["Multiply-adds per sample"] != "no ratio":
        needs.append(relative("Multiply-adds per sample", "multiply-adds"))
    takes = [timed("Training time", "trains")]
    if "Latency, one sample" in ratios:
        takes.append(timed("Latency, one sample", "answers a single sample"))
    low, high = text.points(gap.low, unit=False), text.points(gap.high)
    return (
        f"{text.percent(sparse.center)} against {text.percent(dense.center)} "
        f"of {text.count(run.data.test)} test samples; "
        f"the difference lies between {low} and {high} (95 % {gap.method}). "
        f"It needs {' and '.join(needs)}; it {' and '.join(takes)}."
    )
