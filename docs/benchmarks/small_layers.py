"""A small layer in a loop of your own, against `torch.nn.Linear`: ``python docs/benchmarks/small_layers.py [THREADS]``.

Microseconds for 16 × 16 connections at density 0.1 and batch 16, float32: medians of calls that alternate between the
two layers in one process.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

import gossamer as gs

ROUNDS, CALLS = 60, 200


def microseconds(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each call, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            times[name].append((time.perf_counter() - start) / CALLS * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Print the table."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(16, 16, generator=chance)
    layers = {"nn.Linear": nn.Linear(16, 16), "SparseLinear": gs.SparseLinear(16, 16, density=0.1, generator=chance)}
    with torch.no_grad():
        inference = microseconds({name: lambda layer=layer: layer(x) for name, layer in layers.items()})  # type: ignore[misc]
    both = microseconds({name: lambda layer=layer: layer(x).sum().backward() for name, layer in layers.items()})  # type: ignore[misc]
    print(f"{'':24}{'nn.Linear':>12}{'SparseLinear':>14}{'ratio':>8}")
    for name, row in {"inference": inference, "forward and backward": both}.items():
        dense, sparse = row["nn.Linear"], row["SparseLinear"]
        print(f"{name:24}{dense:9.1f} µs{sparse:11.1f} µs{sparse / dense:8.2f}")


if __name__ == "__main__":
    main()
