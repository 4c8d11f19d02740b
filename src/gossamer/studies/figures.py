"""Pictures of a study: one look for all, as SVG text or PNG bytes. Needs matplotlib, the extra ``plot``."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError
from gossamer.studies import findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from gossamer.studies.statistics import Friedman

__all__ = [
    "COLOURS",
    "INK",
    "MARKERS",
    "SOFT",
    "average_ranks",
    "canvas",
    "legend",
    "log_ticks",
    "mosaic",
    "plain",
    "png",
    "ranks",
    "svg",
]

# Colours of Okabe and Ito, which remain distinct in all common forms of colour blindness; markers differ too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000", "#8C6D31", "#7B4FA0")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
INK, SOFT, FAINT = "#222222", "#6b6b6b", "#d9d9d9"


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of that many inches in the look of all; draw on it and turn it into text or bytes inside."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise InputError(
            "a study's figures need matplotlib, which isn't installed: pip install 'gossamer[plot]'"
        ) from None
    from matplotlib.figure import Figure

    look: Any = {
        "font.size": 9,
        "svg.hashsalt": "gossamer",
        "font.family": "DejaVu Sans",
        "text.color": INK,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.5,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "lines.markersize": 4.5,
        "image.cmap": "viridis",
        "image.interpolation": "nearest",
    }
    with matplotlib.rc_context(look):
        yield Figure(figsize=(width, height), facecolor="white", layout="constrained")


def svg(figure: Figure, title: str) -> str:
    """The figure as SVG with its text as outlines; the same figure gives the same text."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Title": title})
    return file.getvalue()


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as PNG, for pictures of many pixels; in 64 colours, which makes a smaller file."""
    from PIL import Image

    file, small = io.BytesIO(), io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    picture = Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """Above all panels, in at most so many columns: fewer, of equal length, where the figure is too narrow for them."""
    for rows in range(math.ceil(len(labels) / columns), len(labels) + 1):
        ncols = math.ceil(len(labels) / rows)
        drawn = figure.legend(handles, labels, loc="outside upper center", ncols=ncols)
        if ncols == 1 or drawn.get_window_extent().width <= figure.bbox.width:
            return
        drawn.remove()


def plain(axes: Axes) -> None:
    """Remove ticks and frame."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def mosaic(tiles: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Tiles (rows × columns, height, width) in reading order, with lines of 1 between and around."""
    rows, columns = grid
    height, width = tiles.shape[1] + 1, tiles.shape[2] + 1
    picture = np.ones((rows * height + 1, columns * width + 1), np.float32)
    for i, tile in enumerate(tiles[: rows * columns]):
        top, left = 1 + i // columns * height, 1 + i % columns * width
        picture[top : top + height - 1, left : left + width - 1] = tile
    return picture


def log_ticks(*axes: Axis) -> None:
    """Plain numbers on logarithmic axes, at 1, 2 and 5 of every decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def ranks(names: Sequence[str], average: Sequence[float], critical_difference: float, title: str) -> str:
    """Draw Demšar's diagram: average ranks on a line, best to the left.

    Bars join methods that differ by less than the critical difference.
    """
    order = sorted(range(len(names)), key=lambda i: average[i])
    values, half = [average[i] for i in order], (len(order) + 1) // 2
    groups = _groups(values, critical_difference)
    rows = max(half, len(order) - half)
    low, high = 1.0, float(max(2, len(names)))
    with canvas(7.2, 1.1 + 0.24 * rows + 0.13 * len(groups)) as figure:
        axes = figure.add_subplot()
        plain(axes)
        span = high - low
        axes.set_xlim(low - 0.42 * span, high + 0.42 * span)
        top = 0.9 + 0.55 * len(groups)
        axes.set_ylim(-(top + rows), 2.3)
        axes.hlines(0, low, high, color=INK, linewidth=1)
        for tick in range(int(low), int(high) + 1):
            axes.vlines(tick, 0, 0.25, color=INK, linewidth=1)
            axes.text(tick, 0.45, str(tick), ha="center", va="bottom", fontsize=8, color=SOFT)
        axes.hlines(1.75, low, low + critical_difference, color=INK, linewidth=1.6)
        axes.text(
            low + critical_difference + 0.02 * span, 1.75, f"critical difference {critical_difference:.2f}",
            va="center", fontsize=8, color=SOFT,
        )  # fmt: skip
        for place, (i, value) in enumerate(zip(order, values, strict=True)):
            left = place < half
            row = place if left else len(order) - 1 - place
            y = -(top + row)
            edge = low - 0.02 * span if left else high + 0.02 * span
            axes.plot([value, value, edge], [0, y, y], color=SOFT, linewidth=0.8)
            axes.text(
                edge - 0.01 * span if left else edge + 0.01 * span, y, f"{names[i]}  {value:.2f}",
                ha="right" if left else "left", va="center",
            )  # fmt: skip
        for number, (first, last) in enumerate(groups):
            y = -(0.45 + 0.55 * number)
            axes.hlines(y, values[first] - 0.01 * span, values[last] + 0.01 * span, color=COLOURS[0], linewidth=3.2)
        return svg(figure, title)


def average_ranks(names: Sequence[str], found: Friedman, noun: str) -> findings.Figure:
    """Make the figure of Demšar's diagram: `ranks`, with its caption; ``noun`` is their plural noun."""
    best = int(np.argmin(found.ranks))
    return findings.Figure(
        "ranks",
        ranks(names, found.ranks, found.critical_difference, f"Average ranks of the {noun}"),
        f"Average ranks over {found.blocks} data sets, best to the left. Blue bars join {noun} that do not differ by "
        "more than Nemenyi's critical difference at 5 %.",
        f"Average ranks on a line from 1 to {len(names)}; {names[best]} is best, with {found.ranks[best]:.2f}.",
    )


def _groups(values: Sequence[float], critical_difference: float) -> list[tuple[int, int]]:
    """Of ascending ``values``, the longest runs within the critical difference, none inside another."""
    groups: list[tuple[int, int]] = []
    for first in range(len(values)):
        last = max(i for i in range(len(values)) if values[i] - values[first] <= critical_difference)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups
