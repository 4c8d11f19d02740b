"""A HaH block against convolution, ReLU, batch normalization: ``python docs/benchmarks/hebbian_block.py [THREADS]``.

Milliseconds of a training step of one block, forward and backward, float32: medians of steps that alternate between the
blocks in one process. "with cost" adds the Hebbian cost with local gradients; "modules" is the same block, with cost,
through its four modules one after the other. The first block of a network computes no gradient of its images.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import gossamer as gs

ROUNDS = 15
SHAPES = [(64, 32, 28, 64), (64, 64, 14, 64), (64, 3, 32, 64), (128, 32, 8, 64)]  # images, channels, side, filters


def medians(calls: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median time of each call in milliseconds, measured in turns after one untimed round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def step(block: nn.Module, x: Tensor, g: Tensor, cost: gs.HebbianLoss | None = None) -> Callable[[], None]:
    """Return a training step without the optimizer."""

    def run() -> None:
        block.zero_grad()
        x.grad = None
        z = block(x)
        roots, gradients = ([z], [g]) if cost is None else ([z, cost()], [g, torch.ones(())])
        torch.autograd.backward(roots, gradients)

    return run


def main() -> None:
    """Print the table."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    chance = torch.Generator().manual_seed(0)
    names = ["conv-ReLU-BN", "HaH", "with cost", "modules"]
    print(f"{'images':>18}{'filters':>9}" + "".join(f"{name:>16}" for name in names) + f"{'ratio':>8}")
    for n, channels, side, filters in SHAPES:
        x = torch.rand(n, channels, side, side, generator=chance).requires_grad_(channels > 3)
        g = torch.randn(n, filters, side, side, generator=chance)
        standard = gs.models.StandardBlock(channels, filters, generator=chance)
        plain, costed = (gs.models.HaHBlock(channels, filters, generator=chance) for _ in range(2))
        parts = gs.models.HaHBlock(channels, filters, generator=chance)
        modules = nn.Sequential(*parts)  # which knows no operator for all of them
        steps = {
            "conv-ReLU-BN": step(standard, x, g),
            "HaH": step(plain, x, g),
            "with cost": step(costed, x, g, gs.HebbianLoss([costed.conv], 0.01)),
            "modules": step(modules, x, g, gs.HebbianLoss([parts.conv], 0.01)),
        }
        row = medians(steps)
        shape = f"{n} × {channels} × {side} × {side}"
        numbers = "".join(f"{row[name]:13.1f} ms" for name in names)
        print(f"{shape:>18}{filters:9}{numbers}{row['with cost'] / row['conv-ReLU-BN']:8.2f}")


if __name__ == "__main__":
    main()
