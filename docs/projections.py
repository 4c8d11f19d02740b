"""Draw docs/projections.svg: the sets of `gossamer.projections` in the plane and in space, and where points go.

python docs/projections.py          (needs matplotlib)
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from numpy.typing import NDArray
from torch import Tensor

from gossamer import functional as F
from gossamer.measures import hoyer

Array = NDArray[np.float64]
Projection = Callable[[Tensor], Tensor]

COLOURS = {  # on a light page: on a dark one
    "#fffffe": "#0d1117",
    "#24292e": "#e6edf3",
    "#6a737c": "#9198a1",
    "#c9d1d8": "#3d444d",
    "#0072b2": "#58a6e8",
    "#d8e9f4": "#15324a",
    "#d55e00": "#f0883e",
}
PAGE, INK, SOFT, FAINT, SET, BODY, WAY = COLOURS


def nearest(project: Projection, x: Iterable[float]) -> Array:
    return np.asarray(project(torch.tensor(list(x), dtype=torch.float64)).numpy(), dtype=np.float64)


def panel(axes: Axes, title: str, subtitle: str, window: tuple[float, float, float, float]) -> None:
    axes.set_aspect("equal")
    axes.set_xlim(window[0], window[1])
    axes.set_ylim(window[2], window[3])
    axes.axis("off")
    heading(axes, title, subtitle)


def heading(axes: Axes, title: str, subtitle: str, y: float = 1.03) -> None:
    style: dict[str, Any] = {
        "xycoords": (axes.transAxes, axes.transAxes),
        "textcoords": "offset points",
        "ha": "center",
    }
    axes.annotate(title, (0.5, y), (0, 16), fontsize=9.5, color=INK, family="DejaVu Sans Mono", weight="bold", **style)
    axes.annotate(subtitle, (0.5, y), (0, 2), fontsize=9, color=SOFT, **style)


def way(axes: Axes, start: Array, end: Array) -> None:
    """A point and the arrow to where it goes."""
    axes.plot(*start, "o", color=WAY, markersize=3.6, zorder=8, markeredgewidth=0)
    if np.linalg.norm(end - start) > 0.05:
        style: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.15,head_length=0.32", "color": WAY, "linewidth": 1.1}
        axes.annotate("", end, start, arrowprops=style | {"shrinkA": 0, "shrinkB": 1}, zorder=8)


def area(axes: Axes, corners: Array, **style: Any) -> None:
    drawn: dict[str, Any] = {"facecolor": BODY, "edgecolor": SET, "linewidth": 1.8, "joinstyle": "round", "zorder": 2}
    axes.add_patch(Polygon(corners, **(drawn | style)))


def line(axes: Axes, points: Array, **style: Any) -> None:
    drawn: dict[str, Any] = {"color": SET, "linewidth": 1.8, "solid_capstyle": "round", "zorder": 4}
    axes.plot(*np.asarray(points).T, **(drawn | style))


# ---- in the plane ----------------------------------------------------------------------------------------------------

POINTS = [[1.7, 1.0], [0.6, 1.75], [-1.2, 1.6], [-1.9, 0.4], [-0.5, -0.25], [-1.5, -1.5], [0.3, -1.8], [1.6, -1.15]]
L1 = 1.25


def in_the_plane(row: NDArray[Any]) -> None:
    diamond = L1 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    turns = np.linspace(0, 2 * math.pi, 361)
    circle = np.stack([np.cos(turns), np.sin(turns)], 1)

    def draw(axes: Axes, title: str, subtitle: str, project: Projection) -> None:
        panel(axes, title, subtitle, (-2.1, 2.1, -2.1, 2.1))
        for end in np.eye(2):
            line(axes, np.outer([-2.1, 2.1], end), color=FAINT, linewidth=0.8, zorder=1)
        for x in POINTS:
            way(axes, np.array(x), nearest(project, x))

    draw(row[0], "l0_projection", "‖s‖₀ ≤ k, here k = 1", lambda x: F.l0_projection(x, 1))
    for end in np.eye(2):
        line(row[0], np.outer([-2.1, 2.1], end), linewidth=2.4)

    draw(row[1], "l1_ball_projection", "‖s‖₁ ≤ r", lambda x: F.l1_ball_projection(x, L1))
    area(row[1], diamond)

    draw(
        row[2],
        "l1_l2_projection, ball-ball",
        "‖s‖₁ ≤ λ₁,  ‖s‖₂ ≤ λ₂",
        lambda x: F.l1_l2_projection(x, L1, 1, "ball-ball"),
    )
    area(row[2], circle * np.minimum(1, L1 / np.abs(circle).sum(1, keepdims=True)))
    guides(row[2], diamond, circle)

    spheres: Projection = lambda x: F.l1_l2_projection(x, L1, 1, "sphere-sphere")  # noqa: E731
    draw(row[3], "hoyer_projection, signed", "‖s‖₁ = λ₁,  ‖s‖₂ = λ₂", spheres)
    guides(row[3], diamond, circle)
    eight = np.array([nearest(spheres, [math.cos(t), math.sin(t)]) for t in np.arange(0.3, 7, math.pi / 4)])
    row[3].plot(*eight.T, "o", color=SET, markersize=6.5, zorder=5, markeredgewidth=0)


def guides(axes: Axes, *outlines: Array) -> None:
    for outline in outlines:
        area(axes, outline, fill=False, edgecolor=FAINT, linewidth=1, zorder=1)


# ---- in space --------------------------------------------------------------------------------------------------------

AZIMUTH, ELEVATION = math.radians(63), math.radians(19)
EYE = np.array(
    [
        [-math.sin(AZIMUTH), math.cos(AZIMUTH), 0],
        [
            -math.sin(ELEVATION) * math.cos(AZIMUTH),
            -math.sin(ELEVATION) * math.sin(AZIMUTH),
            math.cos(ELEVATION),
        ],
    ]
)
CORNERS = np.eye(3)


def seen(points: Any) -> Array:
    """Where points of space lie in the picture, from far away."""
    return np.asarray(np.asarray(points, dtype=np.float64) @ EYE.T)


def octant(axes: Axes, title: str, subtitle: str) -> None:
    panel(axes, title, subtitle, (-1.25, 0.95, -0.75, 1.45))
    for end, name, shift in zip(CORNERS, ("s₁", "s₂", "s₃"), ((-0.05, -0.1), (0.08, -0.02), (0.1, 0)), strict=True):
        line(axes, seen([0 * end, 1.4 * end]), color=FAINT, linewidth=0.9, zorder=1)
        axes.text(*(seen(1.4 * end) + shift), name, color=SOFT, fontsize=8.5, ha="center", va="center")


def ways(axes: Axes, points: list[list[float]], project: Projection) -> None:
    for x in points:
        way(axes, seen(x), seen(nearest(project, x)))


def arcs(total: float) -> list[Array]:
    """The vectors s ≥ 0 of sum ``total`` and length 1: a circle, or what is left of it in the octant."""
    turns = np.linspace(0, 2 * math.pi, 541)
    u, v = np.array([1, -1, 0]) / math.sqrt(2), np.array([1, 1, -2]) / math.sqrt(6)
    ring = total / 3 + math.sqrt(1 - total**2 / 3) * (np.outer(np.cos(turns), u) + np.outer(np.sin(turns), v))
    inside = ring.min(1) >= 0
    if inside.all():
        return [ring]
    start = int(np.argmin(inside))
    ring, inside = np.roll(ring[:-1], -start, 0), np.roll(inside[:-1], -start)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    return [ring[a:b] for a, b in edges.reshape(-1, 2)]


def in_space(row: NDArray[Any]) -> None:

    octant(row[0], "l0_projection", "‖s‖₀ ≤ k, here k = 2")
    for i, j in ((0, 1), (1, 2), (0, 2)):
        square = np.array([0 * CORNERS[i], CORNERS[i], CORNERS[i] + CORNERS[j], CORNERS[j]])
        area(row[0], seen(1.3 * square), linewidth=0.8, edgecolor=FAINT)
    for end in CORNERS:
        line(row[0], seen([0 * end, 1.3 * end]))
    ways(row[0], [[0.5, 0.8, 1.1], [1.2, 0.45, 0.75], [1.0, 0.75, 0.45]], lambda x: F.l0_projection(x, 2))

    octant(row[1], "simplex_projection", "s ≥ 0,  Σ s = r")
    area(row[1], seen(CORNERS))
    ways(
        row[1],
        [[1.0, 0.9, 0.6], [0.85, 0.05, 1.3], [-0.2, 1.0, 0.5], [0.1, -0.1, 1.5], [0.05, 0.1, 0.05]],
        F.simplex_projection,
    )

    panel(row[2], "l1_l2_projection, ball-ball", "a ball with eight flat sides", (-1.4, 1.2, -1.15, 1.45))
    row[2].add_patch(Circle((0, 0), 1, facecolor=BODY, edgecolor=SET, linewidth=1.8, zorder=2))
    toward = np.cross(EYE[0], EYE[1])
    for turn in np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), -1).reshape(-1, 3):
        (ring,) = arcs(1.5)
        if turn @ toward > 0:
            area(row[2], seen(ring * turn), facecolor=PAGE, zorder=3)
    ways(row[2], [[1.2, 0.8, 1.0], [1.5, 0.1, 0.1]], lambda x: F.l1_l2_projection(x, 1.5, 1, "ball-ball"))

    octant(row[3], "hoyer_projection", "s ≥ 0,  ‖s‖₂ = 1,  σ(s) = 0.45 (bold)")
    quarter = np.linspace(0, math.pi / 2, 31)
    sides = [np.outer(np.cos(quarter), CORNERS[i]) + np.outer(np.sin(quarter), CORNERS[(i + 1) % 3]) for i in range(3)]
    area(row[3], seen(np.concatenate(sides)), linewidth=0.9, edgecolor=FAINT)
    for sparseness in (0.1, 0.25, 0.45, 0.65, 0.85):
        chosen = sparseness == 0.45
        for arc in arcs(math.sqrt(3) - sparseness * (math.sqrt(3) - 1)):
            line(row[3], seen(arc), linewidth=2.6 if chosen else 0.9)
    ways(
        row[3],
        [[0.9, 0.95, 0.8], [1.3, 0.2, 0.75], [0.2, 0.5, 1.45], [0.1, 1.4, 0.8]],
        lambda x: F.hoyer_projection(x, 0.45),
    )


# ---- a group ---------------------------------------------------------------------------------------------------------


def in_a_group(axes: Axes) -> None:
    generator = torch.Generator().manual_seed(4)
    group = [
        torch.rand(n, generator=generator).double() ** power for n, power in ((12, 0.6), (20, 1.5), (16, 4), (24, 1))
    ]
    projected = F.group_hoyer_projection(group, 0.6)
    heading(axes, "group_hoyer_projection", "Four vectors come to σ = 0.60 on average; grey: before")
    axes.axis("off")
    place = 0.0
    for x, s in zip(group, projected, strict=True):
        at = place + np.arange(len(x))
        axes.bar(at, x.numpy(), 0.8, color=FAINT, zorder=2)
        axes.bar(at, s.numpy(), 0.8, color=SET, zorder=3)
        text = f"σ  {float(hoyer(x)):.2f} → {float(hoyer(s)):.2f}"
        axes.text(at.mean(), -0.06, text, color=SOFT, fontsize=8.5, ha="center", va="top")
        place += len(x) + 4


def svg() -> str:
    settings: dict[str, Any] = {"font.family": "DejaVu Sans", "svg.hashsalt": "gossamer", "svg.fonttype": "path"}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(11, 8.1), facecolor=PAGE)
        grid = figure.add_gridspec(
            3, 4, height_ratios=(1, 1, 0.5), left=0.02, right=0.98, top=0.93, bottom=0.05, hspace=0.32
        )
        rows = np.array([[figure.add_subplot(grid[i, j]) for j in range(4)] for i in range(2)])
        in_the_plane(rows[0])
        in_space(rows[1])
        in_a_group(figure.add_subplot(grid[2, :]))
        file = io.StringIO()
        figure.savefig(
            file, format="svg", facecolor=PAGE, metadata={"Date": None, "Title": "Projections onto sparse sets"}
        )
    dark = "".join(
        f'[style*="{kind}: {a}"]{{{kind}:{b}!important}}' for a, b in COLOURS.items() for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{dark}}}</style>"
    before, after = file.getvalue().split("<defs>", 1)
    return f"{before}{style}\n <defs>{after}"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(svg(), encoding="utf-8")
