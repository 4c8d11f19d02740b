"""The page of ``gossamer associate``: pictures of theory, weights and learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.associative import theory
from gossamer.studies import figures
from gossamer.studies.findings import Figure as Picture

if TYPE_CHECKING:
    from gossamer.associative.fit import FittedStatistics

__all__ = ["Shown", "curves", "fitted", "history", "page", "place", "weights"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """A picture under its heading."""

    name: str
    heading: str
    picture: Picture


def page(verb: str, title: str, summary: str, shown: Sequence[Shown], **parts: Any) -> str:
    """The page as one file; ``parts`` are tables, command and settings."""
    from gossamer.report.page import render_template

    return render_template("associate.html.j2", verb=verb, title=title, summary=summary, figures=shown, **parts)


def curves(x: Floats, name: str, solution: theory.Solution) -> Shown:
    """Capacity (or robustness) and sparsity over the parameter that varies."""
    by_load = name == "load"
    with figures.canvas(9, 3.6) as figure:
        a, b = figure.subplots(1, 2)
        a.plot(x, solution.robustness if by_load else solution.load, color=figures.COLOURS[0])
        b.plot(x, 1 - solution.density, color=figures.COLOURS[1])
        if not by_load:
            a.set_ylim(0, None)
        a.set(xlabel=_AXIS[name], ylabel=_AXIS["robustness" if by_load else "load"])
        b.set(xlabel=_AXIS[name], ylabel=_AXIS["sparsity"], ylim=(0, 1))
        for axes in (a, b):
            axes.grid(True)
        content = figures.svg(figure, "Theory")
    caption = "For many inputs. With --density or --gap the capacity is a replica-symmetric upper bound."
    return Shown("curves", "Curves", Picture("curves", content, caption, f"Two curves over {name}."))


def place(known: Mapping[str, Any], points: Sequence[tuple[float, float]], sparsity: Sequence[float]) -> Shown | None:
    """Capacity and sparsity over robustness, with the points (κ̃, load)."""
    top = max([0.5, *(1.6 * kappa for kappa, _ in points)])
    try:
        curve = theory.capacity(kappa := np.linspace(0.005, top, 60), **known)
    except (ValueError, ArithmeticError):  # a threshold or gap that the theory has no solution for
        return None
    with figures.canvas(9, 3.6) as figure:
        a, b = figure.subplots(1, 2)
        a.plot(kappa, curve.load, color=figures.COLOURS[0], label="theory: the largest load")
        b.plot(kappa, 1 - curve.density, color=figures.COLOURS[0], label="theory, at the largest load")
        here = np.array(points)
        a.plot(here[:, 0], here[:, 1], "o", color=figures.COLOURS[1], label="these associations")
        b.plot(here[:, 0], sparsity, "o", color=figures.COLOURS[1], label="these weights")
        a.set(xlabel=_AXIS["robustness"], ylabel=_AXIS["load"], ylim=(0, None))
        b.set(xlabel=_AXIS["robustness"], ylabel=_AXIS["sparsity"], ylim=(0, 1.02))
        for axes in (a, b):
            axes.grid(True)
            axes.legend()
        content = figures.svg(figure, "Capacity and the point")
    caption = (
        "Below the curve of the left panel almost all problems of many inputs have a solution, above it almost none."
    )
    alt = "Capacity and sparsity over robustness, with a point."
    return Shown("capacity", "Capacity", Picture("capacity", content, caption, alt))


def weights(values: Floats, laws: Mapping[str, theory.WeightDistribution], connected: float) -> Shown:
    """The histogram of non-zero scaled weights beside one or more laws."""
    with figures.canvas(9, 3.8) as figure:
        axes = figure.add_subplot()
        _histogram(axes, values, connected)
        edge = axes.get_xlim()[1]
        x = np.linspace(-edge, edge, 1000)
        for colour, (name, law) in zip(figures.COLOURS[1:], laws.items(), strict=False):
            axes.plot(x, law.pdf(x), color=colour, label=name)
            _atoms(axes, law, colour, 2 * edge / _BINS)
        axes.legend()
        content = figures.svg(figure, "Distribution of weights")
    zero = f"{100 * (1 - connected):.1f} % of the weights are zero and not shown"
    zero += "".join(f"; {name}: {100 * law.zero:.1f} %" for name, law in laws.items())
    caption = f"{zero}. A vertical line is an atom, as high as a bar with its probability."
    alt = "Histogram of weights, with the theory's density."
    return Shown("weights", "Weights", Picture("weights", content, caption, alt))


def history(steps: NDArray[np.int64], records: Floats) -> Shown:
    """Violated associations, sparsity and mean magnitude over the steps, median and range over the units."""
    names = ("violated associations", "sparsity S", "mean |J| / w")
    reached = np.isfinite(records[..., 0]).any(0)
    steps, records = steps[reached], records[:, reached]
    with figures.canvas(9, 3.2) as figure:
        for k, axes in enumerate(figure.subplots(1, 3)):
            low, middle, high = np.nanpercentile(records[..., k], [0, 50, 100], axis=0)
            if len(records) > 1:
                axes.fill_between(steps, low, high, color=figures.COLOURS[0], alpha=0.2, linewidth=0)
            axes.plot(steps, middle, color=figures.COLOURS[0])
            axes.set(xlabel="step", title=names[k])
            axes.grid(True)
        content = figures.svg(figure, "History of the online rule")
    caption = "Of the units that still learn: median, and range over the units."
    alt = "Three panels over steps: violated associations fall, sparsity rises, the mean magnitude is kept."
    return Shown("history", "Learning", Picture("history", content, caption, alt))


def fitted(values: Floats, found: FittedStatistics) -> Shown:
    """Measured strengths beside the laws of all constraints, scaled by the best fit."""
    unit = found.fit.estimates["mean_weight"].value
    laws = {}
    for name, fit in found.fits.items():
        if found.signed:
            sides = {1 if value > 0 else -1 for value in values}
            for sign in sorted(sides, reverse=True):
                kind = "" if len(sides) == 1 else ", excitatory" if sign > 0 else ", inhibitory"
                if name == found.best:
                    laws[f"{name}{kind}"] = theory.weight_distribution(fit.solution, sign=sign)
        else:
            laws[name] = theory.weight_distribution(fit.solution)
    return weights(values / unit, laws, found.connection_probability)


_BINS = 80
_AXIS = {
    "robustness": r"robustness $\tilde\kappa$",
    "load": r"load $\alpha$ = m/N",
    "density": "connection probability p",
    "gap": r"gap $\tilde\delta$",
    "inhibitory": r"fraction of inhibitory inputs $\phi$",
    "sparsity": "sparsity S",
}


def _histogram(axes: Any, values: Floats, connected: float) -> None:
    edge = 1.05 * float(np.quantile(np.abs(values), 0.999)) if len(values) else 1.0
    edges = np.linspace(-edge, edge, _BINS + 1)
    share = connected * np.histogram(values, edges)[0] / max(1, len(values)) / np.diff(edges)
    axes.stairs(share, edges, fill=True, color="#b9d3e6", label="found")
    axes.set(xlim=(-edge, edge), xlabel=r"weight $\tilde{J}$ = J / w", ylabel="density")


def _atoms(axes: Any, law: theory.WeightDistribution, colour: str, width: float) -> None:
    for where, mass in zip(*law.atoms, strict=True):
        if where:
            axes.vlines(where, 0, mass / width, color=colour, linewidth=2)
