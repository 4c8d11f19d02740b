"""The study's pictures: the atoms, and errors over learning time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gossamer.studies import figures
from gossamer.studies.dictionary.experiment import ACTIVE, Plan, atoms_of, is_ours, is_rival
from gossamer.studies.findings import Figure
from gossamer.studies.trials import Record, where

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["atoms", "curves"]


def atoms(plan: Plan, records: Sequence[Record], ours: str, rival: str) -> Figure:
    """Six dictionaries side by side."""
    shown = (ours, rival, "patches", "separable", "sparse atoms", "topographic")
    with figures.canvas(9, 6.4) as figure:
        for panel, name in zip(figure.subplots(2, 3).flat, shown, strict=True):
            picture = figures.mosaic(atoms_of(where(records, variant=name)[0]), plan.grid)
            panel.imshow(picture, cmap="gray", vmin=-1, vmax=1)
            panel.set_title(name)
            figures.plain(panel)
        content = figures.png(figure, dpi=220)
    return Figure(
        "atoms",
        content,
        "Atoms learned from natural images, grey for zero, each scaled to its largest pixel; in the last panel "
        "neighbours (also across the edges) are active together. For comparison, patches as they are.",
        "Six mosaics of small grey squares, one for each dictionary, a square for each atom.",
    )


def curves(records: Sequence[Record]) -> Figure:
    """Errors over time, a panel for each number of active coefficients, with the first seed."""
    variants = list(dict.fromkeys(record["variant"] for record in records))
    first = min(record["seed"] for record in records)
    with figures.canvas(9, 3.6) as figure:
        panels: Sequence[Axes] = figure.subplots(1, len(ACTIVE), sharex=True)
        for place, panel in enumerate(panels):
            for i, name in enumerate(name for name in variants if is_ours(name) or is_rival(name)):
                curve = where(records, variant=name, seed=first)[0]["curve"]
                panel.plot(
                    [point["seconds"] for point in curve],
                    [point["errors"][place] for point in curve],
                    color=figures.COLOURS[i % len(figures.COLOURS)],
                    marker=figures.MARKERS[i % len(figures.MARKERS)],
                    linestyle="-" if is_ours(name) else "--",
                    markersize=3.5,
                    label=name,
                )
            panel.set_xscale("log")
            panel.set_title(f"{ACTIVE[place]} active coefficients")
            panel.set_xlabel("seconds of learning")
            panel.grid(True)
            low, high = _range(records, place)
            panel.set_ylim(low - 0.06 * (high - low), high)
        panels[0].set_ylabel("error of reproduction")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
        content = figures.svg(figure, "Error over learning time")
    return Figure(
        "curves",
        content,
        "Error of held-out patches over learning time on one thread. Solid: EZDL, whose step size falls to zero over "
        "its passes; dashed: scikit-learn.",
        "Error against the logarithm of time in three panels, a curve for each setting of both learners.",
    )


def _range(records: Sequence[Record], place: int) -> tuple[float, float]:
    """Return the range from the lowest error to a little above the first errors of most learners."""
    raced = [record for record in records if is_ours(record["variant"]) or is_rival(record["variant"])]
    low = min(point["errors"][place] for record in raced for point in record["curve"])
    high = max(record["curve"][0]["errors"][place] for record in raced)
    return low, high
