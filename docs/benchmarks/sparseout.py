"""Sparseout against `torch.nn.functional.dropout`: forward and backward of the layer alone, float32, on the CPU.

python docs/benchmarks/sparseout.py [--threads 2] [--rounds 31] [--elements 524288,4194304]

Contenders take turns, so that a slow moment of the machine affects all of them; medians, their quartiles and the ratio
of the medians are printed. "dropout again" is a second copy of the first contender: it shows the precision of a ratio.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

import gossamer as gs
from gossamer.machine import load, processor

P = 0.5


def contenders(generator: torch.Generator) -> dict[str, Callable[[Tensor], Tensor]]:
    """The contenders by name; the first is the one with which the others are compared."""
    found: dict[str, Callable[[Tensor], Tensor]] = {"dropout": lambda a: F.dropout(a, P)}
    for q in (1.0, 1.5, 1.7, 2.0, 2.5, 3.0, 3.3):
        for gradient in ("frozen", "exact"):
            if gradient == "frozen" or q in (1.5, 1.7):
                found[f"sparseout q={q:g} {gradient}"] = functools.partial(
                    gs.functional.sparseout, p=P, q=q, gradient=gradient, generator=generator
                )
    return found | {"dropout again": lambda a: F.dropout(a, P)}


def milliseconds(
    functions: Mapping[str, Callable[[Tensor], Tensor]], elements: int, rounds: int
) -> dict[str, list[float]]:
    """The times of forward and backward of each function, in turns, after one round that is not counted."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(elements, generator=generator).requires_grad_()
    d = torch.randn(elements, generator=generator)
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function(a).backward(d)
            taken = time.perf_counter() - start
            a.grad = None
            if turn:
                times[name].append(1000 * taken)
    return times


def main() -> None:
    """Print a table for each number of elements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--elements", default=f"{1 << 19},{1 << 22}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kernels = gs.kernels.info()
    print(f"{processor()}, load {load()}, {kernels.threads} threads, {kernels.instruction_set}")
    for elements in map(int, options.elements.split(",")):
        times = milliseconds(contenders(torch.Generator().manual_seed(1)), elements, options.rounds)
        base = statistics.median(times["dropout"])
        print(f"\n{elements} elements, forward and backward      median ms   quartiles       of dropout")
        for name, taken in times.items():
            low, middle, high = statistics.quantiles(taken, n=4)
            print(f"{name:40} {middle:12.3f}   {low:.3f}-{high:.3f}   {middle / base:12.2f}")


if __name__ == "__main__":
    main()
