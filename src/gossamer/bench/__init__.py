"""The break-even map of a machine: where sparse layers win on it, where they lose, and against whom."""

from gossamer.bench.cells import Bench, BreakEven, Cell, Plan, break_even, break_evens
from gossamer.bench.measure import Sample, interleave
from gossamer.bench.runner import TASKS, run

__all__ = [
    "TASKS",
    "Bench",
    "BreakEven",
    "Cell",
    "Plan",
    "Sample",
    "break_even",
    "break_evens",
    "interleave",
    "run",
]
