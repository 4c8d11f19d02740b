"""Layers of any shape against the masked dense layer, hostile indices, and ranks against one process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tests.campaign.common import Figure
from torch import Tensor, nn

import gossamer as gs
from gossamer.errors import InputError

__all__ = ["layers", "ranks"]


def layers(folder: Path, scale: float, seed: int) -> Iterator[Figure]:
    """Outputs and all gradients of random sparse layers equal those of their dense equal."""
    rng = np.random.default_rng(seed)
    for name, make in (("linear", _linear), ("convolution", _convolution)):
        figure = Figure(f"fuzzed {name} layers")
        for trial in range(max(2, round(1000 * scale))):
            layer, x = make(rng, torch.Generator().manual_seed(int(rng.integers(2**31))))
            dense = layer.to_dense()
            outputs = [_differentiated(module, x) for module in (layer, dense)]
            figure.trials += 1
            for kind, found, wanted in zip(("output", "input gradient"), *outputs, strict=True):
                if not torch.allclose(found, wanted, rtol=1e-9, atol=1e-11):
                    figure.failures.append(f"trial {trial}, {layer}, {tuple(x.shape)}: {kind}")
        yield figure
    figure = Figure("hostile indices of a layer")
    for _ in range(max(5, round(500 * scale))):
        layer = gs.SparseLinear(7, 5, density=0.5, generator=torch.Generator().manual_seed(0))
        state = layer.state_dict()
        name = [key for key, value in state.items() if value.dtype == torch.int32][int(rng.integers(0, 1))]
        indices = state[name].clone()
        indices[int(rng.integers(len(indices)))] = int(rng.choice([-1, 7, 2**31 - 1, -(2**31)]))
        figure.trials += 1
        try:
            layer.load_state_dict(state | {name: indices})
            figure.failures.append(f"{name} taken: {indices.tolist()}")
        except (InputError, RuntimeError):
            pass
    yield figure


def _linear(rng: np.random.Generator, generator: torch.Generator) -> tuple[gs.SparseLinear, Tensor]:
    inputs, outputs, batch = (int(rng.integers(1, 70)) for _ in range(3))
    density = float(rng.uniform(1 / (inputs * outputs), 1))
    layer = gs.SparseLinear(inputs, outputs, density=density, bias=bool(rng.integers(2)), generator=generator)
    x = torch.randn(batch, inputs, generator=generator, dtype=torch.float64)
    return layer.double(), x * (torch.rand(x.shape, generator=generator) < rng.uniform(0, 1))


def _convolution(rng: np.random.Generator, generator: torch.Generator) -> tuple[gs.SparseConv2d, Tensor]:
    groups, size = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    channels = groups * int(rng.integers(1, 6))
    layer = gs.SparseConv2d(
        channels,
        groups * int(rng.integers(1, 6)),
        size,
        stride=int(rng.integers(1, 3)),
        padding=int(rng.integers(0, size)),
        groups=groups,
        density=float(rng.uniform(0.3, 1)),
        bias=bool(rng.integers(2)),
        generator=generator,
    )
    side = (int(rng.integers(size, 12)) for _ in range(2))
    return layer.double(), torch.randn(
        int(rng.integers(1, 6)), channels, *side, generator=generator, dtype=torch.float64
    )


def _differentiated(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


_RANKS = """
import sys, torch, gossamer as gs, torch.distributed as dist
from torch import nn
rank, size, store, rule = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
if size > 1:
    dist.init_process_group("gloo", store=dist.FileStore(store, size), rank=rank, world_size=size)
chance = torch.Generator().manual_seed(0)
net = nn.Sequential(gs.SparseLinear(12, 16, density=0.3, generator=chance), nn.Tanh(),
                    gs.SparseLinear(16, 3, density=0.5, generator=chance)).double()
x, y = torch.randn(5, 32, 12, generator=chance, dtype=torch.float64), torch.randn(5, 32, 3, generator=chance).double()
model = nn.parallel.DistributedDataParallel(net) if size > 1 else net
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
rewire = getattr(gs, rule)(model, optimizer, seed=3)
for step in range(5):
    rows = slice(rank * 32 // size, (rank + 1) * 32 // size)
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x[step, rows]), y[step, rows]).backward()
    optimizer.step()
    rewire.step()
if rank == 0:
    for layer in (net[0], net[2]):
        print(" ".join(f"{value:.9f}" for value in layer.to_dense().weight.flatten().tolist()))
"""


_RULES = ("SET", "RigL", "CoDACoRSET", "CTRE")


def ranks(folder: Path, scale: float, seed: int) -> Iterator[Figure]:
    """Two ranks, each with half of every batch, rewire and learn as one process does."""
    figure = Figure("rules on two ranks")
    for rule in _RULES[: max(1, round(len(_RULES) * scale))]:
        figure.trials += 1
        try:
            one, two = (_printed(folder, size, rule) for size in (1, 2))
        except RuntimeError as error:
            figure.failures.append(f"{rule}: {error}")
            continue
        if one != two or not one:
            figure.failures.append(f"{rule}: {one[:200]} against {two[:200]}")
    yield figure


def _printed(folder: Path, size: int, rule: str) -> str:
    store = str(folder / f"store-{size}-{rule}")
    words = [[sys.executable, "-c", _RANKS, str(rank), str(size), store, rule] for rank in range(size)]
    processes = [subprocess.Popen(w, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for w in words]
    ended = [process.communicate(timeout=120) for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"{size} ranks: " + "".join(error[-300:] for _, error in ended))
    return ended[0][0].replace("-0.000000000", "0.000000000")
