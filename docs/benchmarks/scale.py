"""Train and rewire a network of millions of neurons on the arcene data: seconds an epoch and peak memory.

python docs/benchmarks/scale.py 400000 3     three hidden layers of 400,000 units, three epochs (needs GOSSAMER_DATA)
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import torch
from torch import nn

import gossamer as gs

EPSILON = 20  # ε (n_in + n_out) connections between two layers


def peak_gib() -> float:
    """Most memory that this process ever held (Linux)."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20


def main(units: int, epochs: int) -> None:
    torch.manual_seed(0)
    rows = gs.data.load("arcene").train
    x, y = torch.from_numpy(rows.x), torch.from_numpy(rows.y)
    start = time.perf_counter()
    sizes = [x.shape[1], units, units, units]
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        density = min(1.0, EPSILON * (n_in + n_out) / (n_in * n_out))
        layers += [gs.SparseLinear(n_in, n_out, density), nn.ReLU()]
    net = nn.Sequential(*layers, gs.SparseLinear(units, 2, density=1.0))
    connections = sum(layer.nnz for layer in net if isinstance(layer, gs.SparseLinear))
    print(f"{connections:,} connections built in {time.perf_counter() - start:.1f} s")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
    rewire = gs.Rewire(net, optimizer)
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        for batch, target in zip(x.split(20), y.split(20), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(batch), target).backward()
            optimizer.step()
        trained = time.perf_counter()
        rewire.step()
        moved = time.perf_counter()
        print(
            f"epoch {epoch}: {trained - start:.1f} s training, {moved - trained:.1f} s rewiring, {peak_gib():.1f} GiB"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
