"""The sparse × sparse product equals the plain product of the code made dense."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import gossamer as gs
from gossamer import kernels
from gossamer.kernels import Code, _cpu


def layer(rows: int, cols: int, density: float, dtype: torch.dtype = torch.float64, seed: int = 0) -> gs.SparseLinear:
    generator = torch.Generator().manual_seed(seed)
    return gs.SparseLinear(cols, rows, density=density, dtype=dtype, generator=generator)


def sparse_input(batch: int, cols: int, active: float, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, cols, generator=generator, dtype=torch.float64)
    return (x * (torch.rand(batch, cols, generator=generator) < active)).to(dtype)


def structure_of(net: gs.SparseLinear) -> kernels.Structure:
    return net.pattern.structure


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    batch=st.integers(0, 9),
    density=st.floats(0.05, 1.0),
    active=st.floats(0.0, 1.0),
    relu=st.booleans(),
    isa=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_equals_the_plain_product(
    rows: int, cols: int, batch: int, density: float, active: float, relu: bool, isa: int, seed: int
) -> None:
    net = layer(rows, cols, density, seed=seed)
    x = sparse_input(batch, cols, active, seed=seed)
    expected = kernels.linear(net.weight_values, structure_of(net), x, net.bias, relu)
    before = ("baseline", "avx2", "avx512").index(_cpu.isa())
    _cpu.use_isa(min(isa, before))
    try:
        got = kernels.spspmm(net.weight_values, structure_of(net), Code.pack(x), net.bias, relu)
    finally:
        _cpu.use_isa(before)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_every_dtype(dtype: torch.dtype) -> None:
    net, x = layer(30, 50, 0.3, dtype), sparse_input(4, 50, 0.2, dtype)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}.get(dtype, 3e-2)
    torch.testing.assert_close(net(Code.pack(x)), net(x), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("batch", [1, 4, 16, 40])
def test_a_layer_in_evaluation_reads_what_is_live_and_agrees(batch: int) -> None:
    net, x = layer(64, 80, 0.4), sparse_input(batch, 80, 0.05)
    expected = net(x).detach()
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected, atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(net(Code.pack(x)), expected, atol=1e-12, rtol=1e-10)
        dense_input = torch.randn(batch, 80, dtype=torch.float64)
        torch.testing.assert_close(
            net(dense_input), kernels.linear(net.weight_values, structure_of(net), dense_input, net.bias)
        )


def evaluation_mode_oracle(net: gs.SparseLinear, x: Tensor, weights: Tensor) -> Tensor:
    mask = net.pattern.to_mask()
    dense = torch.zeros(mask.shape, dtype=x.dtype).masked_scatter(mask, weights.detach())
    return torch.nn.functional.linear(x, dense, net.bias)


OPTIMIZERS: dict[str, Any] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01, fused=True),
    "plain sgd": lambda p: torch.optim.SGD(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_predictions_between_steps_in_evaluation_mode_see_the_weights_as_they_are(name: str) -> None:
    net = layer(64, 80, 0.4).eval()
    optimizer = OPTIMIZERS[name](net.parameters())
    for seed in range(100):
        x = sparse_input(1, 80, 0.05, seed=seed)
        for parameter in net.parameters():  # a gradient with few entries: a fused step changes few weights
            parameter.grad = torch.zeros_like(parameter)
            parameter.grad[seed % parameter.numel() :: 17] = 1.0
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            expected = evaluation_mode_oracle(net, x, net.weight_values)
            torch.testing.assert_close(net(x), expected)
            torch.testing.assert_close(net(Code.pack(x)), expected)


@pytest.mark.parametrize("way", ["functional_call", "new parameter", "data", "numpy", "average", "swapped data"])
def test_one_changed_weight_is_seen_in_evaluation_mode(way: str) -> None:
    net = layer(64, 80, 0.4).eval()
    generator = torch.Generator().manual_seed(3)
    for seed in range(100):
        x = sparse_input(1, 80, 0.05, seed=seed)
        at = int(torch.randint(net.nnz, (), generator=generator))
        changed = net.weight_values.detach().clone()
        changed[at] += 10.0
        with torch.no_grad():
            net(x)
            if way == "functional_call":
                got = torch.func.functional_call(net, {"weight_values": changed}, (x,))
            else:
                if way == "new parameter":
                    net.weight_values = torch.nn.Parameter(changed)
                elif way == "data":
                    net.weight_values.data[at] += 10.0
                elif way == "numpy":
                    net.weight_values.detach().numpy()[at] += 10.0
                elif way == "average":
                    net.weight_values.data.mul_(0.5).add_(changed, alpha=0.5)
                    changed = net.weight_values.detach().clone()
                else:
                    net.weight_values.data = changed.clone()
                got = net(x)
            torch.testing.assert_close(got, evaluation_mode_oracle(net, x, changed))


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_wrong_inputs_of_a_layer_in_evaluation_are_refused(batch: int) -> None:
    net = layer(64, 80, 0.4).eval()
    with torch.no_grad():
        assert net(torch.zeros(batch, 80, dtype=torch.float64)).shape == (batch, 64)
        with pytest.raises(gs.InputError, match=r"x must have shape \(batch, 80\)"):
            net(torch.zeros(batch, 81, dtype=torch.float64))
        with pytest.raises(gs.InputError, match="x must have the dtype of values"):
            net(torch.zeros(batch, 80))


def test_kept_weights_follow_an_update_and_a_rewiring() -> None:
    net, x = layer(64, 80, 0.4).eval(), sparse_input(1, 80, 0.05)
    with torch.no_grad():
        net(x)
        net.weight_values.mul_(-2.0)
        torch.testing.assert_close(net(x), kernels.linear(net.weight_values, structure_of(net), x, net.bias))
        other = gs.Pattern.erdos_renyi(64, 80, 0.4, torch.Generator().manual_seed(5))
        net.set_pattern(other, torch.randn(other.nnz, dtype=torch.float64))
        torch.testing.assert_close(net(x), kernels.linear(net.weight_values, structure_of(net), x, net.bias))


def test_gradients() -> None:
    net, x = layer(7, 9, 0.5), sparse_input(3, 9, 0.4)
    code = Code.pack(x)
    assert net.bias is not None

    def product(values: Tensor, bias: Tensor, activation: Tensor) -> Tensor:
        return kernels.spspmm(values, structure_of(net), Code(activation, code.indices, 9), bias)

    inputs = (net.weight_values, net.bias, code.values.clone().requires_grad_())
    assert torch.autograd.gradcheck(product, inputs)
    assert torch.autograd.gradgradcheck(product, inputs)


def test_opcheck() -> None:
    net, code = layer(7, 9, 0.5), Code.pack(sparse_input(3, 9, 0.4))
    values, activation = net.weight_values.detach().requires_grad_(), code.values.clone().requires_grad_()
    for relu in (False, True):
        arguments = (values, *structure_of(net), activation, code.indices, net.bias, relu)
        torch.library.opcheck(torch.ops.gossamer.spspmm.default, arguments)


def test_empty_slots_and_a_repeated_unit() -> None:
    net = layer(5, 6, 1.0)
    values = torch.tensor([[2.0, 0.0, 1.0, 3.0]], dtype=torch.float64)
    code = Code(values, torch.tensor([[1, 0, 4, 4]], dtype=torch.int32), 6)
    dense = torch.tensor([[0.0, 2.0, 0.0, 0.0, 4.0, 0.0]], dtype=torch.float64)
    assert torch.equal(code.to_dense(), dense)
    torch.testing.assert_close(net(code), net(dense))


def test_pack_gives_every_sample_the_slots_of_the_busiest() -> None:
    x = torch.tensor([[0.0, 3.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    code = Code.pack(x)
    assert code.values.shape == (2, 2)
    assert code.indices[0].tolist() == [1, 3]
    assert torch.equal(code.to_dense(), x)
    assert Code.pack(torch.zeros(3, 0)).values.shape == (3, 0)


@pytest.mark.parametrize("index", [-1, 6, 2**31 - 1])
def test_a_foreign_index_is_refused(index: int) -> None:
    net = layer(5, 6, 0.5)
    code = Code(torch.ones(1, 2, dtype=torch.float64), torch.tensor([[0, index]], dtype=torch.int32), 6)
    with pytest.raises(gs.InputError, match=r"indices of a code must be in \[0, 6\)"):
        net(code)


def test_a_wrong_code_is_refused() -> None:
    net = layer(5, 6, 0.5)
    values, indices = torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.int32)
    with pytest.raises(gs.InputError, match="a code of 6 units, got one of 7"):
        net(Code(values, indices, 7))
    with pytest.raises(gs.InputError, match="one shape"):
        net(Code(values, indices[:, :1], 6))
    with pytest.raises(gs.InputError, match="int32"):
        net(Code(values, indices.long(), 6))
    with pytest.raises(gs.InputError, match="shape"):
        Code.pack(torch.zeros(3))


def test_compiles_without_a_graph_break() -> None:
    net, code = layer(12, 20, 0.4), Code.pack(sparse_input(3, 20, 0.3))
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(code), net(code))


@pytest.mark.parametrize("packed", [gs.TopK(4, packed=True), gs.Hoyer(0.6, packed=True)])
def test_packed_activations_train_as_dense_ones(packed: gs.TopK | gs.Hoyer) -> None:
    plain = gs.TopK(4) if isinstance(packed, gs.TopK) else gs.Hoyer(0.6)
    first, second = layer(20, 12, 0.5), layer(5, 20, 0.5, seed=1)
    x = torch.randn(3, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    results = []
    for activation in (packed, plain):
        y = second(activation(first(x)))
        results.append(
            [y.detach(), *torch.autograd.grad(y.square().sum(), [first.weight_values, second.weight_values])]
        )
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


def test_packed_activations_need_two_dimensions() -> None:
    for activation in (gs.TopK(2, packed=True), gs.Hoyer(0.6, packed=True)):
        with pytest.raises(gs.InputError, match=r"\(batch, features\)"):
            activation(torch.randn(2, 3, 5))
    for build in (lambda: gs.TopK(2, dim=0, packed=True), lambda: gs.Hoyer(0.6, dim=0, packed=True)):
        with pytest.raises(gs.InputError, match="dim must be -1 or 1"):
            build()
