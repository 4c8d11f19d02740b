"""Averaged models follow the connections; averages by position across two patterns are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from gossamer import AveragedModel, InputError, Pattern, SparseConv2d, SparseLinear, align_
from gossamer.plasticity import SET, Rewire, magnitude_prune_

EMA: dict[str, Any] = {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)}
AVERAGES: dict[str, dict[str, Any]] = {
    "swa": {},
    "ema": EMA,
    "ema of each": {"avg_fn": swa_utils.get_ema_avg_fn(0.9)},
    "with buffers": {**EMA, "use_buffers": True},
    "of each, with buffers": {"avg_fn": swa_utils.get_ema_avg_fn(0.9), "use_buffers": True},
    "swa with buffers": {"use_buffers": True},
}


def build(seed: int = 0) -> nn.Sequential:
    g = torch.Generator().manual_seed(seed)
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 5)),
        SparseConv2d(1, 3, 2, density=0.5, generator=g),
        nn.BatchNorm2d(3),
        nn.Flatten(),
        SparseLinear(36, 12, density=0.2, generator=g),
        nn.Tanh(),
        SparseLinear(12, 4, density=0.5, generator=g),
    )


def sparse(net: nn.Module) -> dict[str, Any]:
    return {name: m for name, m in net.named_modules() if isinstance(m, SparseLinear | SparseConv2d)}


def dense(net: nn.Module) -> dict[str, Tensor]:
    return {name: layer.to_dense().weight.detach() for name, layer in sparse(net).items()}


def train(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(16, 20, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    net(x).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", AVERAGES)
def test_the_average_is_that_of_the_dense_weights_at_the_connections_of_now(name: str) -> None:
    net = build()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    average = AveragedModel(net, **AVERAGES[name])
    rewire = Rewire(net, optimizer, new_weights="he")
    oracle: dict[str, Tensor] = {}
    stayed = {name: weight != 0 for name, weight in dense(net).items()}
    for step in range(9):
        train(net, optimizer, step)
        average.update_parameters(net)
        now = dense(net)
        for layer, weight in now.items():
            kept = oracle.get(layer, weight)  # what dropped has left the average
            share = 1 / (step + 1) if "swa" in name else 0.1
            oracle[layer] = torch.where(weight != 0, torch.lerp(kept, weight, share), 0.0)
            stayed[layer] &= weight != 0
        for layer, weight in dense(average.module).items():
            torch.testing.assert_close(weight, oracle[layer])
            assert torch.equal(weight != 0, now[layer] != 0)
        if step % 2:
            rewire.step()
            average(torch.zeros(2, 20))  # between a rewiring and an update it is the average before
    assert all(0 < int(stayed[layer].sum()) < int((weight != 0).sum()) for layer, weight in dense(net).items())
    assert int(average.n_averaged) == 9


@pytest.mark.parametrize("name", ["swa", "ema"])
def test_after_thirty_epochs_the_average_is_as_good_as_the_network(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 20, generator=g)
    y = (x[:, 0] * x[:, 1] > 0).long() + 2 * (x[:, 2] > 0).long()
    net = nn.Sequential(
        SparseLinear(20, 100, density=0.2, generator=g), nn.ReLU(), SparseLinear(100, 4, density=0.5, generator=g)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    average, rewire = AveragedModel(net, **AVERAGES[name]), SET(net, optimizer)
    for epoch in range(30):
        for rows in range(0, 400, 50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows : rows + 50]), y[rows : rows + 50]).backward()
            optimizer.step()
            if name == "ema" or epoch >= 20:
                average.update_parameters(net)
        if epoch < 29:
            rewire.step()
    accuracy, averaged = (float((model(x).argmax(1) == y).float().mean()) for model in (net, average))
    assert accuracy > 0.98
    assert averaged >= accuracy - 0.01


def test_the_average_follows_pruning_and_loading() -> None:
    net = build()
    average = AveragedModel(net, **EMA)
    average.update_parameters(net)
    before = dense(average.module)
    magnitude_prune_(net, 0.1)
    average.update_parameters(net)
    for name, weight in dense(average.module).items():
        torch.testing.assert_close(weight, torch.where(dense(net)[name] != 0, before[name], 0.0))
    net.load_state_dict(build(1).state_dict())
    average.update_parameters(net)
    assert [la.nnz for la in sparse(average.module).values()] == [la.nnz for la in sparse(net).values()]


def test_an_average_can_be_saved_and_goes_on() -> None:
    net = build()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    average, rewire = AveragedModel(net, **EMA), Rewire(net, optimizer)
    for step in range(4):
        train(net, optimizer, step)
        average.update_parameters(net)
        rewire.step()
    twin = AveragedModel(build(1), **EMA)
    twin.load_state_dict(average.state_dict())
    for model in (average, twin, copy.deepcopy(average)):
        model.update_parameters(net)
    pairs = zip(average.state_dict().values(), twin.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_average_by_position_is_refused_when_it_is_used_or_saved(use_buffers: bool) -> None:
    net = build()
    average = swa_utils.AveragedModel(net, **EMA, use_buffers=use_buffers)
    snapshot, trained = copy.deepcopy(net), copy.deepcopy(net)
    for _ in range(2 - use_buffers):
        average.update_parameters(net)
    average(torch.zeros(2, 20))
    Rewire(net).step()
    average(torch.zeros(2, 20))
    average.update_parameters(net)
    with pytest.raises(InputError, match=r"gossamer\.AveragedModel"):
        average(torch.zeros(2, 20))
    with pytest.raises(InputError, match="overwritten in place"):
        average.state_dict()
    with pytest.raises(InputError, match="overwritten in place"):
        average.double()
    # other copies are as free as before
    snapshot(torch.zeros(2, 20))
    train(trained, torch.optim.SGD(trained.parameters(), lr=0.1), 0)
    trained.load_state_dict(net.state_dict())
    trained(torch.zeros(2, 20))
    params = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    torch.func.functional_call(snapshot, params, torch.zeros(2, 20))


def test_align_carries_by_connection_and_is_idempotent() -> None:
    def layer(positions: list[int], weights: list[float]) -> SparseLinear:
        made = SparseLinear(3, 2, pattern=Pattern.from_flat_indices(torch.tensor(positions), 2, 3))
        with torch.no_grad():
            made.weight_values.copy_(torch.tensor(weights))
        return made

    mine, other = layer([0, 2, 4], [1.0, 2.0, 3.0]), layer([1, 2, 4, 5], [9.0] * 4)
    optimizer = torch.optim.SGD(mine.parameters(), lr=0.1, momentum=0.9)
    optimizer.state[mine.weight_values]["momentum_buffer"] = torch.tensor([10.0, 20.0, 30.0])
    for _ in range(2):
        align_(mine, other, optimizer)
        assert mine.pattern.flat_indices.tolist() == [1, 2, 4, 5]
        assert mine.weight_values.tolist() == [0.0, 2.0, 3.0, 0.0]
        assert optimizer.state[mine.weight_values]["momentum_buffer"].tolist() == [0.0, 20.0, 30.0, 0.0]
    assert other.weight_values.tolist() == [9.0] * 4


def test_align_refuses_another_network() -> None:
    with pytest.raises(InputError, match="copy must have the sparse layers of net"):
        align_(nn.Sequential(SparseLinear(4, 3, 0.5)), nn.Sequential(SparseLinear(3, 4, 0.5)))
