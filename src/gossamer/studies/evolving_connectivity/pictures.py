"""The study's figures: ranks, curves, the inputs that are connected, and the accuracy when they are removed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.catalogue import MADELON_INFORMATIVE
from gossamer.studies import figures
from gossamer.studies.evolving_connectivity import tables
from gossamer.studies.evolving_connectivity.experiment import VARIANTS, Plan
from gossamer.studies.findings import Figure
from gossamer.studies.trials import Record, where

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["all_figures"]

_DRAWN = ("SET", "CoDACoRSET", "CTRE", "RigL", "fixed", "dense")
_COMPARED = ("SET", "CoDACoRSET", "fixed")
_STYLE: Mapping[str, Mapping[str, Any]] = {
    "SET": {"color": figures.COLOURS[0], "linestyle": "-"},
    "CoDACoRSET": {"color": figures.COLOURS[1], "linestyle": "-"},
    "CTRE": {"color": figures.COLOURS[2], "linestyle": "-."},
    "RigL": {"color": figures.COLOURS[3], "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    "fixed": {"color": figures.SOFT, "linestyle": ":"},
    "dense": {"color": figures.INK, "linestyle": "--"},
}
_SIDES = {"digits": (8, 8), "coil20": (32, 32), "fashion_mnist": (28, 28), "mnist": (28, 28)}


def all_figures(plans: Mapping[str, Plan], records: Sequence[Record]) -> list[Figure]:
    """Draw all figures of the study."""
    found = [_curves(plans, records)]
    ranks = tables.ranked(plans, records)
    if ranks is not None:
        found.insert(0, figures.average_ranks(VARIANTS, ranks, "variants"))
    found += [_madelon(records)] if "madelon" in plans else []
    images = [name for name in plans if name in _SIDES]
    found += [_maps(images, records)] if images else []
    connected = [name for name in plans if any("ablation" in r for r in where(records, dataset=name))]
    if connected:
        found += [_ablations(connected, records), _spread(connected, records)]
    return found


def _panels(figure: Canvas, names: Sequence[str], columns: int = 3) -> dict[str, Axes]:
    """Make a panel for each name, in rows of ``columns``."""
    columns = min(columns, len(names))
    rows = math.ceil(len(names) / columns)
    grid = figure.subplots(rows, columns, squeeze=False)
    for unused in grid.flat[len(names) :]:
        unused.set_visible(False)
    panels = dict(zip(names, grid.flat, strict=False))
    for name, panel in panels.items():
        panel.set_title(name)
        panel.grid()
    return panels


def _size(names: Sequence[str]) -> tuple[float, float]:
    return 2.6 * max(2, min(3, len(names))) + 0.4, 0.75 + 2.0 * math.ceil(len(names) / 3)


def _legend(figure: Canvas, panel: Axes, columns: int = 6) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figures.legend(figure, handles, labels, columns)


def _curves(plans: Mapping[str, Plan], records: Sequence[Record]) -> Figure:
    with figures.canvas(*_size(list(plans))) as figure:
        panels = _panels(figure, list(plans))
        for dataset, panel in panels.items():
            settled: list[float] = []  # the first epochs would press the rest together
            for variant in _DRAWN:
                curve = np.mean([r["curve"] for r in where(records, dataset=dataset, variant=variant)], axis=0)
                panel.plot(np.arange(1, len(curve) + 1), 100 * curve, label=variant, **_STYLE[variant])
                settled += (100 * curve[len(curve) // 10 :]).tolist()
            panel.set_xlabel("epoch")
            panel.set_ylim(bottom=min(settled) - 0.05 * (max(settled) - min(settled)) - 0.1)
        next(iter(panels.values())).set_ylabel("test accuracy, %")
        _legend(figure, next(iter(panels.values())))
        return Figure(
            "curves",
            figures.svg(figure, "Test accuracy by epoch"),
            "Test accuracy after each epoch, mean over the seeds, dropout off. The other variants are in the table.",
            f"Learning curves of six variants on {', '.join(plans)}.",
        )


def _degrees(records: Sequence[Record], dataset: str, variant: str) -> NDArray[np.float64] | None:
    """(features): core degrees, mean over the seeds."""
    found = [r["degrees"] for r in where(records, dataset=dataset, variant=variant) if "degrees" in r]
    return np.mean(found, axis=0, dtype=np.float64) if found else None


def _madelon(records: Sequence[Record]) -> Figure:
    with figures.canvas(7.8, 2.7) as figure:
        panels = _panels(figure, _COMPARED)
        for variant, panel in panels.items():
            degrees = _degrees(records, "madelon", variant)
            if degrees is None:
                continue
            noise = np.setdiff1d(np.arange(len(degrees)), MADELON_INFORMATIVE)
            panel.scatter(noise, degrees[noise], s=5, color=figures.SOFT, alpha=0.5, linewidth=0, label="noise")
            chosen = list(MADELON_INFORMATIVE)
            panel.scatter(chosen, degrees[chosen], s=22, marker="D", color=figures.COLOURS[1], label="informative")
            panel.set_xlabel("input")
            panel.set_ylim(bottom=0)
        panels[_COMPARED[0]].set_ylabel("connections after removal")
        _legend(figure, panels[_COMPARED[0]])
        return Figure(
            "madelon",
            figures.svg(figure, "Connections of Madelon's inputs"),
            "Connections of each of Madelon's 500 inputs after the last removal, mean over the seeds: 20 inputs carry "
            "the class, 480 are noise.",
            "Connections by input for SET, CoDACoRSET and a fixed topology, the 20 informative inputs marked.",
        )


def _maps(datasets: Sequence[str], records: Sequence[Record]) -> Figure:
    variants = ("fixed", "SET", "CoPASET", "CoDASET", "CoRSET", "CoDACoRSET", "CTRE", "RigL")
    with figures.canvas(8.2, 0.3 + 1.25 * len(datasets)) as figure:
        grid = figure.subplots(len(datasets), len(variants), squeeze=False)
        for row, dataset in zip(grid, datasets, strict=True):
            for panel, variant in zip(row, variants, strict=True):
                figures.plain(panel)
                degrees = _degrees(records, dataset, variant)
                if degrees is None:
                    panel.set_visible(False)
                    continue
                panel.imshow(degrees.reshape(_SIDES[dataset]), vmin=0, vmax=float(np.quantile(degrees, 0.995)))
            row[0].set_ylabel(dataset)
        for panel, variant in zip(grid[0], variants, strict=True):
            panel.set_title(variant, fontsize=8)
        return Figure(
            "maps",
            figures.png(figure),
            "Connections of each input pixel after the last removal, mean over the seeds; bright is many, each picture "
            "on its own scale from 0 to its 99.5 % quantile.",
            f"Maps of the number of connections of each pixel of {', '.join(datasets)}, for eight variants.",
        )


def _ablations(datasets: Sequence[str], records: Sequence[Record]) -> Figure:
    with figures.canvas(*_size(datasets)) as figure:
        panels = _panels(figure, datasets)
        for dataset, panel in panels.items():
            for variant in _COMPARED:
                found = [r["ablation"] for r in where(records, dataset=dataset, variant=variant) if "ablation" in r]
                if not found:
                    continue
                share = np.array(found[0]["zeroed"]) / found[0]["zeroed"][-1]
                colour = _STYLE[variant]["color"]
                for order, style, say in (("least_first", "-", "least"), ("most_first", "--", "most")):
                    curve = 100 * np.mean([curves[order] for curves in found], axis=0)
                    panel.plot(share, curve, color=colour, linestyle=style, label=f"{variant}, {say} connected first")
            panel.set_xlabel("share of inputs at 0")
        next(iter(panels.values())).set_ylabel("test accuracy, %")
        _legend(figure, next(iter(panels.values())), columns=3)
        return Figure(
            "ablation",
            figures.svg(figure, "Accuracy as inputs are set to zero"),
            "Test accuracy as inputs are set to 0, from the least connected on (solid) and from the most connected on "
            "(dashed), mean over the seeds. If connections follow use, the solid line stays high and the "
            "dashed one falls.",
            f"Ablation curves of SET, CoDACoRSET and a fixed topology on {', '.join(datasets)}.",
        )


def _spread(datasets: Sequence[str], records: Sequence[Record]) -> Figure:
    """The share of inputs with at least so many connections, of the first seed."""
    with figures.canvas(*_size(datasets)) as figure:
        panels = _panels(figure, datasets)
        for dataset, panel in panels.items():
            for variant in ("SET", "CoDACoRSET"):
                found = [r for r in where(records, dataset=dataset, variant=variant, seed=0) if "spread" in r]
                for number, state in enumerate(found[0]["spread"] if found else ()):
                    degrees, inputs = np.array(state["degrees"]), np.array(state["inputs"])
                    share = inputs[::-1].cumsum()[::-1] / inputs.sum()
                    faded = 0.25 + 0.75 * number / max(1, len(found[0]["spread"]) - 1)
                    if number == 0 and variant != "SET":
                        continue  # the same start
                    start = number == 0
                    panel.step(
                        np.maximum(degrees, 0.5),
                        share,
                        where="post",
                        color=figures.INK if start else _STYLE[variant]["color"],
                        linestyle=":" if start else "-",
                        alpha=1 if start else faded,
                        linewidth=1.0 if start else 1.4,
                        label="start, both" if start else f"{variant}, epoch {state['epoch']}",
                    )
            panel.set(xscale="log", yscale="log", xlabel="connections of an input")
            figures.log_ticks(panel.xaxis, panel.yaxis)
        next(iter(panels.values())).set_ylabel("share of inputs with as many")
        handles = [
            (style, name)
            for style, name in (
                ({"color": figures.INK, "linestyle": ":"}, "before training"),
                ({"color": _STYLE["SET"]["color"]}, "SET, from early (faint) to the end"),
                ({"color": _STYLE["CoDACoRSET"]["color"]}, "CoDACoRSET, from early (faint) to the end"),
            )
        ]
        from matplotlib.lines import Line2D

        figures.legend(figure, [Line2D([], [], **style) for style, _ in handles], [name for _, name in handles], 3)
        return Figure(
            "degrees",
            figures.svg(figure, "Distribution of the inputs' degrees"),
            "The share of inputs with at least so many connections, at the start and after a tenth, four tenths and "
            "all of the epochs; first seed. Degrees of a random pattern are similar; evolution gives few inputs many "
            "connections.",
            f"Distributions of input degrees over time for SET and CoDACoRSET on {', '.join(datasets)}.",
        )
