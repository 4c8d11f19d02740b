"""The feature-major dense layer is `nn.Linear`, in another order of memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer.connectivity import FeatureMajorLinear
from gossamer.kernels import Code


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("feature_major", [True, False])
def test_same_function_and_gradients_as_linear(bias: bool, feature_major: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = FeatureMajorLinear(7, 4, bias=bias, dtype=torch.float64)
    dense = nn.Linear(7, 4, bias=bias, dtype=torch.float64)
    dense.load_state_dict(layer.state_dict())
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64).t()
    x = (x if feature_major else x.contiguous()).requires_grad_()
    twin = x.detach().clone().requires_grad_()
    y, expected = layer(x), dense(twin)
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    for mine, theirs in zip(layer.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_keeps_the_layout_of_sparse_layers() -> None:
    net = nn.Sequential(gs.SparseLinear(6, 8, density=0.5), FeatureMajorLinear(8, 3))
    assert net(torch.randn(4, 6)).stride() == (1, 4)


def test_more_dimensions_and_one_sample() -> None:
    layer = FeatureMajorLinear(6, 3)
    assert layer(torch.randn(2, 5, 6)).shape == (2, 5, 3)
    assert layer(torch.randn(6)).shape == (3,)


def test_takes_a_code() -> None:
    layer = FeatureMajorLinear(6, 3)
    x = torch.tensor([[0.0, 2.0, 0.0, 0.0, -1.0, 0.0]])
    torch.testing.assert_close(layer(Code.pack(x)), layer(x))
    with pytest.raises(gs.InputError, match="a code of 6 units, got one of 5"):
        layer(Code(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int32), 5))


def test_an_in_place_function_may_follow_a_sparse_layer() -> None:
    net = nn.Sequential(gs.SparseLinear(6, 8, density=0.5), nn.ReLU(inplace=True), gs.SparseLinear(8, 3, density=0.5))
    plain = nn.Sequential(net[0], nn.ReLU(), net[2])
    x = torch.randn(4, 6)
    net(x).sum().backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    net.zero_grad(set_to_none=True)
    plain(x).sum().backward()
    for mine, theirs in zip(gradients, (parameter.grad for parameter in plain.parameters()), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [0, 1, 5, 16, 37])
def test_a_folded_relu_is_a_relu(dtype: torch.dtype, batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pattern = gs.Pattern.erdos_renyi(9, 12, 0.4, generator)
    folded = gs.SparseLinearReLU(12, 9, pattern=pattern, dtype=dtype)
    plain = gs.SparseLinear(12, 9, pattern=pattern, dtype=dtype)
    plain.load_state_dict(folded.state_dict())
    x = torch.randn(batch, 12, generator=generator).to(dtype)
    outputs, gradients = [], []
    for net in (folded, nn.Sequential(plain, nn.ReLU())):
        source = x.clone().requires_grad_()
        y = net(source)
        y.sum().backward()
        outputs.append(y)
        gradients.append([source.grad, *(parameter.grad for parameter in net.parameters())])
    torch.testing.assert_close(outputs[0], outputs[1])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_folded_relu_compiles_and_differentiates_twice() -> None:
    net = gs.SparseLinearReLU(12, 9, density=0.4, dtype=torch.float64)
    x = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))
    assert torch.autograd.gradgradcheck(net, (x,))
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), net(x))
    expected = torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()])
    for mine, theirs in zip(
        torch.autograd.grad(compiled(x).square().sum(), [x, *net.parameters()]), expected, strict=True
    ):
        torch.testing.assert_close(mine, theirs)
