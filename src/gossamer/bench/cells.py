"""Plans and results of benchmarks, and the density at which both sides break even.

A cell compares gossamer with a baseline at one setting. Its ratio is

    R = median of the baseline / median of gossamer       (of seconds, or of bytes),

above 1 where gossamer wins. The break-even density d* of a task lies where R(d*) = 1: below it gossamer won at every
density that was measured. Between two measured densities log R is taken to be linear in log d.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from gossamer.bench.measure import NOISY, Sample
from gossamer.errors import InputError, check_count, check_fraction

__all__ = ["DTYPES", "OURS", "Bench", "BreakEven", "Cell", "Plan", "break_even", "break_evens"]

OURS = "gossamer"
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """A plan of measurements.

    Attributes:
        tasks: any of ``"layer"``, ``"training"``, ``"spspmm"``, ``"convolution"``, ``"projection"`` and ``"memory"``.
        widths: of layers, ≥ 2.
        densities: of layers, in (0, 1].
        batches: batch sizes of layers.
        training_batch: batch size of training steps.
        spspmm_widths: of layers that read sparse codes.
        spspmm_batches: their batch sizes.
        spspmm_densities: pairs (density of the code, density of the weights).
        channels: of convolutions.
        image_batch: their batch size.
        image_size: their height and width.
        projections: pairs (rows, entries).
        sparsenesses: Hoyer's sparseness of projections, in (0, 1).
        memory_batch: batch size where memory is measured, small so that data and activations hardly count.
        memory_densities: densities where memory is measured.
        rounds: the least number of rounds for a cell; see `interleave`.
        seconds: the least time for a cell; see `interleave`.
        again: noisy cells are measured again at the end, up to so many times, and the measurement with the closest
            quartiles counts.
        dtype: ``"float32"``, ``"float64"`` or ``"bfloat16"``.
        seed: of patterns, weights and inputs.

    Raises:
        InputError: an entry is outside its range.

    Example:
        >>> gs.bench.Plan(tasks=("layer",), widths=(512,)).densities
        (0.5, 0.2, 0.1, 0.05, 0.01)
    """

    tasks: tuple[str, ...] = ("layer", "training", "spspmm", "convolution", "projection", "memory")
    widths: tuple[int, ...] = (1024,)
    densities: tuple[float, ...] = (0.5, 0.2, 0.1, 0.05, 0.01)
    batches: tuple[int, ...] = (1, 8, 128)
    training_batch: int = 128
    spspmm_widths: tuple[int, ...] = (4096,)
    spspmm_batches: tuple[int, ...] = (1, 8)
    spspmm_densities: tuple[tuple[float, float], ...] = ((0.1, 0.1), (0.05, 0.05), (0.01, 0.1))  # (code, weights)
    channels: tuple[int, ...] = (64,)
    image_batch: int = 8
    image_size: int = 32
    projections: tuple[tuple[int, int], ...] = ((128, 1000), (1000, 784), (1, 1 << 20))
    sparsenesses: tuple[float, ...] = (0.8,)
    memory_batch: int = 8  # small, so that data and activations hardly count
    memory_densities: tuple[float, ...] = (0.1, 0.01)
    rounds: int = 5
    seconds: float = 0.4
    again: int = 0
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("widths", "batches", "spspmm_widths", "spspmm_batches", "channels"):
            for value in getattr(self, name):
                check_count(name, value, low=2 if name == "widths" else 1)
        for name in ("training_batch", "memory_batch", "image_batch", "image_size", "rounds"):
            check_count(name, getattr(self, name), low=1)
        for name in ("densities", "memory_densities", "sparsenesses"):
            for value in getattr(self, name):
                check_fraction(name, value, open_low=True, open_high=True)
        for pair in self.spspmm_densities:
            for value in pair:
                check_fraction("spspmm_densities", value, open_low=True, open_high=True)
        check_count("again", self.again)
        check_fraction("seconds", self.seconds, high=math.inf, open_high=True)
        if self.dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")

    @staticmethod
    def quick(**changes: Any) -> Plan:
        """Make a plan that takes less than a minute: one width, batches to 128.

        Args:
            **changes: other entries.

        Returns:
            The plan.
        """
        return Plan(**changes)

    @staticmethod
    def full(**changes: Any) -> Plan:
        """Make a plan that takes some ten minutes: two widths, batches to 1024, more effort for each cell.

        Args:
            **changes: other entries.

        Returns:
            The plan.
        """
        wide: dict[str, Any] = {
            "widths": (1024, 4096),
            "batches": (1, 8, 128, 1024),
            "spspmm_densities": ((0.2, 0.2), (0.1, 0.1), (0.05, 0.05), (0.01, 0.1), (0.01, 0.01)),
            "channels": (64, 128, 256),
            "projections": ((128, 1000), (1000, 784), (4096, 4096), (1, 1 << 20)),
            "sparsenesses": (0.5, 0.8, 0.95),
            "rounds": 7,
            "seconds": 1.5,
            "again": 2,
        }
        return Plan(**(wide | changes))


@dataclass(frozen=True)
class Cell:
    """One comparison.

    Attributes:
        task: as in `Plan`.
        setting: width, density, batch size and so on, by name.
        results: a `Sample` by contender, or the reason why there is none.
        baseline: the contender that gossamer is compared with.

    Example:
        >>> fast, slow = gs.bench.Sample.of([1.0, 1.1, 1.2]), gs.bench.Sample.of([2.2, 2.2, 2.3])
        >>> gs.bench.Cell("layer", {"density": 0.1}, {"gossamer": fast, "dense": slow}).ratio
        2.0
    """

    task: str
    setting: Mapping[str, Any]
    results: Mapping[str, Sample | str]
    baseline: str = "dense"

    @property
    def ratio(self) -> float | None:
        """R of the module's docstring; None unless both sides were measured and differ from zero."""
        return self.ratio_of(OURS)

    @property
    def noisy(self) -> bool:
        """Whether R depends on a noisy figure."""
        return self.spread > NOISY

    @property
    def spread(self) -> float:
        """The larger interquartile range of both sides, as a share of the median; 0 where there is none."""
        sides = (self.results.get(name) for name in (OURS, self.baseline))
        return max((side.spread for side in sides if isinstance(side, Sample)), default=0.0)

    def ratio_of(self, name: str) -> float | None:
        """Return the ratio R for another contender than gossamer.

        Args:
            name: of the contender.

        Returns:
            R; None unless both sides were measured and differ from zero.
        """
        theirs, base = self.results.get(name), self.results.get(self.baseline)
        if not isinstance(theirs, Sample) or not isinstance(base, Sample) or min(theirs.median, base.median) <= 0:
            return None
        return base.median / theirs.median


