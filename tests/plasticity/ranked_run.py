"""One of four ranks that train with rewiring: all together, two of them, and one alone; test_ranks.py compares.

usage: python ranked_run.py RANK RENDEZVOUS_FILE OUT
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gossamer import SparseConv2d, SparseLinear
from gossamer.plasticity import Rewire, preset

WORLD = 4
RULES = ("SET", "CoDACoRSET", "CoPACoRSET", "CTRE", "RigL")


def build() -> nn.Sequential:
    g = torch.Generator().manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (2, 2, 4)),
        SparseConv2d(2, 8, 2, groups=2, density=0.6, generator=g, dtype=torch.float64),
        nn.Tanh(),
        nn.Flatten(),
        SparseLinear(24, 24, density=0.2, generator=g, dtype=torch.float64),
        nn.Tanh(),
        SparseLinear(24, 3, density=0.5, generator=g, dtype=torch.float64),
    )


def train(name: str, rank: int, ranks: int, group: dist.ProcessGroup) -> list[Tensor]:
    """Patterns and weights after four epochs; each batch of 48 is dealt out evenly, inputs unevenly."""
    net: nn.Module = build()
    model = nn.parallel.DistributedDataParallel(net, process_group=group) if ranks > 1 else net
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(6, 48, 16, generator=g, dtype=torch.float64)
    y = torch.randint(3, (6, 48), generator=g)
    inputs = list(x[rank::ranks].unbind()) if rank < 3 else []  # with four ranks: two, two, one and no batch
    if ranks == 4 and rank == 0:
        inputs.append(x[3])
    rewire = Rewire(model, optimizer, **preset(name), inputs=inputs, seed=3, group=group)
    for _ in range(4):
        for batch, label in zip(x, y, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch[rank::ranks]), label[rank::ranks]).backward()
            optimizer.step()
        rewire.step()
    return [
        tensor
        for layer in rewire.layers.values()
        for tensor in (layer.pattern.flat_indices, layer.weight_values.detach())
    ]


def disagree(rank: int, group: dist.ProcessGroup) -> str:
    """What the check says when each rank has its own seed."""
    net = build()
    try:
        Rewire(net, seed=rank, group=group).step()
    except RuntimeError as error:
        return str(error)
    return "no error"


def main(rank: int, rendezvous: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD)
    patterns, complaints = {}, {}
    for ranks in (1, 2, WORLD):
        group = dist.new_group(list(range(ranks)))
        if rank < ranks:
            assert isinstance(group, dist.ProcessGroup)
            patterns[ranks] = {name: train(name, rank, ranks, group) for name in RULES}
            complaints[ranks] = disagree(rank, group)
    torch.save({"patterns": patterns, "complaints": complaints}, out)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
