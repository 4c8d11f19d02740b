"""Connections that dropped in one layer may be grown in another: their sum stays what it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gossamer import InputError, Pattern, SparseLinear
from gossamer.plasticity import Rewire, drop, grow
from gossamer.plasticity.redistribute import divide


@pytest.mark.parametrize(
    ("total", "weights", "most", "expected"),
    [
        (10, [1.0, 1.0], [9, 9], [5, 5]),
        (10, [3.0, 1.0], [9, 9], [8, 2]),  # 7.5 and 2.5: of equal remainders the first is rounded up
        (10, [3.0, 1.0], [6, 9], [6, 4]),
        (10, [1.0, 0.0], [6, 9], [6, 4]),  # who weighs nothing takes what nobody else can
        (4, [0.0, 0.0], [9, 9], [2, 2]),
        (7, [1.0, 1.0, 1.0], [1, 9, 9], [1, 3, 3]),
        (0, [1.0, 2.0], [0, 5], [0, 0]),
        (0, [], [], []),
    ],
)
def test_shares(total: int, weights: list[float], most: list[int], expected: list[int]) -> None:
    assert divide(total, weights, most) == expected


LAYERS = st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**9)), min_size=1, max_size=8)


@given(LAYERS, st.floats(0, 1))
def test_shares_add_up_and_fit(layers: list[tuple[float, int]], part: float) -> None:
    weights, most = [w for w, _ in layers], [m for _, m in layers]
    total = int(part * sum(most))
    counts = divide(total, weights, most)
    assert sum(counts) == total
    assert all(0 <= count <= limit for count, limit in zip(counts, most, strict=True))
    open_pairs = [(w, n) for (w, m), n in zip(layers, counts, strict=True) if n < m]
    for w, n in open_pairs:
        assert all(n <= other + 1 for v, other in open_pairs if w <= v)  # who weighs more gets no less


def net() -> nn.Sequential:
    g = torch.Generator().manual_seed(0)
    return nn.Sequential(
        SparseLinear(12, 10, density=0.3, generator=g), nn.Tanh(), SparseLinear(10, 8, density=0.5, generator=g)
    )


def trained(by: Any, **arguments: Any) -> tuple[nn.Sequential, torch.optim.Optimizer, Rewire]:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    rewire = Rewire(model, optimizer, redistribute=by, **arguments)
    step(model, optimizer)
    return model, optimizer, rewire


def step(model: nn.Module, optimizer: torch.optim.Optimizer, times: int = 3) -> None:
    g = torch.Generator().manual_seed(1)
    for _ in range(times):
        optimizer.zero_grad()
        model(torch.randn(16, 12, generator=g)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("by", ["magnitude", "gradient"])
@pytest.mark.parametrize("rule", [grow.uniform(), grow.gradient(), grow.cosine()])
def test_only_the_sum_of_links_is_kept(by: str, rule: grow.Grow) -> None:
    model, optimizer, rewire = trained(by, grow=rule)
    layers = list(rewire.layers.values())
    counts = [layer.nnz for layer in layers]
    for _ in range(5):
        step(model, optimizer)
        changes = rewire.step()
        assert sum(change.dropped.numel() for change in changes) == sum(change.grown.numel() for change in changes)
        assert [change.nnz for change in changes] == [layer.nnz for layer in layers]
        assert sum(layer.nnz for layer in layers) == sum(counts)
        assert all(
            optimizer.state[layer.weight_values]["exp_avg"].shape == layer.weight_values.shape for layer in layers
        )
    assert [layer.nnz for layer in layers] != counts


def test_new_links_go_where_weights_are_large() -> None:
    model = net()
    first, second = model[0], model[2]
    assert isinstance(first, SparseLinear)
    assert isinstance(second, SparseLinear)
    with torch.no_grad():
        first.weight_values.copy_(torch.linspace(1, 2, 36))
        second.weight_values.copy_(torch.linspace(10, 20, 40))
    rewire = Rewire(model, drop=drop.magnitude(0.25), redistribute="magnitude")
    changes = rewire.step()  # 9 and 10 are dropped; survivors have means 1.63 and 16.3: 19 are shared as 1 to 10
    assert [change.dropped.numel() for change in changes] == [9, 10]
    assert [change.grown.numel() for change in changes] == [2, 17]
    assert [change.dropped.numel() for change in rewire.final_prune()] == [int(0.25 * 29), int(0.25 * 47)]


def test_a_full_layer_takes_part_and_an_empty_one_keeps_a_link() -> None:
    full, weak = SparseLinear(4, 3, pattern=Pattern.from_mask(torch.ones(3, 4))), SparseLinear(3, 3, density=0.3)
    model = nn.Sequential(full, weak)
    with torch.no_grad():
        full.weight_values.copy_(torch.arange(1.0, 13.0))
        weak.weight_values.zero_()  # all of its three connections die
    rewire = Rewire(model, drop=drop.signed_magnitude(0.25), redistribute="magnitude")
    rewire.step()
    assert (full.nnz, weak.nnz) == (12, 3)  # what the full one can't take, the other gets
    with torch.no_grad():
        full.weight_values.copy_(torch.arange(1.0, 13.0))
        weak.weight_values.copy_(torch.tensor([1.0, 2.0, 3.0]))
    rewire = Rewire(model, drop=drop.magnitude(0.5), redistribute="gradient")
    with pytest.raises(InputError, match="has no gradient"):
        rewire.step()
    full.weight_values.grad, weak.weight_values.grad = torch.zeros(12), torch.ones(3)
    rewire.step()
    assert (full.nnz, weak.nnz) == (6, 9)  # six and one are dropped, and all seven go where the gradient is


def test_it_is_resumed_exactly() -> None:
    whole = trained("magnitude")
    whole[2].step()
    model, optimizer, rewire = trained("magnitude")
    states = [copy.deepcopy(part.state_dict()) for part in whole]
    model.load_state_dict(states[0])
    optimizer.load_state_dict(states[1])
    rewire.load_state_dict(states[2])
    for m, o, r in (whole, (model, optimizer, rewire)):
        step(m, o)
        r.step()
        step(m, o)
    for a, b in zip(whole[0].state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="redistribute must be one of 'magnitude', 'gradient'"):
        Rewire(net(), redistribute="loss")  # type: ignore[arg-type]
    wrapped = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = net()
    with pytest.raises(InputError, match="redistribute must be None"):
        Rewire(wrapped, redistribute="magnitude")
