"""Which optimizers can follow a rewiring, where their state is found, and what is refused."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import parametrize

from gossamer import InputError, SparseLinear
from gossamer.plasticity import Rewire, magnitude_prune_
from gossamer.plasticity.optimizers import check_held, optimizers_in


def build() -> nn.Sequential:
    g = torch.Generator().manual_seed(0)
    return nn.Sequential(
        SparseLinear(12, 10, density=0.3, generator=g), nn.Tanh(), SparseLinear(10, 4, density=0.5, generator=g)
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 2) -> None:
    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = net(torch.ones(4, 12)).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)  # type: ignore[arg-type]


class Lookahead(torch.optim.Optimizer):
    """Slow weights of its own beside the optimizer that it wraps (Zhang et al. 2019)."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.fast, self.param_groups = inner, inner.param_groups
        self.state = defaultdict(dict)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.fast.step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                slow = self.state[p].setdefault("slow", p.detach().clone())
                slow.lerp_(p.detach(), 0.5)
                p.data.copy_(slow)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.fast.zero_grad(set_to_none)


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this build of torch has no gloo")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def assert_follows(net: nn.Module, optimizer: torch.optim.Optimizer, keys: set[str]) -> None:
    """Every state tensor follows the connections through a rewiring."""
    train(net, optimizer)
    rewire = Rewire(net, optimizer)
    holders = [holder.state for holder in optimizers_in(optimizer)]
    before = {
        (name, key): (layer.pattern.flat_indices, value.clone())
        for name, layer in rewire.layers.items()
        for state in holders
        for key, value in state.get(layer.weight_values, {}).items()
        if isinstance(value, torch.Tensor) and value.dim()
    }
    assert {key for _, key in before} == keys
    changes = {change.layer: change for change in rewire.step()}
    for (name, key), (indices, old) in before.items():
        layer, grown = rewire.layers[name], changes[name].grown.tolist()
        was = dict(zip(indices.tolist(), old.tolist(), strict=True))
        now = next(state[layer.weight_values][key] for state in holders if key in state.get(layer.weight_values, {}))
        for index, number in zip(layer.pattern.flat_indices.tolist(), now.tolist(), strict=True):
            assert number == (0.0 if index in grown else was[index])
    train(net, optimizer)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of that module itself
def test_zero_redundancy_is_followed(one_rank: None) -> None:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    net = build()
    optimizer = ZeroRedundancyOptimizer(net.parameters(), torch.optim.Adam, lr=0.01)
    assert_follows(net, optimizer, {"exp_avg", "exp_avg_sq"})


def test_lookahead_is_followed_with_its_own_state() -> None:
    net = build()
    optimizer = Lookahead(torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
    assert_follows(net, optimizer, {"momentum_buffer", "slow"})
    Rewire(net, optimizer, reset_state=True).step()
    assert not optimizer.state
    assert not optimizer.fast.state


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_local_sgd_is_followed_once(one_rank: None) -> None:
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
    from torch.distributed.optim import PostLocalSGDOptimizer

    class Averager(PeriodicModelAverager):
        def average_parameters(self, params: Any) -> None:
            pass

    net = build()
    inner = torch.optim.Adam(net.parameters(), lr=0.01)
    optimizer = PostLocalSGDOptimizer(inner, Averager(period=4, process_group=dist.group.WORLD))
    train(net, inner)
    before = inner.state[net[0].weight_values]["exp_avg"]  # type: ignore[index]
    reference = before.clone()
    Rewire(net, optimizer).step()
    assert inner.state[net[0].weight_values]["exp_avg"] is before  # type: ignore[index]
    assert 0 < int((before == 0).sum()) < before.numel()
    assert set(before[before != 0].tolist()) <= set(reference.tolist())


def test_optimizers_in_a_list_and_in_a_circle() -> None:
    net = build()
    first, second = torch.optim.SGD(net.parameters(), lr=0.1), torch.optim.Adam(net.parameters())
    first.parts = [second]  # type: ignore[attr-defined]
    second.owner = first  # type: ignore[attr-defined]
    assert list(optimizers_in(first)) == [first, second]


def test_state_that_cannot_follow_is_refused_and_changes_nothing() -> None:
    net = build()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    train(net, optimizer)
    last = net.get_parameter("2.weight_values")
    for odd in (torch.ones(3), torch.ones(2, 2), [torch.ones(20)], {"blocks": torch.ones(2)}):
        optimizer.state[last]["odd"] = odd
        before = copy.deepcopy(net.state_dict())
        changes: tuple[Callable[[], object], ...] = (
            Rewire(net, optimizer).step,
            lambda: magnitude_prune_(net, 0.1, optimizer),
        )
        for change in changes:
            with pytest.raises(InputError, match=r"layer '2'.* in its state 'odd'.*SGD"):
                change()
        assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    Rewire(net, optimizer, reset_state=True).step()
    train(net, optimizer)


def test_lbfgs_is_refused_or_begins_anew() -> None:
    net = build()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1)
    train(net, optimizer)
    with pytest.raises(InputError, match="got LBFGS, whose history"):
        Rewire(net, optimizer)
    with pytest.raises(InputError, match="got LBFGS"):
        Rewire(net, optimizer, reset_state=True, redistribute="magnitude")
    with pytest.raises(InputError, match="got LBFGS"):
        magnitude_prune_(net, 0.1, optimizer)
    Rewire(net, optimizer, reset_state=True).step()
    train(net, optimizer)


