from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gossamer import Hoyer, InputError, MeanThreshold, QuantileThreshold, SparseLinear, TopK
from gossamer.evaluate.attacks import has_gates, straight_through


def gradient(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = net(x)
    return y.detach(), torch.autograd.grad(y.sum(), x)[0]


@pytest.mark.parametrize("gate", [QuantileThreshold(0.5), MeanThreshold()])
def test_gradients_pass_thresholds(gate: nn.Module, generator: torch.Generator) -> None:
    net, x = nn.Sequential(nn.ReLU(), gate), torch.randn(2, 3, 4, 4, generator=generator)
    plain, hidden = gradient(net, x)
    with straight_through(net):
        values, passed = gradient(net, x)
    assert torch.equal(values, plain)
    assert torch.equal(passed, (x > 0).float())
    assert hidden.sum() < passed.sum()
    assert torch.equal(gradient(net, x)[1], hidden)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_pass_winners_before_a_sparse_layer(packed: bool, generator: torch.Generator) -> None:
    gate, layer = TopK(2, packed=packed), SparseLinear(8, 3, density=0.5, generator=generator)
    net, x = nn.Sequential(gate, layer).eval(), torch.randn(4, 8, generator=generator)
    plain, hidden = gradient(net, x)
    with straight_through(net):
        values, passed = gradient(net, x)
    torch.testing.assert_close(values, plain)
    torch.testing.assert_close(passed, layer.to_dense().weight.sum(0).expand(4, 8))
    assert not torch.allclose(passed, hidden)
    assert torch.equal(gradient(net, x)[1], hidden)


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.round()


def test_gradients_pass_named_layers() -> None:
    net, x = nn.Sequential(Rounded()), torch.tensor([[0.4, 1.6]])
    with straight_through(net, layers=(Rounded,)):
        values, passed = gradient(net, x)
    assert values.tolist() == [[0, 2]]
    assert passed.tolist() == [[1, 1]]
    assert gradient(net, x)[1].tolist() == [[0, 0]]


def test_a_layer_of_another_shape() -> None:
    net = nn.Sequential(nn.Linear(2, 3))
    with straight_through(net, layers=(nn.Linear,)), pytest.raises(InputError, match="Linear with"):
        net(torch.ones(1, 2))
    assert net(torch.ones(1, 2)).shape == (1, 3)


def test_it_is_restored_after_an_error() -> None:
    net = nn.Sequential(QuantileThreshold(0.5), TopK(1))

    def fail() -> None:
        with straight_through(net):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert net[0].gate == "hard"
    assert not net[1]._forward_hooks


def test_networks_with_gates() -> None:
    assert has_gates(nn.Sequential(nn.Sequential(TopK(1))))
    assert has_gates(MeanThreshold())
    assert not has_gates(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), Hoyer(0.5)))
