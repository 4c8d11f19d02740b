"""Benchmarks of this machine: sparse layers against dense ones and against other libraries.

Names are imported at their first use, so that the command line's parser needs no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossamer.bench.cells import Bench as Bench
    from gossamer.bench.cells import BreakEven as BreakEven
    from gossamer.bench.cells import Cell as Cell
    from gossamer.bench.cells import Plan as Plan
    from gossamer.bench.cells import break_even as break_even
    from gossamer.bench.cells import break_evens as break_evens
    from gossamer.bench.measure import Sample as Sample
    from gossamer.bench.measure import interleave as interleave
    from gossamer.bench.runner import TASKS as TASKS
    from gossamer.bench.runner import run as run

_HOME = {
    **dict.fromkeys(("Bench", "BreakEven", "Cell", "Plan", "break_even", "break_evens"), "cells"),
    **dict.fromkeys(("Sample", "interleave"), "measure"),
    **dict.fromkeys(("TASKS", "run"), "runner"),
}

__all__ = ["TASKS", "Bench", "BreakEven", "Cell", "Plan", "Sample", "break_even", "break_evens", "interleave", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gossamer.bench.{_HOME[name]}"), name)