def test_an_optimizer_of_a_copy_is_refused() -> None:
    net = build()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(InputError, match=r"lacks '0'.*a copy has others"):
        Rewire(copy.deepcopy(net), optimizer)
    with pytest.raises(InputError, match="lacks 'body'"):
        check_held(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1), [("body", SparseLinear(2, 2, 0.5))])


def test_parametrized_weights_are_refused() -> None:
    net = build()
    parametrize.register_parametrization(net[2], "weight_values", nn.Identity())
    for refused in (Rewire, lambda net: magnitude_prune_(net, 0.1)):
        with pytest.raises(InputError, match=r"weight_values of layer '2' .*remove_parametrizations"):
            refused(net)
    Rewire(net, where=lambda name, layer: name == "0").step()


@pytest.mark.filterwarnings("ignore")
def test_sharded_weights_are_refused_by_name(one_rank: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net = build()
    fully_shard(net, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(InputError, match=r"got DTensor: .*DistributedDataParallel"):
        Rewire(net, torch.optim.SGD(net.parameters(), lr=0.1))


def test_gradients_of_changed_layers_are_dropped_and_hooks_stay() -> None:
    net = build()
    seen: list[int] = []
    for name in ("0.weight_values", "2.weight_values"):
        net.get_parameter(name).register_hook(lambda grad: seen.append(grad.numel()))
    net(torch.ones(4, 12)).sum().backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.1)
    Rewire(net).step()
    assert [p.grad is None for p in net.parameters()] == [True, False, True, False]
    net(torch.ones(4, 12)).sum().backward()
    assert len(seen) == 4
    assert float(nn.utils.clip_grad_norm_(net.parameters(), 0.1)) > 0


@pytest.mark.parametrize("make", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_state_of_another_length_is_refused_with_the_layers_name(make: Any) -> None:
    net, sparser = build(), build()
    optimizer = make(net.parameters())
    train(net, optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    whole = copy.deepcopy(net.state_dict())
    magnitude_prune_(sparser, 0.2)
    net.load_state_dict(sparser.state_dict())
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(InputError, match=r"20 connections of layer '2'|24 connections of layer '0'"):
        train(net, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True))
    net.load_state_dict(whole)
    optimizer.load_state_dict(saved)
    train(net, optimizer)
    optimizer.state.clear()
    net.load_state_dict(sparser.state_dict())
    train(net, optimizer)
    magnitude_prune_(net, 0.1, optimizer)
    train(net, optimizer)


def test_a_rewirings_state_is_loaded_for_its_own_layers_only() -> None:
    state = Rewire(build()).state_dict()
    with pytest.raises(InputError, match="state must be that of a network with the layers"):
        Rewire(nn.Sequential(SparseLinear(12, 9, density=0.3))).load_state_dict(state)
    with pytest.raises(InputError, match="state must be that of a network"):
        Rewire(build(), where=lambda name, layer: name == "0").load_state_dict(state)
