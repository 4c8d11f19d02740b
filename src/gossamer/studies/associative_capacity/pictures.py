"""The study's pictures: theory as curves, solvers and the online rule as points with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gossamer.associative import theory
from gossamer.studies import figures
from gossamer.studies.findings import Figure as Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gossamer.studies.associative_capacity.analysis import Cloud, Points, Trade
    from gossamer.studies.statistics import Interval

__all__ = ["capacities", "constraints", "trade_off", "weights"]

_BLUE, _ORANGE, _GREEN, _PINK = figures.COLOURS[:4]


def capacities(found: Sequence[Points]) -> Picture:
    """l1 and sign + l1: capacity and sparsity over robustness, robustness and sparsity over load."""
    cases: tuple[dict[str, float], ...] = ({}, {"inhibitory": 0.2})
    with figures.canvas(9, 6) as figure:
        (a, b), (c, d) = figure.subplots(2, 2)
        for case, colour, marker, name in zip(cases, (_BLUE, _ORANGE), "os", ("l1", "sign + l1, φ = 0.2"), strict=True):
            kappa = np.linspace(0.01, 1.0, 60)
            curve = theory.capacity(kappa, **case)
            a.plot(kappa, curve.load, color=colour, label=f"{name}, theory")
            b.plot(kappa, 1 - curve.density, color=colour)
            top = float(theory.capacity(0.02, **case).load)
            loads = np.linspace(0.12, top, 60)
            inverse = theory.max_robustness(loads, **case)
            c.plot(loads, inverse.robustness, color=colour)
            d.plot(loads, 1 - inverse.density, color=colour)
            for p in found:
                if p.method != "linear program" or dict(p.constraint) != case:
                    continue
                upper, lower, value = (a, b, p.load) if p.kind == "capacity" else (c, d, p.robustness)
                _dot(upper, p.at, value, colour, marker, f"{name}, linear program, N = {p.n}")
                _dot(lower, p.at, p.sparsity, colour, marker, "")
        for axes, x, y in (
            (a, "robustness κ̃", "capacity α"),
            (b, "robustness κ̃", "sparsity S"),
            (c, "load α", "largest robustness κ̃"),
            (d, "load α", "sparsity S"),
        ):
            axes.set(xlabel=x, ylabel=y)
            axes.grid(True)
        _legend(figure, (a, c))
        content = _svg(figure, "Capacity and sparsity over robustness and load")
    return Picture(
        "capacity",
        content,
        "Theory (curves) and linear programs (points with 95 % intervals over the draws). Top: the largest load at "
        "given robustness. Bottom: the largest robustness at given load.",
        "Four panels: capacity and sparsity fall and rise with robustness; robustness and sparsity fall with load.",
    )


def constraints(found: Sequence[Points]) -> Picture:
    """Capacity and sparsity over p and δ̃ at one robustness."""
    kappa = next((p.at for p in found if p.method == "greedy"), 0.3)
    styles = {"greedy": (_ORANGE, "s"), "online rule": (_GREEN, "^")}
    with figures.canvas(9.5, 3.8) as figure:
        a, b, c = figure.subplots(1, 3)
        natural = float(theory.capacity(kappa).density)
        density = np.linspace(0.04, natural, 60)
        a.plot(density, theory.capacity(kappa, density=density).load, color=_BLUE, label="theory (upper bound)")
        gap = np.linspace(0, 3.3, 60)
        curve = theory.capacity(kappa, gap=gap)
        b.plot(gap, curve.load, color=_BLUE)
        c.plot(gap, 1 - curve.density, color=_BLUE)
        wide = gap[gap >= 1]
        c.plot(wide, 1 - 1 / wide, color=figures.SOFT, linestyle=":", label="1 − 1/δ̃")
        shades = (_GREEN, _PINK, figures.COLOURS[4])
        kinds = sorted(
            {(p.n, p.steps) for p in found if p.method == "online rule" and "inhibitory" not in p.constraint}
        )
        for p in found:
            if p.kind != "capacity" or p.method not in styles or "inhibitory" in p.constraint:
                continue
            colour, marker = styles[p.method]
            name = f"{p.method}, N = {p.n}"
            if p.steps:
                place = kinds.index((p.n, p.steps))
                colour, marker = shades[place % 3], "^vD"[place % 3]
                name += f", {p.steps:,} steps"
            if "density" in p.constraint:
                _dot(a, p.constraint["density"], p.load, colour, marker, name)
            else:
                _dot(b, p.constraint["gap"], p.load, colour, marker, name)
                _dot(c, p.constraint["gap"], p.sparsity, colour, marker, "")
        a.set(xlabel="connection probability p (l0)", ylabel="capacity α", ylim=(0, None))
        b.set(xlabel="gap δ̃", ylabel="capacity α", ylim=(0, None))
        c.set(xlabel="gap δ̃", ylabel="sparsity S", ylim=(0, 1))
        for axes in (a, b, c):
            axes.grid(True)
        _legend(figure, (a, b, c))
        content = _svg(figure, "Capacity and sparsity over the strength of l0 and gap")
    return Picture(
        "constraints",
        content,
        f"Capacity at κ̃ = {kappa:g} over the strength of l0 and of the gap, and the sparsity at that load. Points: "
        "greedy elimination and the online rule, 95 % intervals over the draws.",
        "Three panels: capacity over connection probability, capacity over gap, sparsity over gap.",
    )


def trade_off(trade: Sequence[Trade], found: Sequence[Points]) -> Picture:
    """Capacity over sparsity of l0 and gap, and what the gap loses."""
    with figures.canvas(9, 3.8) as figure:
        a, b = figure.subplots(1, 2)
        for one, colour in zip(trade, figures.COLOURS, strict=False):
            name = f"κ̃ = {one.robustness:g}"
            a.plot(one.sparsity, one.l0, color=colour, label=f"l0, {name}")
            a.plot(one.sparsity, one.gap, color=colour, linestyle="--")
            b.plot(one.sparsity, 100 * one.loss, color=colour)
        for p in found:
            if p.kind != "capacity" or "inhibitory" in p.constraint or p.sparsity is None or p.load is None:
                continue
            if p.method == "greedy":
                marker, name = ("o", "greedy l0") if "density" in p.constraint else ("s", "greedy gap")
            elif p.constraint.get("gap") and p.n <= 200:
                marker, name = "^", "online rule, gap"
            else:
                continue
            given = a.get_legend_handles_labels()[1]
            a.plot(
                p.sparsity.center,
                p.load.center,
                marker=marker,
                linestyle="",
                color=figures.INK,
                fillstyle="none",
                label=f"{name}, κ̃ = {p.at:g}" if f"{name}, κ̃ = {p.at:g}" not in given else "",
            )
        a.set(xlabel="sparsity S", ylabel="capacity α", ylim=(0, None))
        b.set(xlabel="sparsity S", ylabel="loss of the gap against l0, %", ylim=(0, None))
        for axes in (a, b):
            axes.grid(True)
        _legend(figure, (a,))
        content = _svg(figure, "Capacity over sparsity of l0 and gap")
    return Picture(
        "trade-off",
        content,
        "Left: capacity over sparsity, l0 solid and gap broken (replica-symmetric), with what greedy elimination and "
        "the online rule reach. Right: the relative loss of the gap, at most 2.6 %.",
        "Two panels: pairs of falling curves of capacity over sparsity, nearly equal; the loss of the gap in percent.",
    )


def weights(clouds: Sequence[Cloud]) -> Picture:
    """Histograms of non-zero weights beside the law."""
    shown = _chosen(clouds)
    rows = (len(shown) + 2) // 3
    with figures.canvas(9.5, 2.6 * rows + 0.4) as figure:
        panels = figure.subplots(rows, 3, squeeze=False).flat
        for axes in panels:
            axes.set_visible(False)
        for axes, cloud in zip(figure.axes, shown, strict=False):
            axes.set_visible(True)
            edge = float(np.quantile(np.abs(cloud.weights), 0.998))
            edges = np.linspace(-edge, edge, 61)
            share = cloud.connected * np.histogram(cloud.weights, edges)[0] / len(cloud.weights) / np.diff(edges)
            axes.stairs(share, edges, fill=True, color="#b9d3e6", label="found")
            x = np.linspace(-edge, edge, 800)
            axes.plot(x, cloud.law.pdf(x), color=_ORANGE, label="theory, at capacity")
            for place, mass in zip(*cloud.law.atoms, strict=True):
                if place:
                    axes.vlines(place, 0, mass / (edges[1] - edges[0]), color=_ORANGE, linewidth=2)
            axes.set_title(f"{cloud.title}\nS {1 - cloud.connected:.2f}, theory {cloud.law.zero:.2f}", fontsize=8)
            axes.set_yticks([])
            axes.set_xlabel("weight J̃")
        _legend(figure, figure.axes[:1])
        content = _svg(figure, "Distributions of weights")
    return Picture(
        "weights",
        content,
        "Non-zero weights of all draws, and the law of the theory; vertical lines are atoms at the gap, as high as a "
        "bar of the histogram with their probability. The theory is that of the capacity at the same robustness, which "
        "greedy elimination and the online rule stay below: their weights are sparser.",
        "Histograms of weights in panels, one for each method and constraint, with the theory's densities.",
    )


def _chosen(clouds: Sequence[Cloud]) -> list[Cloud]:
    """At most six: the middle one of each method and constraint, then others of the online rule."""
    kinds: dict[str, list[Cloud]] = {}
    for cloud in clouds:
        words = cloud.title.replace(",", "").split()
        kind = f"{cloud.method} {next((w for w in words if w in ('l1', 'φ', 'p', 'δ̃')), '')}"
        kinds.setdefault(kind, []).append(cloud)
    middle = [group[len(group) // 2] for group in kinds.values()]
    rest = [cloud for cloud in clouds if cloud.method == "online rule" and cloud not in middle]
    return [*middle, *rest[-1:]][:6]


def _svg(figure: Figure, title: str) -> str:
    """As SVG, with the letters of scaled quantities set as mathematics: their tilde then stands above them."""
    from matplotlib.text import Text

    for words in figure.findobj(Text):
        text = words.get_text()
        for letter, formula in (("κ̃", r"$\tilde\kappa$"), ("δ̃", r"$\tilde\delta$"), ("J̃", r"$\tilde{J}$")):
            text = text.replace(letter, formula)
        words.set_text(text)
    return figures.svg(figure, title)


def _dot(axes: Axes, x: float, value: Interval | None, colour: str, marker: str, label: str) -> None:
    if value is None:
        return
    known = axes.get_legend_handles_labels()[1]
    axes.errorbar(
        x,
        value.center,
        yerr=[[value.center - value.low], [value.high - value.center]],
        color=colour,
        marker=marker,
        capsize=2,
        linewidth=1,
        linestyle="",
        label=label if label and label not in known else None,
    )


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles, labels = [], []
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            if label not in labels:
                handles.append(handle)
                labels.append(label)
    figures.legend(figure, handles, labels, 4)
