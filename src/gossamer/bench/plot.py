"""The map as a picture: speed relative to dense against density, both logarithmic, one panel for each width and task.

Needs matplotlib, the extra ``plot``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gossamer.bench.cells import OURS, Bench, Cell, break_even

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["svg"]

# Colours of Okabe and Ito, which remain distinct in all common forms of colour blindness; markers differ too.
_STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": "#0072B2", "marker": "o", "linewidth": 2.4, "markersize": 5.5, "zorder": 5},
    "masked": {"color": "#CC79A7", "marker": "s"},
    "CSR": {"color": "#E69F00", "marker": "^"},
    "SparseLab": {"color": "#009E73", "marker": "D"},
}
_INK, _SOFT, _FAINT, _LOSING = "#222222", "#6b6b6b", "#d9d9d9", "#f3f0ec"


def svg(bench: Bench) -> str | None:
    """The picture, with text as outlines; None if nothing in ``bench`` was measured against density."""
    import matplotlib
    from matplotlib.figure import Figure

    grid = _grid(bench.cells)
    if not grid:
        return None
    columns = max(len(row) for row in grid)
    settings: Any = {"font.size": 9, "svg.hashsalt": "gossamer", "font.family": "DejaVu Sans"}
    with matplotlib.rc_context(settings):
        figure = Figure(
            figsize=(max(5.5, 2.55 * columns), 1.1 + 2.3 * len(grid)), facecolor="white", layout="constrained"
        )
        axes = figure.subplots(len(grid), columns, sharex=True, sharey=True, squeeze=False)
        for panels, row in zip(axes, grid, strict=True):
            for panel, cells in zip(panels, row, strict=False):
                _draw(panel, cells)
            for panel in panels[len(row) :]:
                panel.set_visible(False)
            panels[0].set_ylabel("speed, dense = 1")
        for column in range(columns):
            lowest = max(i for i, row in enumerate(grid) if len(row) > column)
            axes[lowest, column].set_xlabel("density")
            axes[lowest, column].tick_params(labelbottom=True)
        _scale(axes[0, 0], [cell for row in grid for cells in row for cell in cells])
        drawn = {
            name: handle for panel in axes.flat for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        names = [name for name in (*_STYLES, "dense", "slower than dense") if name in drawn]
        figure.legend(
            [drawn[name] for name in names], names, loc="outside upper center", ncols=len(names), frameon=False
        )
        machine, plural = bench.machine, "s" * (bench.machine["threads"] > 1)
        processor = machine["processor"] or "unknown processor"
        where = f"{processor}, {machine['threads']} thread{plural}, {bench.plan.dtype}, torch {machine['torch']}"
        figure.supxlabel(where, fontsize=8.5, color=_SOFT, x=0.99, ha="right")
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": "Speed against density, dense = 1"})
    return file.getvalue()


def _grid(cells: Sequence[Cell]) -> list[list[list[Cell]]]:
    """Arrange cells in rows of panels.

    A row for each width, with the batches of the layer and then the training step; a row for the convolutions.
    """
    rows: dict[Any, dict[Any, list[Cell]]] = {}
    for cell in cells:
        if cell.task in ("layer", "training", "convolution") and cell.ratio is not None:
            row = cell.setting.get("width", "convolution")
            panel = (cell.task, cell.setting.get("channels"), cell.setting["batch"])
            rows.setdefault(row, {}).setdefault(panel, []).append(cell)
    return [list(panels.values()) for panels in rows.values()]


def _draw(panel: Axes, cells: list[Cell]) -> None:
    setting = cells[0].setting
    title = {
        "layer": f"layer {setting.get('width')}, batch {setting['batch']}",
        "training": f"training step {setting.get('width')}, batch {setting['batch']}",
        "convolution": f"convolution, {setting.get('channels')} channels",
    }[cells[0].task]
    panel.set_title(title, fontsize=9.5, color=_INK, loc="left")
    panel.axhspan(1e-6, 1, color=_LOSING, linewidth=0, zorder=0, label="slower than dense")
    panel.axhline(1, color=_INK, linewidth=1.1, label="dense", zorder=2)
    panel.grid(color=_FAINT, linewidth=0.5)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for name, style in _STYLES.items():
        points = [(cell.setting["density"], ratio) for cell in cells if (ratio := cell.ratio_of(name)) is not None]
        if points:
            points.sort()
            panel.plot(*zip(*points, strict=True), label=name, **({"linewidth": 1.3, "markersize": 4} | style))
    density, beyond = break_even([c.setting["density"] for c in cells], [c.ratio for c in cells if c.ratio is not None])
    text = "dense is faster throughout" if density is None else f"break-even {'≥ ' if beyond else ''}{density:.2g}"
    if density is not None and not beyond:
        panel.vlines(density, 1e-6, 1, color=_STYLES[OURS]["color"], linewidth=0.9, linestyle=":", zorder=1)
    panel.text(0.97, 0.93, text, transform=panel.transAxes, color=_INK, fontsize=8.5, ha="right", va="top")


def _scale(panel: Axes, cells: Sequence[Cell]) -> None:
    """Logarithmic axes for all panels, with the measured densities as ticks and plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    densities = sorted({cell.setting["density"] for cell in cells})
    ratios = [ratio for cell in cells for name in _STYLES if (ratio := cell.ratio_of(name)) is not None]
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(densities[0] / 1.3, densities[-1] * 1.3)
    panel.set_ylim(min(0.3, *ratios) / 1.6, max(3.0, *ratios) * 1.3)
    panel.xaxis.set_major_locator(FixedLocator(densities))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    panel.yaxis.set_minor_formatter(NullFormatter())
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
