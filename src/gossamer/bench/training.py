"""A training step of a network of three hidden layers, n-n-n-n-10 with ReLU: its seconds, and its bytes.

A step is forward, cross entropy, backward, Adam (fused) and zero_grad. The hidden layers are those of the contender;
gossamer folds the ReLU into its own. The output layer is dense: an `nn.Linear`, and with gossamer a
`FeatureMajorLinear`, which keeps to the memory layout of the layers before it. The learning rate is so small that the
network hardly changes.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from gossamer.bench import rivals
from gossamer.bench.cells import DTYPES, Plan
from gossamer.bench.comparison import Comparison, Factories
from gossamer.bench.measure import Sample, Step
from gossamer.connectivity import FeatureMajorLinear, SparseLinear, SparseLinearReLU
from gossamer.connectivity.pattern import connection_count
from gossamer.evaluate import peak_memory

__all__ = ["CLASSES", "HIDDEN", "memory_comparisons", "network", "peak_bytes", "training_comparisons", "training_step"]

HIDDEN, CLASSES = 3, 10
_CONTENDERS = ("gossamer", "dense", "masked", "SparseLab")


def network(kind: str, width: int, density: float, dtype: torch.dtype, seed: int) -> nn.Module:
    """The network with hidden layers of one of the contenders."""
    generator = torch.Generator().manual_seed(seed)

    if kind == "gossamer":
        layers = [SparseLinearReLU(width, width, density, generator=generator, dtype=dtype) for _ in range(HIDDEN)]
        return nn.Sequential(*layers, _dense(width, CLASSES, dtype, generator, FeatureMajorLinear))

    def hidden(index: int) -> nn.Module:
        if kind == "SparseLab":
            return rivals.sparselab_layer(width, width, density, seed + index)
        if kind == "dense":
            return _dense(width, width, dtype, generator)
        return rivals.MaskedLinear(SparseLinear(width, width, density, generator=generator, dtype=dtype))

    return nn.Sequential(
        *(layer for index in range(HIDDEN) for layer in (hidden(index), nn.ReLU())),
        _dense(width, CLASSES, dtype, generator),
    )


def _dense(
    inputs: int, outputs: int, dtype: torch.dtype, generator: torch.Generator, kind: type[nn.Linear] = nn.Linear
) -> nn.Linear:
    layer: nn.Linear = nn.utils.skip_init(kind, inputs, outputs, dtype=dtype)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator)
    return layer


def training_step(kind: str, width: int, density: float, batch: int, dtype: torch.dtype, seed: int) -> Step:
    """A function that makes one step, always on the same batch; the gradients are gone when it returns."""
    net = network(kind, width, density, dtype, seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-6, fused=True)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, width, generator=generator).to(dtype)
    y = torch.randint(CLASSES, (batch,), generator=generator)

    def step() -> None:
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def training_comparisons(plan: Plan) -> Iterator[Comparison]:
    """The seconds of a step, for each width and density."""
    for width in plan.widths:
        for density in plan.densities:
            setting = {"width": width, "batch": plan.training_batch, "density": density}
            yield Comparison(
                "training", setting, partial(_factories, plan, width, density, plan.training_batch), gradient=True
            )


def _factories(plan: Plan, width: int, density: float, batch: int) -> Factories:
    dtype = DTYPES[plan.dtype]

    def prepared(kind: str) -> Step | str:
        reason = rivals.why_not_sparselab(dtype) if kind == "SparseLab" else None
        return reason or training_step(kind, width, density, batch, dtype, plan.seed)

    return {**{kind: partial(prepared, kind) for kind in _CONTENDERS}, "CSR": lambda: "no training"}


# ---- bytes -----------------------------------------------------------------------------------------------------------


def memory_comparisons(plan: Plan) -> Iterator[Comparison]:
    """Measure `peak_bytes` for each width and density."""
    for width in plan.widths:
        for density in plan.memory_densities:
            setting = {
                "width": width,
                "batch": plan.memory_batch,
                "density": density,
                "connections": HIDDEN * connection_count(width, width, density) + CLASSES * width,
                "dense connections": HIDDEN * width**2 + CLASSES * width,
            }
            contenders = partial(_factories, plan, width, density, plan.memory_batch)
            yield Comparison("memory", setting, contenders, gradient=True)


def peak_bytes(prepare: Callable[[], Step | str]) -> Sample | str:
    """Measure the most memory in use during a training step, above the process without the network and its data.

    Weights, gradients, the optimizer's state, indices, activations and temporary arrays count. The result is the
    smaller of two tries, in each of which the network is built anew: the growth of resident memory from before it is
    built to just before the second step, and from there to the peak of that step (`gossamer.evaluate.peak_memory`).
    Memory that the process had used and freed before, in pieces too small to be returned, makes it look smaller.
    """
    if not sys.platform.startswith("linux"):
        return "Linux only"
    tries: list[float] = []
    for _ in range(2):
        peak_memory(lambda: None)  # returns free memory, so that the next allocations show
        empty = _resident()
        step = prepare()
        if isinstance(step, str):
            return step
        step()
        start: list[int] = []

        def observed(step: Step = step, start: list[int] = start) -> None:
            start.append(_resident())
            step()

        growth = peak_memory(observed, warmup=0)
        tries.append(max(0, start[-1] - empty + growth))
        del step, observed
        rivals.forget_sparselab()
        gc.collect()
    return Sample(min(tries), min(tries), max(tries), len(tries))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
