"""Bridgeout: its penalty by enumeration, DropConnect at q = 2, and how noisy weights live in layers."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import gossamer as gs
from gossamer import InputError, Pattern, SparseLinear, kernels
from gossamer.connectivity.bridgeout import Bridgeout, BridgeoutLinear, BridgeoutSparseLinear, bridgeout
from gossamer.connectivity.linear import sparse_linear
from gossamer.kernels import Code
from gossamer.noise import perturb

pytestmark = pytest.mark.usefixtures("one_thread")

F64 = torch.float64
MASKS: tuple[Literal["example", "batch"], ...] = ("example", "batch")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def sparse(seed: int = 0, **options: Any) -> BridgeoutSparseLinear:
    return BridgeoutSparseLinear(
        6, 5, 0.4, p=0.3, q=1.5, generator=seeded(seed), noise_generator=seeded(seed + 1), **options
    )


# ---- what it computes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.6, 1.0, 1.5, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("p", [0.2, 0.3, 0.4, 0.5, 0.8])
@pytest.mark.parametrize("masks", MASKS)
def test_least_squares_is_penalised_as_derived(masks: str, p: float, q: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.lq_noise, "EPSILON", 0.0)  # it changes |w|^q by 10⁻¹² / |w|
    x, w, y = numbers(2, 5).to(F64), numbers(5, seed=1).to(F64), numbers(2, seed=2).to(F64)
    bits = 10 if masks == "example" else 5
    r = (torch.arange(2**bits)[:, None] >> torch.arange(bits) & 1).to(F64)
    chance = (r * (1 - p) + (1 - r) * p).prod(1)
    noisy = perturb(w, r.reshape(len(r), -1, 5), p, q, "exact")  # (masks, examples or 1, 5)
    loss = chance @ (y - (noisy * x).sum(2)).square().sum(1) / 2
    penalty = p / (2 * (1 - p)) * (w.abs() ** q @ x.square().sum(0))
    torch.testing.assert_close(loss, (y - x @ w).square().sum() / 2 + penalty, rtol=1e-12, atol=0)


@given(st.floats(0.01, 0.99), st.integers(0, 99))
def test_at_two_it_is_dropconnect_bit_for_bit(p: float, seed: int) -> None:
    w = numbers(7, 9).requires_grad_()
    y = bridgeout(w, p, 2.0, generator=seeded(seed))
    kept = bridgeout(torch.ones(7, 9), p, 2.0, generator=seeded(seed)) != 0
    multiplier = kept.float() / (1 - p)
    assert torch.equal(y, w * multiplier)
    (d,) = torch.autograd.grad(y, w, torch.ones_like(y))
    assert torch.equal(d, multiplier)


@pytest.mark.parametrize("q", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_the_gradient_is_the_derivative(q: float) -> None:
    w = numbers(3, 4).to(F64)
    w = (w + 0.2 * w.sign()).requires_grad_()
    for examples in (None, 3):
        assert torch.autograd.gradcheck(lambda v: bridgeout(v, 0.3, q, generator=seeded(), examples=examples), w)  # noqa: B023


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 1.5, 3.0])
def test_a_weight_of_zero_has_the_gradient_that_it_has_without_noise(q: float, dtype: torch.dtype) -> None:
    w = torch.zeros(40, dtype=dtype, requires_grad=True)
    y = bridgeout(w, 0.3, q, generator=seeded())
    y.sum().backward()
    assert bool((y == 0).all())
    assert w.grad is not None
    assert w.grad.tolist() == [1.0] * 40


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0, 3.0])
def test_examples_have_masks_of_their_own(q: float) -> None:
    w = numbers(4, 6).requires_grad_()
    y = bridgeout(w, 0.5, q, generator=seeded(), examples=30)
    assert y.shape == (30, 4, 6)
    assert len(y.unique(dim=0)) == 30
    (d,) = torch.autograd.grad(y, w, torch.ones_like(y))
    assert d.shape == w.shape
    assert bridgeout(w, 0.5, q, examples=0).shape == (0, 4, 6)
    clean = bridgeout(w, 0.5, q, training=False, examples=3)
    assert torch.equal(clean, w.detach().expand(3, 4, 6))
    with pytest.raises(InputError, match="examples must be a whole number of at least 0, got -1"):
        bridgeout(w, examples=-1)


@pytest.mark.parametrize("q", [0.0, 1.0, 2.0, 3.0])
def test_edges(q: float) -> None:
    w = numbers(5, 4)
    assert bridgeout(w, 0.0, q) is w
    assert bridgeout(w, 0.5, q, training=False) is w
    assert bool((bridgeout(w, 1.0, q) == 0).all())
    assert bridgeout(torch.empty(0, 3), 0.5, q).shape == (0, 3)
    assert bridgeout(torch.tensor(2.0), 0.5, q).shape == ()
    w[1, 2] = math.nan
    assert int(bridgeout(w, 0.5, q).isnan().sum()) == 1
    for layout in (numbers(4, 5).t(), numbers(2, 3, 4, 5).to(memory_format=torch.channels_last)):
        assert bridgeout(layout, 0.5, q).stride() == layout.stride()


@pytest.mark.parametrize(("name", "wrong"), [("p", -0.1), ("p", 1.1), ("p", math.nan), ("q", -1), ("q", math.nan)])
def test_what_is_out_of_range_is_refused(name: str, wrong: float) -> None:
    arguments: dict[str, Any] = {name: wrong}
    for make in (
        lambda: bridgeout(torch.ones(2), training=False, **arguments),
        lambda: Bridgeout(**arguments),
        lambda: BridgeoutLinear(2, 3, **arguments),
        lambda: BridgeoutSparseLinear(2, 3, 0.5, **arguments),
    ):
        with pytest.raises(InputError, match=f"{name} must be in .*, got {wrong}"):
            make()
    with pytest.raises(InputError, match=r"w must be floating point, got torch\.int64"):
        bridgeout(torch.ones(2, dtype=torch.int64))


# ---- as a parametrization --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "x"), [(nn.Linear(6, 4), numbers(3, 6)), (nn.Conv2d(2, 3, 3), numbers(2, 2, 5, 5))])
def test_it_parametrizes_any_weight(layer: nn.Linear | nn.Conv2d, x: Tensor) -> None:
    layer = copy.deepcopy(layer)
    clean, plain = layer(x), copy.deepcopy(layer.weight)
    parametrize.register_parametrization(layer, "weight", Bridgeout(0.3, 1.5, seeded()))
    noisy = layer(x)
    assert not torch.allclose(noisy, clean)
    assert not torch.equal(layer(x), noisy)  # a fresh mask each call
    assert torch.equal(layer.eval()(x), clean)
    layer.train()(x).square().mean().backward()
    (original,) = (p for n, p in layer.named_parameters() if n == "parametrizations.weight.original")
    assert torch.equal(original, plain)
    assert original.grad is not None
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))  # it draws what the original draws
    twin.load_state_dict({name: torch.zeros_like(t) for name, t in layer.state_dict().items()})
    assert bool((twin(x) == 0).all())
    layer.weight = torch.ones_like(plain)
    assert bool((original == 1).all())
    parametrize.remove_parametrizations(layer.eval(), "weight")
    assert bool((layer.weight == 1).all())
    assert not hasattr(layer, "parametrizations")


# ---- BridgeoutLinear -------------------------------------------------------------------------------------------------


def linear(masks: Literal["example", "batch"], **options: Any) -> BridgeoutLinear:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return BridgeoutLinear(6, 4, p=0.3, q=1.5, masks=masks, noise_generator=seeded(), **options)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 6), (0, 6), (1, 6)])
@pytest.mark.parametrize("masks", MASKS)
def test_the_layer_multiplies_by_noisy_weights(
    masks: Literal["example", "batch"], shape: tuple[int, ...], bias: bool
) -> None:
    layer, x = linear(masks, bias=bias), numbers(*shape).requires_grad_()
    assert (layer.bias is not None) == bias
    y = layer(x)
    rows = x.reshape(-1, 6)
    weights = bridgeout(layer.weight, 0.3, 1.5, generator=seeded(), examples=len(rows) if masks == "example" else None)
    expected = torch.einsum("noi,ni->no", weights.expand(len(rows), 4, 6), rows)
    expected = expected.reshape(*shape[:-1], 4) + (layer.bias if layer.bias is not None else 0)
    torch.testing.assert_close(y, expected)
    inputs = [x, *layer.parameters()]
    for mine, right in zip(
        torch.autograd.grad(y.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, right)
    assert torch.equal(layer.eval()(x), F.linear(x, layer.weight, layer.bias))


def test_equal_rows_differ_with_masks_per_example_and_agree_with_one_mask() -> None:
    x = numbers(1, 6).expand(20, 6)
    assert len(linear("example")(x).unique(dim=0)) == 20
    one = linear("batch")(x)
    torch.testing.assert_close(one, one[:1].expand(20, 4))


@pytest.mark.parametrize("masks", MASKS)
def test_the_layer_is_saved_and_copied_as_a_linear_one(masks: Literal["example", "batch"]) -> None:
    layer, x = linear(masks), numbers(5, 6)
    assert set(layer.state_dict()) == {"weight", "bias"}
    nn.Linear(6, 4).load_state_dict(layer.state_dict())
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    y = layer(x)
    for twin in twins:
        assert torch.equal(twin(x), y)
    assert not torch.equal(layer(x), y)
    assert f"masks={masks!r}" in repr(layer)
    assert "Bridgeout(p=0.3, q=1.5)" in repr(layer)


@pytest.mark.parametrize("masks", MASKS)
def test_the_layer_runs_in_half_types_and_autocast(masks: Literal["example", "batch"]) -> None:
    x = numbers(5, 6)
    assert linear(masks, dtype=torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16
    layer = linear(masks)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_the_layer_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="masks must be one of 'example', 'batch', got 'row'"):
        linear("row")  # type: ignore[arg-type]
    for shape in ((), (5,), (6, 5), (2, 3)):
        with pytest.raises(InputError, match=r"x must have shape \(…, 6\), got"):
            linear("example")(torch.zeros(shape))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler itself
@pytest.mark.parametrize("masks", MASKS)
def test_the_layer_compiles_without_a_break(masks: Literal["example", "batch"]) -> None:
    layer, x = linear(masks), numbers(5, 6)
    layer.noise.generator = None
    found = []
    for function in (layer, torch.compile(layer, fullgraph=True, backend="aot_eager")):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            y = function(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), list(layer.parameters()))))
    torch.testing.assert_close(found[0], found[1])


# ---- BridgeoutSparseLinear -------------------------------------------------------------------------------------------


def test_noise_falls_on_live_connections_alone() -> None:
    layer, x = sparse(), numbers(7, 6)
    twin = copy.deepcopy(layer)
    y = layer(x)
    values = bridgeout(twin.weight_values, 0.3, 1.5, generator=twin.noise.generator)
    expected = sparse_linear(x, values, twin.pattern, twin.bias)
    assert torch.equal(y, expected)
    for mine, right in zip(
        torch.autograd.grad(y.square().sum(), list(layer.parameters())),
        torch.autograd.grad(expected.square().sum(), list(twin.parameters())),
        strict=True,
    ):
        assert mine.shape == right.shape
        torch.testing.assert_close(mine, right)
    assert torch.equal(layer.eval()(x), SparseLinear.forward(twin.eval(), x))
    assert "Bridgeout(p=0.3, q=1.5)" in repr(layer)


def test_a_code_is_multiplied_by_the_same_noisy_weights() -> None:
    layer, x = sparse(), numbers(7, 6).relu()
    twin = copy.deepcopy(layer)
    torch.testing.assert_close(layer(Code.pack(x)), twin(x))
    torch.testing.assert_close(layer.eval()(Code.pack(x)), twin.eval()(x))


def test_its_state_is_that_of_a_sparse_layer() -> None:
    layer, x = sparse(), numbers(7, 6)
    plain = SparseLinear(6, 5, 0.9, generator=seeded(8))
    assert set(layer.state_dict()) == set(plain.state_dict())
    plain.load_state_dict(layer.state_dict())  # another pattern, of another length
    assert torch.equal(plain.eval()(x), layer.eval()(x))
    other = sparse(seed=5)
    other.load_state_dict(plain.state_dict())
    assert torch.equal(other.pattern.flat_indices, plain.pattern.flat_indices)
    assert torch.equal(other.eval()(x), plain(x))
    file = io.BytesIO()
    torch.save(layer.train(), file)
    file.seek(0)
    for twin in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(twin(x), copy.deepcopy(layer)(x))


def test_it_comes_from_a_dense_layer_and_becomes_one() -> None:
    dense, x = nn.Linear(6, 5), numbers(7, 6)
    pattern = Pattern.erdos_renyi(5, 6, 0.5, seeded())
    layer = BridgeoutSparseLinear.from_dense(dense.eval(), pattern, p=0.2, q=1.0, noise_generator=seeded())
    assert (layer.noise.p, layer.noise.q) == (0.2, 1.0)
    assert not layer.noise.training
    assert torch.equal(layer.pattern.flat_indices, pattern.flat_indices)
    torch.testing.assert_close(layer.to_dense()(x), layer(x))
    with pytest.raises(InputError, match="needs either density or pattern"):
        BridgeoutSparseLinear(6, 5)


def test_rewiring_moves_the_plain_weights_and_new_links_learn_as_usual() -> None:
    net = nn.Sequential(sparse(), nn.ReLU(), nn.Linear(5, 2))
    layer = net[0]
    assert isinstance(layer, BridgeoutSparseLinear)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    rewire = gs.Rewire(net, optimizer, record="indices", seed=1)
    x, parameter = numbers(20, 6), layer.weight_values
    for _ in range(3):
        for _ in range(4):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
        before = dict(zip(layer.pattern.flat_indices.tolist(), layer.weight_values.tolist(), strict=True))
        (change,) = rewire.step()
        after = dict(zip(layer.pattern.flat_indices.tolist(), layer.weight_values.tolist(), strict=True))
        grown = set(change.grown.tolist())
        assert grown
        assert layer.weight_values is parameter
        assert layer.nnz == len(before)
        assert all(after[position] == (0 if position in grown else before[position]) for position in after)
    noisy, clean = net(x).square().mean(), net.eval()(x).square().mean()
    assert not torch.equal(noisy, clean)
    net.train()
    optimizer.zero_grad()
    net(x).square().mean().backward()
    assert layer.weight_values.grad is not None
    assert bool(
        (layer.weight_values.grad[layer.weight_values == 0].abs() < 1).all()
    )  # by 5 · 10² and more if differentiated near 0


def test_a_pattern_of_another_length_is_noisy_too() -> None:
    layer, x = sparse(), numbers(7, 6)
    pattern = Pattern.erdos_renyi(5, 6, 0.7, seeded(4))
    layer.set_pattern(pattern, torch.ones(pattern.nnz))
    mask = pattern.to_mask().float()
    y = layer(x) - layer.bias
    assert not torch.allclose(y, x @ mask.t())
    expected = x @ mask.masked_scatter(mask > 0, bridgeout(torch.ones(pattern.nnz), 0.3, 1.5, generator=seeded(1))).t()
    torch.testing.assert_close(y, expected)
