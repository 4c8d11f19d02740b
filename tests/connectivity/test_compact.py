"""Dense layers with zeros become sparse ones that are the same function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseConv2d, SparseLinear, compact_, constraints

pytestmark = pytest.mark.usefixtures("one_thread")


def weight_of(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer.weight


def network(generator: torch.Generator) -> nn.Sequential:
    """Live shares 1/4, 1/3 and 1."""
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Flatten(), nn.ReLU(), nn.Linear(96, 30), nn.ReLU(), nn.Linear(30, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 5)
        weight_of(net[0]).mul_(torch.rand(weight_of(net[0]).shape, generator=generator) < 0.25)
        constraints.L0(32).project_(weight_of(net[3]))
    return net


def test_the_function_stays_the_same(generator: torch.Generator) -> None:
    net = network(generator)
    x = torch.randn(5, 2, 6, 6, generator=generator)
    y, live = net(x), int((weight_of(net[3]) != 0).sum())
    assert compact_(net) is net
    assert [type(layer) for layer in (net[0], net[3], net[5])] == [SparseConv2d, SparseLinear, nn.Linear]
    assert net[3].nnz == live == 30 * 32
    torch.testing.assert_close(net(x), y)


def test_dense_layers_stay_dense(generator: torch.Generator) -> None:
    net = network(generator)
    before = list(net)
    assert list(compact_(net, max_density=0.01)) == before
    compact_(net, max_density=0.3)
    assert isinstance(net[0], SparseConv2d)
    assert list(net)[1:] == before[1:]
    compact_(net, max_density=1.0, where=lambda name, _: name == "5")
    assert isinstance(net[5], SparseLinear)
    assert net[5].density == 1
    assert net[3] is before[3]


def test_a_layer_of_zeros_stores_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    nn.init.zeros_(weight_of(net[0]))
    compact_(net)
    assert net[0].nnz == 0
    assert net(torch.ones(1, 4)).flatten().tolist() == list(net[0].bias)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01), lambda p: torch.optim.Adam(p, 0.01)]
)
def test_the_optimizer_goes_on_with_the_weights_that_stay(
    make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer], generator: torch.Generator
) -> None:
    net = network(generator)
    twin = copy.deepcopy(net)  # stays dense, its zeros masked
    masks = {name: p != 0 for name, p in twin.named_parameters()}
    optimizers = make(net.parameters()), make(twin.parameters())
    for step, x in enumerate(torch.randn(6, 8, 2, 6, 6, generator=generator)):
        if step == 3:
            compact_(net, optimizer=optimizers[0])
            held = {id(p) for group in optimizers[0].param_groups for p in group["params"]}
            assert held == {id(p) for p in net.parameters()} == {id(p) for p in optimizers[0].state}
        for model, optimizer in zip((net, twin), optimizers, strict=True):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is not None and name in masks:
                    parameter.grad *= masks[name]
            optimizer.step()
    for i in (0, 3):
        layer = net[i]
        assert isinstance(layer, SparseConv2d | SparseLinear)
        torch.testing.assert_close(layer.to_dense().weight, weight_of(twin[i]))
        torch.testing.assert_close(layer.bias, twin[i].bias)


def test_what_cannot_be_replaced_is_refused() -> None:
    with pytest.raises(InputError, match=r"use SparseLinear.from_dense"):
        compact_(nn.Linear(4, 4))
    with pytest.raises(InputError, match="no layer to make sparse"):
        compact_(nn.Sequential(nn.ReLU()))
    with pytest.raises(InputError, match=r"max_density must be in \(0, 1\]"):
        compact_(nn.Sequential(nn.Linear(4, 4)), max_density=0)
