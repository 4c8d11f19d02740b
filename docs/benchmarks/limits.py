"""How fast each product of a sparse layer runs, what bounds it, and what of a training step is not products.

python docs/benchmarks/limits.py 1024 128 0.1      width, batch, density
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

import gossamer as gs
from gossamer.kernels import native

ROUNDS = 60


def medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def single_sample(width: int, density: float) -> dict[str, tuple[Callable[[], object], float]]:
    """The products of one sample, and how many connections each of them reads."""
    layer = gs.SparseLinear(width, width, density).eval()
    structure, values = layer.pattern.structure, layer.weight_values.detach()
    x, live = torch.randn(width, 1), max(1, round(density * width))
    units = torch.randperm(width)[:live].sort().values.to(torch.int32)[None]
    code = gs.Code(torch.randn(1, live), units, width)
    read = float(layer.pattern.fan_out[units[0].long()].sum())

    def spspmm() -> object:
        with torch.no_grad():
            return gs.kernels.spspmm(values, structure, code)

    return {"one sample": (lambda: native.spmm(values, structure, x), layer.nnz), "one code": (spspmm, read)}


def training_step(width: int, batch: int, density: float) -> Callable[[], None]:
    """Three hidden layers with ReLU, a dense output layer, cross entropy, fused Adam."""
    hidden = [gs.SparseLinearReLU(width, width, density) for _ in range(3)]
    net = nn.Sequential(*hidden, gs.connectivity.FeatureMajorLinear(width, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-6, fused=True)
    x, y = torch.randn(batch, width), torch.randint(10, (batch,))

    def step() -> None:
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main(width: int, batch: int, density: float) -> None:
    torch.manual_seed(0)
    layer = gs.SparseLinear(width, width, density)
    structure, values = layer.pattern.structure, layer.weight_values.detach()
    x, g = torch.randn(width, batch), torch.randn(width, batch)
    weight = torch.randn(width, width)
    products: dict[str, Callable[[], object]] = {
        "W X": lambda: native.spmm(values, structure, x),
        "W' G": lambda: native.spmm_t(values, structure, g),
        "<G, X>": lambda: native.sddmm(g, x, structure),
        "both": lambda: native.spmm_t_sddmm(values, structure, x, g),
        "dense W X": lambda: weight @ x,
    }
    print(f"{gs.kernels.info()}, width {width}, batch {batch}, density {density:g}")
    times = medians(products)
    for name, seconds in times.items():
        pairs = width * width if name.startswith("dense") else layer.nnz
        flops = 2 * pairs * batch * (2 if name == "both" else 1)
        print(f"{name:>10}  {seconds * 1e6:9.1f} us  {flops / seconds / 1e9:6.1f} GFLOP/s")
    rate = 4 * layer.nnz * batch / times["W X"] / torch.get_num_threads()
    print(f"W X brings {rate / 1e9:.0f} GB/s of X to each core")
    few = single_sample(width, density)
    for name, seconds in medians({name: call for name, (call, _) in few.items()}).items():
        print(f"{name:>10}  {seconds * 1e6:9.1f} us  {seconds * 1e9 / few[name][1]:6.2f} ns a connection")
    steps = medians({"step": training_step(width, batch, density), "overhead": training_step(16, 4, 0.1)})
    inside = 3 * times["W X"] + 2 * times["both"] + times["<G, X>"]  # the data need no gradient
    print(f"a training step takes {steps['step'] * 1e6:.0f} us, its products alone {inside * 1e6:.0f} us;")
    print(f"the same step of 16 units and 4 samples, where nothing is computed, {steps['overhead'] * 1e6:.0f} us")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
