"""A number of connections that changes while the last loss is still referenced, as in any ``for …: loss = …``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
    "adam": lambda net: torch.optim.Adam(net.parameters()),
    "fused adam": lambda net: torch.optim.Adam(net.parameters(), fused=True),
}


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    first, last = (gs.SparseLinear(a, b, 0.2, generator=generator) for a, b in ((20, 30), (30, 20)))
    return nn.Sequential(first, nn.ReLU(), last)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("way", ["redistribute", "gradual", "final_prune", "load"])
def test_the_ordinary_loop_goes_on_with_the_same_parameters(way: str, name: str) -> None:
    net: Any = network()
    chance = torch.Generator().manual_seed(1)
    optimizer = OPTIMIZERS[name](net)
    rewire = gs.Rewire(net, optimizer, redistribute="magnitude")
    pruning = gs.GradualMagnitudePruning(net, optimizer, density=0.05, steps=4)
    parameters, counts, hooked = [id(p) for p in net.parameters()], set(), []
    net[0].weight_values.register_post_accumulate_grad_hook(lambda p: hooked.append(p.grad.shape == p.shape))
    for step in range(4):
        loss = net(torch.randn(8, 20, generator=chance)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if way == "redistribute":
            rewire.step()
        elif way == "gradual":
            pruning.step()
        elif way == "final_prune":
            rewire.final_prune()
        else:
            other = gs.sparsify_(nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 20)), 0.1 + step / 10)
            net.load_state_dict(other.state_dict())
            optimizer.state.clear()
        counts.add(net[0].nnz)
    assert hooked == [True] * 4
    assert len(counts) > 1
    assert [id(p) for p in net.parameters()] == parameters
    x = torch.randn(8, 20, generator=chance)
    dense: Any = nn.Sequential(net[0].to_dense(), nn.ReLU(), net[2].to_dense())
    net.zero_grad()
    net(x).square().mean().backward()
    dense(x).square().mean().backward()
    torch.testing.assert_close(net[0].weight_values.grad, dense[0].weight.grad.flatten()[net[0].pattern.flat_indices])


def test_a_loss_of_before_the_change_is_refused() -> None:
    net: Any = network()
    loss = net(torch.randn(8, 20)).sum()
    gs.magnitude_prune_(net, 0.05)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
