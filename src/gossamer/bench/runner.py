"""Benchmark runner: each comparison in turn, and no rival's failure ends the run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from gossamer.bench import rivals
from gossamer.bench.cells import OURS, Bench, Cell, Plan
from gossamer.bench.comparison import Comparison
from gossamer.bench.convolution import convolution_comparisons
from gossamer.bench.forward import layer_comparisons, spspmm_comparisons
from gossamer.bench.machine import describe
from gossamer.bench.measure import Sample, Step, interleave
from gossamer.bench.projection import projection_comparisons
from gossamer.bench.training import memory_comparisons, peak_bytes, training_comparisons
from gossamer.errors import InputError, check_choice, check_count

__all__ = ["OUT_OF_MEMORY", "TASKS", "run"]

TASKS: dict[str, Callable[[Plan], Iterator[Comparison]]] = {
    "layer": layer_comparisons,
    "training": training_comparisons,
    "spspmm": spspmm_comparisons,
    "convolution": convolution_comparisons,
    "projection": projection_comparisons,
    "memory": memory_comparisons,
}

OUT_OF_MEMORY = "out of memory"

Result = TypeVar("Result")


def run(
    plan: Plan,
    *,
    threads: int | None = None,
    watch: Callable[[int, int, Comparison], None] = lambda done, comparisons, comparison: None,
) -> Bench:
    """Measure the cells of a plan.

    After Ctrl-C the result has the cells that were finished and ``stopped`` is true, unless only repetitions are
    missing; before the first cell, KeyboardInterrupt is raised.

    Args:
        plan: the measurements.
        threads: number of threads (default: as many as torch takes).
        watch: called before each comparison with the number of those that are done, the number of all, and the next
            one; those that are repeated are added to both numbers.

    Returns:
        The results.

    Raises:
        InputError: the plan is empty.

    Example:
        >>> plan = gs.bench.Plan(tasks=("projection",), projections=((8, 100),), rounds=3, seconds=0.01)
        >>> bench = gs.bench.run(plan)  # doctest: +SKIP
    """
    if threads is not None:
        check_count("threads", threads, low=1)
    for task in plan.tasks:
        check_choice("tasks", task, tuple(TASKS))
    tasks = list(dict.fromkeys(plan.tasks))
    comparisons = [comparison for task in tasks for comparison in TASKS[task](plan)]
    comparisons.sort(key=lambda each: each.task != "memory")  # memory first, while the process has freed little of it
    if not comparisons:
        raise InputError("the plan is empty: give at least one task, width, density and batch")
    cells: list[Cell] = []
    with rivals.threads(threads), _frozen():
        machine = describe()
        try:
            for done, comparison in enumerate(comparisons):
                watch(done, len(comparisons), comparison)
                cells.append(_measured(comparison, plan))
            for _ in range(plan.again):
                noisy = [place for place, cell in enumerate(cells) if cell.noisy]
                for done, place in enumerate(noisy, len(comparisons)):
                    watch(done, len(comparisons) + len(noisy), comparisons[place])
                    cells[place] = min(cells[place], _measured(comparisons[place], plan), key=lambda cell: cell.spread)
        except KeyboardInterrupt:
            if not cells:
                raise
    cells.sort(key=lambda cell: (tasks.index(cell.task), _order(cell)))
    return Bench(plan, machine, tuple(cells), stopped=len(cells) < len(comparisons))


@contextmanager
def _frozen() -> Iterator[None]:
    """Exclude existing objects from garbage collection before each comparison, which would take most of the time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _order(cell: Cell) -> tuple[float, ...]:
    """Return the sort key of rows in a table: width, batch, then from the densest to the sparsest."""
    setting = cell.setting
    if cell.task == "projection":
        return ()
    if cell.task == "spspmm":
        return (setting["width"], setting["batch"])
    return (setting.get("width", setting.get("channels")), setting["batch"], -setting["density"])


def _measured(comparison: Comparison, plan: Plan) -> Cell:
    results: Mapping[str, Sample | str]
    try:
        with torch.set_grad_enabled(comparison.gradient):
            results = _bytes(comparison) if comparison.task == "memory" else _seconds(comparison, plan)
    except (MemoryError, RuntimeError) as error:  # the contenders or their shared data are too large
        if not _is_out_of_memory(error):
            raise
        results = dict.fromkeys((OURS, comparison.baseline), OUT_OF_MEMORY)
    finally:
        rivals.forget_sparselab()
    return Cell(comparison.task, comparison.setting, results, comparison.baseline)


def _seconds(comparison: Comparison, plan: Plan) -> dict[str, Sample | str]:
    steps: dict[str, Step] = {}
    results: dict[str, Sample | str] = {}
    for name, prepare in comparison.contenders().items():
        step = _attempt(partial(_warm, prepare))
        if isinstance(step, str):
            results[name] = step
        else:
            steps[name] = step
    apart = rivals.OWN_THREADS if torch.get_num_threads() > 1 else ()
    return results | interleave(steps, rounds=plan.rounds, seconds=plan.seconds, apart=apart)


def _warm(prepare: Callable[[], Step | str]) -> Step | str:
    step = prepare()
    if not isinstance(step, str):
        step()
    return step


def _bytes(comparison: Comparison) -> dict[str, Sample | str]:
    return {name: _attempt(partial(peak_bytes, prepare)) for name, prepare in comparison.contenders().items()}


def _attempt(function: Callable[[], Result]) -> Result | str:
    """Return the result of a contender, or `OUT_OF_MEMORY`."""
    try:
        return function()
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return OUT_OF_MEMORY


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
