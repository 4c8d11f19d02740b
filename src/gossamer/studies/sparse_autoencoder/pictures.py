"""The study's figures: the errors of all networks, and the filters of their units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gossamer.studies import figures
from gossamer.studies.findings import Figure
from gossamer.studies.sparse_autoencoder.experiment import FILTERS, VARIANTS, errors, filters_of
from gossamer.studies.trials import Record, where

__all__ = ["errors_of_all", "filters"]

_MAIN = ("both", "activation", "connectivity", "neither")


def errors_of_all(records: Sequence[Record]) -> Figure:
    """A line for each network, with a dot for each seed and a bar at the mean."""
    with figures.canvas(7, 0.9 + 0.27 * len(VARIANTS)) as figure:
        axes = figure.add_subplot()
        for i, name in enumerate(VARIANTS):
            found = 100 * errors(records, name)
            colour = figures.COLOURS[_MAIN.index(name)] if name in _MAIN else figures.SOFT
            axes.plot(found, np.full(len(found), i), "o", color=colour, alpha=0.45, markeredgewidth=0, clip_on=False)
            axes.plot([found.mean()] * 2, [i - 0.33, i + 0.33], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.set_yticks(range(len(VARIANTS)), list(VARIANTS))
        axes.tick_params(axis="y", length=0, labelcolor=figures.INK)
        axes.set_ylim(len(VARIANTS) - 0.4, -0.6)
        axes.grid(axis="x")
        axes.set_xlabel("test error, %")
        means = ", ".join(f"{name} {100 * errors(records, name).mean():.2f}" for name in VARIANTS)
        return Figure(
            "errors",
            figures.svg(figure, "Test errors of all networks"),
            "Test error of each network: a dot for each seed, a bar at their mean.",
            f"Test errors in percent on lines, one for each network. Means: {means}.",
        )


def filters(records: Sequence[Record]) -> Figure:
    """The first units' weights in six networks of the first seed."""
    side = int(FILTERS**0.5)
    with figures.canvas(8.4, 6) as figure:
        shown = (*_MAIN, "activation, l0 connectivity", "MLP from samples")
        for panel, name in zip(figure.subplots(2, 3).flat, shown, strict=True):
            tiles = filters_of(where(records, variant=name, seed=0)[0])
            panel.imshow(figures.mosaic(tiles, (min(side, -(-len(tiles) // side)), side)), cmap="gray", vmin=-1, vmax=1)
            panel.set_title(name)
            figures.plain(panel)
        content = figures.png(figure, dpi=200)
    return Figure(
        "filters",
        content,
        f"The weights of the first {FILTERS} units, grey for zero, each unit scaled to its largest weight.",
        "Six mosaics of small grey squares, one for each network, a square for each unit.",
    )
