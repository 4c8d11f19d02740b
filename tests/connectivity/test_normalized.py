"""What a layer of unit-norm filters answers depends on their direction alone."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.activation.hebbian import hebbian_cost
from gossamer.connectivity.normalized import (
    NormalizedConv2d,
    NormalizedLinear,
    NormalizedSparseConv2d,
    unit_filters,
)
from gossamer.connectivity.pattern import Pattern
from gossamer.errors import InputError
from gossamer.plasticity import Rewire, drop, grow

pytestmark = pytest.mark.usefixtures("one_thread")


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def conv(into: int, out: int, kernel: Any, seed: int = 0, **options: Any) -> NormalizedConv2d:
    torch.manual_seed(seed)
    return NormalizedConv2d(into, out, kernel, **options)


def test_literal_filters() -> None:
    weight = torch.tensor([[3.0, -4], [0, 0], [0, 2]], dtype=torch.float64)
    expected = [[0.6, -0.8], [0, 0], [0, 1]]
    torch.testing.assert_close(unit_filters(weight), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_it_is_the_convolution_over_the_norm() -> None:
    layer, x = conv(3, 5, 3, padding=1), numbers(2, 3, 6, 6)
    norms = layer.weight.square().sum((1, 2, 3)).sqrt()
    expected = F.conv2d(x, layer.weight, padding=1) / (norms + 1e-6)[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    assert layer.bias is None
    linear = NormalizedLinear(4, 3)
    x = numbers(2, 4)
    torch.testing.assert_close(linear(x), x @ linear.weight.t() / (linear.weight.norm(dim=1) + 1e-6))


def test_every_option_of_a_convolution_works() -> None:
    options: dict[str, Any] = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "padding_mode": "circular"}
    layer, dense = conv(4, 6, (3, 2), bias=True, **options), nn.Conv2d(4, 6, (3, 2), **options)
    with torch.no_grad():
        dense.weight.copy_(unit_filters(layer.weight))
        assert layer.bias is not None
        assert dense.bias is not None
        dense.bias.copy_(layer.bias)
    x = numbers(2, 4, 9, 8)
    assert torch.equal(layer(x), dense(x))
    with_bias = NormalizedLinear(3, 2, bias=True)
    assert with_bias.bias is not None
    torch.testing.assert_close(with_bias(torch.zeros(1, 3))[0], with_bias.bias)


def test_in_single_precision_a_longer_filter_answers_the_same() -> None:
    layer, x = conv(16, 32, 3, padding=1), numbers(4, 16, 16, 16)
    u = layer(x).detach()
    with torch.no_grad():
        layer.weight.mul_(7.3)
        assert (layer(x) - u).abs().max() <= 1e-5
        layer.weight.mul_(-1)
        assert (layer(x) + u).abs().max() <= 1e-5


@given(st.integers(0, 1000), st.floats(0.1, 1e6), st.permutations(range(4)))
def test_scale_and_order_of_filters(seed: int, scale: float, order: list[int]) -> None:
    weight = numbers(4, 3, 2, 2, seed=seed, dtype=torch.float64)
    torch.testing.assert_close(unit_filters(scale * weight), unit_filters(weight), rtol=2e-5, atol=0)
    torch.testing.assert_close(unit_filters(-scale * weight), -unit_filters(weight), rtol=2e-5, atol=0)
    assert torch.equal(unit_filters(weight[order]), unit_filters(weight)[order])
    assert (unit_filters(weight).flatten(1).norm(dim=1) <= 1).all()


def test_gradients_are_orthogonal_to_filters() -> None:
    layer = conv(8, 16, 3, padding=1)
    hebbian_cost(layer(numbers(4, 8, 8, 8))).backward()
    assert layer.weight.grad is not None
    cosine = F.cosine_similarity(layer.weight.grad.flatten(1), layer.weight.flatten(1))
    assert cosine.abs().max() <= 1e-5
    assert layer.weight.grad.flatten(1).norm(dim=1).min() > 0
    before = layer.weight.flatten(1).norm(dim=1)
    torch.optim.SGD(layer.parameters(), lr=1.0).step()
    assert (layer.weight.flatten(1).norm(dim=1) > before).all()


def test_derivatives() -> None:
    weight = numbers(3, 2, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(unit_filters, (weight,))
    assert torch.autograd.gradgradcheck(unit_filters, (weight,))


def test_a_zero_filter_answers_zero_with_finite_gradients() -> None:
    layer, x = conv(3, 4, 3), numbers(2, 3, 6, 6).requires_grad_()
    with torch.no_grad():
        layer.weight[1] = 0
    u = layer(x)
    assert (u[:, 1] == 0).all()
    assert (u[:, 0] != 0).all()
    u.square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
    grad = torch.autograd.grad(layer(x).sum(), layer.weight)[0]
    assert grad.isfinite().all()
    expected = torch.autograd.grad(F.conv2d(x, weight := torch.zeros(1, 3, 3, 3, requires_grad=True)).sum(), weight)[0]
    torch.testing.assert_close(grad[1], expected[0] / 1e-6)


def test_nan_spoils_its_own_filter_alone() -> None:
    weight = numbers(3, 4)
    weight[1, 2] = math.nan
    assert unit_filters(weight).isnan().all(1).tolist() == [False, True, False]
    assert torch.equal(unit_filters(weight)[[0, 2]], unit_filters(weight[[0, 2]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_normalised_in_single_precision(dtype: torch.dtype) -> None:
    weight = (300 * numbers(4, 64, 3, 3)).to(dtype)  # in float16 the squares would overflow
    directions = unit_filters(weight)
    assert directions.dtype == dtype
    assert torch.equal(directions, unit_filters(weight.float()).to(dtype))


def test_under_autocast_products_are_of_the_half_type() -> None:
    layer, x = conv(3, 4, 3), numbers(2, 3, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        u = layer(x)
    assert u.dtype == torch.bfloat16
    torch.testing.assert_close(u.float(), layer(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("weight", [torch.ones(3), torch.ones(2, 3).long(), torch.tensor(1.0)])
def test_wrong_weights(weight: Tensor) -> None:
    with pytest.raises(InputError, match="weight must be floating point of shape"):
        unit_filters(weight)


def test_empty_batches_and_layers_without_outputs() -> None:
    assert conv(3, 4, 3)(torch.ones(0, 3, 5, 5)).shape == (0, 4, 3, 3)
    assert unit_filters(torch.ones(0, 3)).shape == (0, 3)


def test_it_is_stored_and_made_as_a_dense_layer_is() -> None:
    layer = conv(3, 4, 3, seed=5)
    torch.manual_seed(5)
    dense = nn.Conv2d(3, 4, 3, bias=False)
    assert torch.equal(layer.weight, dense.weight)
    assert layer.state_dict().keys() == dense.state_dict().keys()
    x = numbers(2, 3, 5, 5)
    other = conv(3, 4, 3, seed=6)
    other.load_state_dict(copy.deepcopy(layer).state_dict())
    assert torch.equal(other(x), layer(x))
    torch.save(layer, buffer := io.BytesIO())
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(x), layer(x))


def test_compiles_without_a_break() -> None:
    for layer, x in ((conv(3, 4, 3), numbers(2, 3, 5, 5)), (NormalizedLinear(5, 3), numbers(2, 5))):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x))


# ---- sparse filters ------------------------------------------------------------------------------------------------


def sparse(into: int = 3, out: int = 6, density: float = 0.4, **options: Any) -> NormalizedSparseConv2d:
    generator = torch.Generator().manual_seed(0)
    arguments: dict[str, Any] = {"padding": 1, "bias": False} | options
    return NormalizedSparseConv2d(into, out, 3, density=density, generator=generator, **arguments)


@pytest.mark.parametrize("options", [{}, {"bias": True}, {"stride": 2, "groups": 3}])
def test_sparse_filters_are_normalised_over_their_connections(options: dict[str, Any]) -> None:
    layer, x = sparse(**options), numbers(2, 3, 6, 6)
    dense = layer.to_dense()
    assert type(dense) is NormalizedConv2d
    torch.testing.assert_close(layer(x), dense(x))
    again = NormalizedSparseConv2d.from_dense(dense)
    assert torch.equal(again.weight_values, layer.weight_values)
    torch.testing.assert_close(again(x), layer(x))
    with torch.no_grad():
        layer.weight_values.mul_(7.3)
        torch.testing.assert_close(layer(x), dense(x), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_sparse_filters_is_that_of_dense_ones() -> None:
    layer = sparse(3, 5).double()
    dense, x = layer.to_dense(), numbers(2, 3, 5, 5, dtype=torch.float64).requires_grad_()
    other = x.detach().clone().requires_grad_()
    layer(x).square().sum().backward()
    dense(other).square().sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    assert dense.weight.grad is not None
    torch.testing.assert_close(layer.weight_values.grad, dense.weight.grad.flatten()[layer.pattern.flat_indices])
    assert torch.autograd.gradcheck(layer, (numbers(1, 3, 3, 3, dtype=torch.float64).requires_grad_(),))


def test_empty_and_zero_sparse_filters_give_zero_with_finite_gradients() -> None:
    pattern = Pattern.from_mask(torch.cat([torch.zeros(1, 27), torch.ones(2, 27)]) > 0)
    layer = NormalizedSparseConv2d(3, 3, 3, bias=False, pattern=pattern)
    with torch.no_grad():
        layer.weight_values[:27] = 0
    y = layer(numbers(1, 3, 4, 4))
    assert (y[:, :2] == 0).all()
    assert (y[:, 2] != 0).all()
    y.sum().backward()
    assert layer.weight_values.grad is not None
    assert layer.weight_values.grad.isfinite().all()


def test_sparse_normalised_filters_are_rewired_and_saved() -> None:
    layer = sparse(4, 8)
    net = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3))
    optimizer = torch.optim.Adam(net.parameters())
    rewire = Rewire(net, optimizer, drop.magnitude(0.3), grow.gradient(), seed=0)
    before = layer.pattern.flat_indices.clone()
    for _ in range(2):
        optimizer.zero_grad()
        net(numbers(5, 4, 4, 4)).square().mean().backward()
        optimizer.step()
    (change,) = rewire.step()
    assert len(change.dropped) == len(change.grown) == round(0.3 * layer.nnz)
    assert not torch.equal(before, layer.pattern.flat_indices)
    other = sparse(4, 8, 0.2)
    other.load_state_dict(copy.deepcopy(layer).state_dict())
    x = numbers(2, 4, 4, 4)
    assert torch.equal(other(x), layer(x))
    assert torch.equal(layer.to_dense()(x) != 0, layer(x) != 0)


def test_a_plain_convolution_is_no_source_of_normalised_filters() -> None:
    with pytest.raises(InputError, match="dense must be a NormalizedConv2d, got Conv2d"):
        NormalizedSparseConv2d.from_dense(nn.Conv2d(1, 2, 3))
