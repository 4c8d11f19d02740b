"""Pruning: the count shrinks to what was asked, weights and optimizer state with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer import InputError, Pattern, SparseLinear
from gossamer.plasticity import GradualMagnitudePruning, Rewire, importance_prune_, magnitude_prune_


def full(weights: list[list[float]]) -> SparseLinear:
    rows, cols = len(weights), len(weights[0])
    layer = SparseLinear(cols, rows, pattern=Pattern.from_flat_indices(torch.arange(rows * cols), rows, cols))
    with torch.no_grad():
        layer.weight_values.copy_(torch.tensor(weights).flatten())
    return layer


def two_layers() -> nn.Sequential:
    return nn.Sequential(full([[1.0, -2.0], [3.0, -4.0], [0.0, 0.5]]), full([[0.1, 0.2, 0.3], [0.4, 5.0, 6.0]]))


def test_magnitude_pruning_of_each_layer() -> None:
    net = two_layers()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    first, second = net[0], net[1]
    assert isinstance(first, SparseLinear)
    assert isinstance(second, SparseLinear)
    optimizer.state[first.weight_values]["momentum_buffer"] = torch.arange(6.0)
    changes = magnitude_prune_(net, 0.5, optimizer)
    assert first.weight_values.tolist() == [-2.0, 3.0, -4.0]
    assert second.pattern.flat_indices.tolist() == [3, 4, 5]
    assert optimizer.state[first.weight_values]["momentum_buffer"].tolist() == [1.0, 2.0, 3.0]
    assert [(c.layer, c.nnz, c.dropped.tolist(), c.grown.tolist()) for c in changes] == [
        ("0", 3, [0, 4, 5], []),
        ("1", 3, [0, 1, 2], []),
    ]
    assert changes[0].core_degrees.tolist() == [1, 2]
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert [c.dropped.numel() for c in magnitude_prune_(net, 0.9, optimizer)] == [0, 0]


def test_magnitude_pruning_with_one_threshold_for_all() -> None:
    net = two_layers()
    magnitude_prune_(net, 0.5, scope="net")
    first, second = net[0], net[1]
    assert isinstance(first, SparseLinear)
    assert isinstance(second, SparseLinear)
    assert first.weight_values.tolist() == [1.0, -2.0, 3.0, -4.0]
    assert second.weight_values.tolist() == [5.0, 6.0]


def test_unimportant_units_lose_their_connections() -> None:
    layer = full([[1.0, 1.0], [3.0, -3.0], [0.5, 0.0], [2.0, 2.0], [-5.0, 5.0]])  # importances 2 6 .5 4 10
    net = nn.Sequential(layer, full([[1.0] * 5]))
    importance_prune_(net, 0.25)  # the quantile is 2
    assert layer.pattern.fan_in.tolist() == [0, 2, 0, 2, 2]
    importance_prune_(net, 0.25)  # unconnected units count: again the two
    assert layer.pattern.fan_in.tolist() == [0, 2, 0, 2, 2]
    importance_prune_(net, 0.6)  # between 4 and 6, importances 0 0 4 6 10
    assert layer.pattern.fan_in.tolist() == [0, 2, 0, 0, 2]
    importance_prune_(net, 1.0)
    assert layer.pattern.fan_in.tolist() == [0, 0, 0, 0, 2]
    assert magnitude_prune_(net, 1.0)[1].nnz == 5  # the last layer was left alone


def test_rewiring_keeps_the_count_that_pruning_has_left() -> None:
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(SparseLinear(10, 20, density=0.3, generator=g), SparseLinear(20, 3, density=0.5, generator=g))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(4, 10)).sum().backward()
    optimizer.step()
    rewire = Rewire(net, optimizer)
    rewire.step()
    left = importance_prune_(net, 0.2, optimizer)[0].nnz
    assert left < 60
    assert rewire.step()[0].nnz == left


def test_gradual_pruning_follows_the_cubic_curve() -> None:
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(SparseLinear(20, 20, density=1.0, generator=g), SparseLinear(20, 10, density=0.05, generator=g))
    pruning = GradualMagnitudePruning(net, density=0.1, steps=4)
    counts = []
    for _ in range(6):
        state = pruning.state_dict()
        pruning = GradualMagnitudePruning(net, density=0.1, steps=4)  # as if resumed
        pruning.load_state_dict(state)
        counts.append([change.nnz for change in pruning.step()])
    expected = [round(400 * (0.1 + 0.9 * (1 - t / 4) ** 3)) for t in (1, 2, 3, 4, 4, 4)]
    assert counts == [[n, 10] for n in expected]


def test_mistakes_are_named() -> None:
    net = two_layers()
    with pytest.raises(InputError, match="density"):
        magnitude_prune_(net, 0.0)
    with pytest.raises(InputError, match="scope must be one of"):
        magnitude_prune_(net, 0.5, scope="all")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one sparse layer only"):
        importance_prune_(net[0])
    with pytest.raises(InputError, match="optimizer must hold"):
        magnitude_prune_(net, 0.5, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1))
    with torch.no_grad():
        next(net.parameters())[0] = float("nan")
    with pytest.raises(InputError, match="'0' must be numbers, got NaN"):
        magnitude_prune_(net, 0.5)
    with pytest.raises(InputError, match="fraction"):
        importance_prune_(net, 1.5)


def test_gradual_pruning_of_all_layers_by_one_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    weak = SparseLinear(20, 20, density=1.0, generator=generator)
    strong = SparseLinear(20, 10, density=0.5, generator=generator)
    net = nn.Sequential(weak, strong)
    with torch.no_grad():
        weak.weight_values.mul_(0.1)
    pruning = GradualMagnitudePruning(net, density=0.1, steps=3, scope="net")
    start = 500 / 600
    for t in range(1, 5):
        pruning.step()
        density = 0.1 + (start - 0.1) * (1 - min(t, 3) / 3) ** 3
        assert weak.nnz + strong.nnz == round(600 * density)
    assert weak.nnz < strong.nnz  # it has lost more
    with pytest.raises(InputError, match="scope must be one of 'layer', 'net', got 'all'"):
        GradualMagnitudePruning(net, density=0.1, steps=3, scope="all")  # type: ignore[arg-type]
