"""The gradient of every weight that could exist, from a sparse pass, against dense layers with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, SparseLinear, SparseLinearReLU
from gossamer.kernels import Code
from gossamer.plasticity import LossGradient, Rewire, drop, grow
from gossamer.plasticity.evidence import PairScores
from gossamer.plasticity.gradient import GradientMemory
from gossamer.plasticity.layers import sparse_layers

F64 = torch.float64


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_net() -> nn.Sequential:
    g = seeded(0)
    return nn.Sequential(
        SparseLinear(6, 8, density=0.4, generator=g, dtype=F64),
        nn.Tanh(),
        SparseLinear(8, 8, density=0.4, generator=g, dtype=F64),
    )


def dense_twin(net: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*(m.to_dense() if isinstance(m, SparseLinear) else m for m in net))


def whole(pairs: PairScores) -> Tensor:
    return torch.cat([scores for _, scores in pairs.blocks()]).view(pairs.shape)


def loss(y: Tensor) -> Tensor:
    return (y - 1).square().mean()


def batch(seed: int, *shape: int) -> Tensor:
    return torch.randn(*(shape or (5,)), 6, generator=seeded(seed), dtype=F64)


def gradients(net: nn.Sequential, x: Tensor, forward: Callable[[nn.Sequential, Tensor], Tensor]) -> dict[str, Tensor]:
    twin = dense_twin(net)
    loss(forward(twin, x)).backward()
    found = {name: m.weight.grad for name, m in twin.named_modules() if isinstance(m, nn.Linear)}
    return {name: grad for name, grad in found.items() if grad is not None}


def measured(memory: GradientMemory, wanted: LossGradient) -> dict[str, Tensor]:
    return {name: whole(pairs) for name, pairs in memory.measure(memory.kept, wanted).items()}


def through(net: nn.Sequential, x: Tensor) -> Tensor:
    y: Tensor = net(x)
    return y


def twice(net: nn.Sequential, x: Tensor) -> Tensor:
    y: Tensor = net[2](net(x).tanh())
    return y


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_gradient_of_every_index(shape: tuple[int, ...]) -> None:
    net, x = small_net(), batch(0, *shape)
    memory = GradientMemory(net, sparse_layers(net), 1)
    loss(net(x)).backward()
    for name, expected in gradients(net, x, through).items():
        torch.testing.assert_close(measured(memory, LossGradient())[name], expected.abs())


def test_only_the_last_pass_counts() -> None:
    net = small_net()
    memory = GradientMemory(net, sparse_layers(net), 1)
    for seed in range(3):
        loss(net(batch(seed))).backward()
    with torch.no_grad():
        net(batch(9))  # neither does validation
    for name, expected in gradients(net, batch(2), through).items():
        torch.testing.assert_close(measured(memory, LossGradient())[name], expected.abs())


def test_all_calls_of_a_layer_in_one_pass_count() -> None:
    class Twice(nn.Module):
        def __init__(self, inner: nn.Sequential) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return twice(self.inner, x)

    inner, x = small_net(), batch(0)
    net = Twice(inner)
    memory = GradientMemory(net, sparse_layers(net), 1)
    loss(net(x)).backward()
    for name, expected in gradients(inner, x, twice).items():
        torch.testing.assert_close(measured(memory, LossGradient())[f"inner.{name}"], expected.abs())


def test_momentum_is_the_decaying_sum_of_the_last_gradients() -> None:
    net = small_net()
    memory = GradientMemory(net, sparse_layers(net), 3)
    for seed in range(5):
        loss(net(batch(seed))).backward()
    each = [gradients(net, batch(seed), through) for seed in range(5)]
    for name in each[0]:
        expected = (each[4][name] + 0.5 * each[3][name] + 0.25 * each[2][name]).abs()
        torch.testing.assert_close(measured(memory, LossGradient(3, 0.5))[name], expected)
        torch.testing.assert_close(measured(memory, LossGradient())[name], each[4][name].abs())


def test_rigl_grows_where_the_dense_gradient_is_largest() -> None:
    net, x = small_net(), batch(0)
    rewire = Rewire(net, drop=drop.magnitude(0.3), grow=grow.gradient())
    loss(net(x)).backward()
    dense = {name: grad.abs().flatten() for name, grad in gradients(net, x, through).items()}
    changes = rewire.step()
    assert len(changes) == 2
    for change in changes:
        after = net.get_submodule(change.layer)
        assert isinstance(after, SparseLinear)
        kept = sorted(set(after.pattern.flat_indices.tolist()) - set(change.grown.tolist()))
        empty = torch.ones(dense[change.layer].shape, dtype=torch.bool)
        empty[kept] = False
        ranked = dense[change.layer].masked_fill(~empty, -1).topk(change.grown.numel()).indices.sort().values
        assert change.grown.tolist() == ranked.tolist()


def test_every_step_wants_a_new_gradient() -> None:
    net = small_net()
    rewire = Rewire(net, drop=drop.magnitude(0.3), grow=grow.gradient())
    with pytest.raises(InputError, match="layer '0' has no gradient yet"):
        rewire.step()
    loss(net(batch(0))).backward()
    rewire.step()
    with pytest.raises(InputError, match="has no gradient yet"):
        rewire.step()
    rewire.remove_hooks()
    loss(net(batch(0))).backward()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    with pytest.raises(InputError, match="has no gradient yet"):
        rewire.step()


def test_gradients_must_be_finite() -> None:
    net = small_net()
    rewire = Rewire(net, drop=drop.magnitude(0.3), grow=grow.gradient())
    (loss(net(batch(0))) * float("inf")).backward()
    with pytest.raises(InputError, match="gradients of layer '0' must be finite"):
        rewire.step()


def test_a_saved_momentum_goes_on() -> None:
    nets = [small_net() for _ in range(2)]
    rewires = [Rewire(net, drop=drop.magnitude(0.3), grow=grow.momentum(0.9, 4)) for net in nets]
    for seed in range(3):
        loss(nets[0](batch(seed))).backward()
    rewires[1].load_state_dict(rewires[0].state_dict())
    for net, rewire in zip(nets, rewires, strict=True):
        loss(net(batch(3))).backward()
        rewire.step()
    assert [c.pattern.flat_indices.tolist() for c in rewires[0].layers.values()] == [
        c.pattern.flat_indices.tolist() for c in rewires[1].layers.values()
    ]


def test_gradient_of_a_layer_that_reads_a_code() -> None:
    layer, x = SparseLinear(6, 4, density=0.5, generator=seeded(0), dtype=F64), batch(0).relu()
    memory = GradientMemory(layer, {"": layer}, 1)
    loss(layer(Code.pack(x))).backward()
    twin = layer.to_dense()
    loss(twin(x)).backward()
    assert twin.weight.grad is not None
    torch.testing.assert_close(measured(memory, LossGradient())[""], twin.weight.grad.abs())


def test_gradient_of_a_layer_with_its_own_relu() -> None:
    layer, x = SparseLinearReLU(6, 4, density=0.5, generator=seeded(0), dtype=F64), batch(0)
    memory = GradientMemory(layer, {"": layer}, 1)
    loss(layer(x=x)).backward()
    twin = layer.to_dense()
    loss(twin(x).relu()).backward()
    assert twin.weight.grad is not None
    torch.testing.assert_close(measured(memory, LossGradient())[""], twin.weight.grad.abs())