@dataclass(frozen=True)
class BreakEven:
    """The density at which both sides take equally long.

    Attributes:
        task: as in `Plan`.
        setting: the cells' setting without the density.
        density: d*; None if gossamer lost at the lowest density already.
        beyond: gossamer won at all densities, so that d* lies at ``density``, the highest, or above it.
        tried: the densities that were measured.

    Example:
        >>> gs.bench.BreakEven("layer", {"width": 1024}, density=0.4, beyond=False, tried=(0.1, 0.5)).density
        0.4
    """

    task: str
    setting: Mapping[str, Any]
    density: float | None
    beyond: bool
    tried: tuple[float, ...]


def break_even(densities: Sequence[float], ratios: Sequence[float]) -> tuple[float | None, bool]:
    """Interpolate the break-even density.

    Args:
        densities: in any order, at least one.
        ratios: R at these densities.

    Returns:
        d* (None if R < 1 at the lowest density), and whether it lies beyond the highest density.

    Raises:
        InputError: the two differ in length, or are empty.

    Example:
        >>> density, beyond = gs.bench.break_even([0.1, 0.4], [2.0, 0.5])
        >>> round(density, 3), beyond
        (0.2, False)
    """
    if len(densities) != len(ratios) or not densities:
        raise InputError(f"densities and ratios must be as many, at least one: {len(densities)} and {len(ratios)}")
    points = sorted(zip(densities, ratios, strict=True))
    if points[0][1] < 1:
        return None, False
    for (d0, r0), (d1, r1) in pairwise(points):
        if r1 < 1:
            part = math.log(r0) / (math.log(r0) - math.log(r1))
            return math.exp(math.log(d0) + part * (math.log(d1) - math.log(d0))), False
    return points[-1][0], True


def break_evens(cells: Sequence[Cell]) -> list[BreakEven]:
    """Interpolate the break-even density of each task and setting that was measured over several densities.

    Args:
        cells: the comparisons.

    Returns:
        The break-even densities.

    Example:
        >>> fast, slow = gs.bench.Sample.of([1.0]), gs.bench.Sample.of([2.0])
        >>> cells = [
        ...     gs.bench.Cell("layer", {"density": 0.1}, {"gossamer": fast, "dense": slow}),
        ...     gs.bench.Cell("layer", {"density": 0.4}, {"gossamer": slow, "dense": fast}),
        ... ]
        >>> [round(each.density, 3) for each in gs.bench.break_evens(cells)]
        [0.2]
    """
    lines: dict[tuple[str, tuple[tuple[str, Any], ...]], list[tuple[float, float]]] = {}
    for cell in cells:
        if cell.task in ("layer", "training", "convolution") and cell.ratio is not None:
            rest = tuple((key, value) for key, value in cell.setting.items() if key != "density")
            lines.setdefault((cell.task, rest), []).append((cell.setting["density"], cell.ratio))
    found = []
    for (task, rest), points in lines.items():
        densities, ratios = zip(*points, strict=True)
        found.append(BreakEven(task, dict(rest), *break_even(densities, ratios), tuple(sorted(densities))))
    return found


@dataclass(frozen=True)
class Bench:
    """All results of one benchmark.

    Attributes:
        plan: the plan.
        machine: a description of the machine.
        cells: the comparisons.
        stopped: it was ended before the plan was done.
        command: the command line that made it.
        date: of the run.

    Example:
        >>> gs.bench.Bench(gs.bench.Plan.quick(), {"processor": "…"}).break_evens
        []
    """

    plan: Plan
    machine: Mapping[str, Any]
    cells: Sequence[Cell] = field(default_factory=tuple)
    stopped: bool = False
    command: str | None = None
    date: str | None = None

    @property
    def break_evens(self) -> list[BreakEven]:
        """The break-even densities of the cells."""
        return break_evens(self.cells)

    def to_json(self) -> dict[str, Any]:
        """Return the results as plain data for JSON.

        Returns:
            Dicts, lists, strings and numbers; a reason in place of a missing measurement.
        """
        return {
            "date": self.date,
            "command": self.command,
            "stopped": self.stopped,
            "machine": dict(self.machine),
            "plan": dataclasses.asdict(self.plan),
            "cells": [
                {
                    "task": cell.task,
                    "setting": dict(cell.setting),
                    "unit": "bytes" if cell.task == "memory" else "seconds",
                    "baseline": cell.baseline,
                    "ratio": cell.ratio,
                    "results": {
                        name: {**dataclasses.asdict(found), "noisy": found.noisy}
                        if isinstance(found, Sample)
                        else {"missing": found}
                        for name, found in cell.results.items()
                    },
                }
                for cell in self.cells
            ],
            "break_even": [{**dataclasses.asdict(line), "setting": dict(line.setting)} for line in self.break_evens],
        }
