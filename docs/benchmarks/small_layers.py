"""Small layers and networks against those of PyTorch: ``python docs/benchmarks/small_layers.py [THREADS]``.

Microseconds in float32, medians of calls that alternate in one process:

- a layer of 16 × 16 connections at density 0.1 and batch 16, against `torch.nn.Linear`;
- `Hoyer`, `TopK` and `SReLU` of 100 units at batch 32, against `torch.softmax`, with an `autograd.Function` that copies
  its input, which is the least that any function with a derivative of its own takes;
- prediction by `gossamer.Predictor` for multilayer perceptrons at density 0.1, against their dense twins.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import gossamer as gs

ROUNDS, CALLS = 60, 200


def microseconds(functions: dict[str, Callable[[], object]], calls: int = CALLS) -> dict[str, float]:
    """Return the median time of each function, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


class Copy(torch.autograd.Function):
    """An `autograd.Function` that does nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Copy."""
        y = x.clone()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient."""
        return grad


def table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print times, and as multiples of those of the first column."""
    print(f"\n{title:34}" + "".join(f"{name:>24}" for name in next(iter(rows.values()))))
    for name, row in rows.items():
        first = next(iter(row.values()))
        print(f"{name:34}" + "".join(f"{time:13.1f} µs {time / first:6.2f} ×" for time in row.values()))


def layers() -> None:
    """A layer of 16 × 16 connections."""
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(16, 16, generator=chance)
    found = {"nn.Linear": nn.Linear(16, 16), "SparseLinear": gs.SparseLinear(16, 16, density=0.1, generator=chance)}
    with torch.no_grad():
        inference = microseconds({name: lambda layer=layer: layer(x) for name, layer in found.items()})  # type: ignore[misc]
    both = microseconds({name: lambda layer=layer: layer(x).sum().backward() for name, layer in found.items()})  # type: ignore[misc]
    table("16 × 16, batch 16", {"inference": inference, "forward and backward": both})


def activations() -> None:
    """Hoyer, TopK and SReLU of 100 units."""
    x = torch.randn(32, 100, generator=torch.Generator().manual_seed(0))
    z, grad = x.clone().requires_grad_(), x.flip(0)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "softmax": lambda x: torch.softmax(x, 1),
        "copy": Copy.apply,
        "Hoyer": gs.Hoyer(0.8, norm=4.0),
        "TopK": gs.TopK(10),
        "SReLU": gs.SReLU(100),
    }
    with torch.no_grad():
        inference = microseconds({name: lambda f=f: f(x) for name, f in functions.items()})  # type: ignore[misc]
    forward = microseconds({name: lambda f=f: f(z) for name, f in functions.items()})  # type: ignore[misc]
    both = microseconds({name: lambda f=f: torch.autograd.grad(f(z), z, grad) for name, f in functions.items()})  # type: ignore[misc]
    rows = {"inference": inference, "forward in training": forward, "forward and backward": both}
    table("100 units, batch 32", rows)


def predictions() -> None:
    """One sample and a batch through two networks."""
    rows = {}
    for hidden in ((100,), (1000, 1000)):
        for activation in ("relu", "hoyer:0.8"):
            chance = torch.Generator().manual_seed(0)
            sparse = gs.models.MLP(64, hidden, 10, density=0.1, activation=activation, generator=chance).eval()
            dense = gs.models.MLP(64, hidden, 10, density=None).eval()
            networks = {"dense": dense, "layer by layer": sparse, "Predictor": gs.Predictor(sparse)}
            for batch in (1, 16, 128):
                x = torch.randn(batch, 64, generator=chance)
                calls = max(2, 20_000 // (sum(hidden) * batch))
                with torch.inference_mode():
                    found = microseconds({name: partial(net, x) for name, net in networks.items()}, calls)
                rows[f"{'-'.join(map(str, (64, *hidden, 10)))} {activation}, {batch}"] = found
    table("prediction, batch", rows)


def main() -> None:
    """Print the tables."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    layers()
    activations()
    predictions()


if __name__ == "__main__":
    main()
