"""One operator for the activations of a Hebbian block, against its parts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer import kernels
from gossamer.activation.divisive import divisive_norm
from gossamer.activation.threshold import quantile_threshold
from gossamer.kernels import _cpu, divisive
from gossamer.kernels.divisive import divides_in_cpp, divisive_gate

pytestmark = pytest.mark.usefixtures("one_thread")

inf, nan = math.inf, math.nan
seeds = st.integers(0, 1000)
DTYPES = [torch.float32, torch.float64]


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def few_numbers(*shape: int, seed: int = 0) -> Tensor:
    """Most of them tie."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).double()


def by_parts(u: Tensor, sigma: float, window: int, quantile: float, straight: bool = False) -> Tensor:
    z = divisive_norm(u.relu(), sigma, window)
    return quantile_threshold(z, quantile, "straight_through" if straight else "hard")


def value_and_gradient(function: Any, u: Tensor, g: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    u = u.clone().requires_grad_()
    z = function(u, *options)
    return z.detach(), torch.autograd.grad(z, u, g)[0]


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def isa(request: pytest.FixtureRequest) -> Any:
    names = ["baseline", "avx2", "avx512"]
    before = kernels.info().instruction_set
    try:
        _cpu.use_isa(names.index(request.param))
    except ValueError:
        pytest.skip("this processor lacks the instruction set")
    yield
    _cpu.use_isa(names.index(before))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(
    "shape", [(2, 3, 5, 7), (1, 40, 4, 4), (3, 2, 1, 1), (2, 5, 1, 9), (2, 5, 9, 1), (2, 4, 33, 17)]
)
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("make", [maps, few_numbers])
@pytest.mark.parametrize("straight", [False, True])
def test_it_is_the_parts_one_after_the_other(shape: tuple[int, ...], window: int, make: Any, straight: bool) -> None:
    u, g = make(*shape, seed=1), maps(*shape, seed=2)
    assert divides_in_cpp(u, window)
    for sigma in (0.0, 0.1, 1.0):
        for quantile in (0.0, 0.3, 0.8, 0.97):
            options = (sigma, window, quantile, straight)
            ours, theirs = (value_and_gradient(f, u, g, *options) for f in (divisive_gate, by_parts))
            torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(ours[1], theirs[1], rtol=1e-9, atol=1e-12)


@given(
    seeds,
    st.floats(0, 1),
    st.sampled_from([1, 3]),
    st.floats(0, 0.99),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
)
def test_any_size(seed: int, sigma: float, window: int, quantile: float, shape: list[int]) -> None:
    u, g = maps(*shape, seed=seed), maps(*shape, seed=seed + 1)
    ours, theirs = (value_and_gradient(f, u, g, sigma, window, quantile) for f in (divisive_gate, by_parts))
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-8, atol=1e-11)


def test_single_precision_differs_by_rounding() -> None:
    u, g = maps(4, 64, 28, 28, dtype=torch.float32), maps(4, 64, 28, 28, seed=1, dtype=torch.float32)
    ours, theirs = (value_and_gradient(f, u, g, 0.1, 3, 0.8) for f in (divisive_gate, by_parts))
    for a, b in zip(ours, theirs, strict=True):
        other = (a - b).abs() > 1e-6 * b.abs().max()
        assert other.double().mean() < 1e-5  # neighbours in rank may change places
    assert ((ours[0] != 0).sum((2, 3)) == 784 - 627).all()


@given(seeds, st.integers(1, 300), st.floats(0, 0.999), st.sampled_from(DTYPES), st.integers(0, 3))
def test_the_kth_smallest_is_selected_without_sorting(
    seed: int, count: int, quantile: float, dtype: torch.dtype, kind: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(1, 2, 1, count, generator=generator, dtype=dtype)
    y = (y, (y * 4).round(), torch.exp(60 * y - 70), torch.where(y < 0.5, 0.0, y.pow(20)))[kind]
    rank = math.floor(quantile * count + 1e-9)
    _, local, divisor, threshold = torch.ops.gossamer.divisive_gate(y, 1.0, 1, rank, False)
    z = (y / divisor).flatten(2)
    expected = z.sort(-1).values[..., rank - 1] if rank else torch.zeros(1, 2, dtype=dtype)
    assert torch.equal(threshold, expected)
    torch.testing.assert_close(local, y.mean(1, keepdim=True))


def test_an_image_of_zeros_stays_zero_with_finite_gradients() -> None:
    u = torch.cat([torch.zeros(1, 3, 4, 4), -maps(1, 3, 4, 4).float().abs(), maps(1, 3, 4, 4).float()])
    z, du = value_and_gradient(divisive_gate, u, torch.ones_like(u), 0.1, 3, 0.8)
    assert (z[:2] == 0).all()
    assert (z[2] > 0).any()
    assert du.isfinite().all()
    assert (du[:2] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("window", [1, 3])
def test_nan_shows_in_its_own_image_alone(dtype: torch.dtype, sign: float, sigma: float, window: int) -> None:
    u = maps(3, 2, 5, 5, dtype=dtype)
    clean, clean_du = value_and_gradient(divisive_gate, u, torch.ones_like(u), sigma, window, 0.8)
    u[1, 0, 2, 2] = math.copysign(nan, sign)
    z, du = value_and_gradient(divisive_gate, u, torch.ones_like(u), sigma, window, 0.8)
    assert z[1].isnan().all()
    assert du[1].isnan().any()
    assert torch.equal(z[[0, 2]], clean[[0, 2]])
    assert torch.equal(du[[0, 2]], clean_du[[0, 2]])
    torch.testing.assert_close(z, by_parts(u, sigma, window, 0.8), equal_nan=True)


@pytest.mark.parametrize("quantile", [0.0, 0.8])
def test_infinity_is_that_of_the_parts(quantile: float) -> None:
    u = maps(2, 2, 5, 5)
    u[0, 0, 2, 2] = inf
    z = divisive_gate(u, 0.1, 3, quantile)
    assert z[0].isnan().any()
    torch.testing.assert_close(z, by_parts(u, 0.1, 3, quantile), equal_nan=True)


def test_a_gradient_of_nan_is_not_hidden_by_a_gate() -> None:
    u, g = maps(1, 2, 4, 4), torch.full((1, 2, 4, 4), nan)
    assert value_and_gradient(divisive_gate, u, g.double(), 0.1, 3, 0.8)[1][u > 0].isnan().all()


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("straight", [False, True])
def test_second_derivatives_are_those_of_the_parts(window: int, straight: bool) -> None:
    u, g, h = (maps(2, 3, 4, 5, seed=seed) for seed in range(3))
    results = []
    for function in (divisive_gate, by_parts):
        x, v = u.clone().requires_grad_(), g.clone().requires_grad_()
        (du,) = torch.autograd.grad(function(x, 0.3, window, 0.5, straight), x, v, create_graph=True)
        results.append(torch.autograd.grad(du, (x, v), h))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0])
def test_derivatives(window: int, sigma: float) -> None:
    u = (maps(2, 3, 3, 4) * 2).requires_grad_()

    def gated(t: Tensor) -> Tensor:
        return divisive_gate(t, sigma, window, 0.5)

    assert torch.autograd.gradcheck(gated, (u,))
    assert torch.autograd.gradgradcheck(gated, (u,))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_operators(layout: torch.memory_format) -> None:
    u, g = maps(2, 3, 4, 5).contiguous(memory_format=layout), maps(2, 3, 4, 5, seed=1)
    inputs = (u.clone().requires_grad_(), 0.1, 3, 10, False)
    torch.library.opcheck(torch.ops.gossamer.divisive_gate, inputs)
    _, *parts = torch.ops.gossamer.divisive_gate(u, *inputs[1:])
    torch.library.opcheck(torch.ops.gossamer.divisive_gate_gradient, (g, u, *parts, 0.1, 3, False))


def test_layouts_agree() -> None:
    u, g = maps(2, 5, 4, 6), maps(2, 5, 4, 6, seed=1)
    z, du = value_and_gradient(divisive_gate, u, g, 0.1, 3, 0.8)
    for sample in (u.contiguous(memory_format=torch.channels_last), maps(2, 5, 4, 12)[..., ::2].copy_(u)):
        assert not sample.is_contiguous()
        other, other_du = value_and_gradient(
            divisive_gate, sample, g.contiguous(memory_format=torch.channels_last), 0.1, 3, 0.8
        )
        assert torch.equal(other, z)
        assert torch.equal(other_du, du)
    assert divisive_gate(u[:0], 0.1, 3, 0.8).shape == (0, 5, 4, 6)


def test_threads_change_nothing() -> None:
    u, g = maps(5, 20, 28, 28), maps(5, 20, 28, 28, seed=1)
    one = value_and_gradient(divisive_gate, u, g, 0.1, 3, 0.8)
    torch.set_num_threads(2)
    two = value_and_gradient(divisive_gate, u, g, 0.1, 3, 0.8)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_other_windows_dtypes_and_transforms_take_plain_torch() -> None:
    u, g = maps(2, 3, 6, 6), maps(2, 3, 6, 6, seed=1)
    assert not divides_in_cpp(u, 5)
    assert not divides_in_cpp(u.half(), 3)
    assert not divides_in_cpp(u[0], 3)
    ours, theirs = (value_and_gradient(f, u, g, 0.2, 5, 0.8) for f in (divisive_gate, by_parts))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    z, du = value_and_gradient(divisive_gate, u, g, 0.1, 3, 0.8)
    vjp = torch.func.vjp(lambda t: divisive_gate(t, 0.1, 3, 0.8), u)
    torch.testing.assert_close(vjp[0], z)
    torch.testing.assert_close(vjp[1](g)[0], du)
    compiled = torch.compile(lambda t: divisive_gate(t, 0.1, 3, 0.8), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(value_and_gradient(compiled, u, g)[1], du)
    meta = divisive._shapes(u.to("meta"), 0.1, 3, 4, False)
    assert [t.shape for t in meta] == [(2, 3, 6, 6), (2, 1, 6, 6), (2, 1, 6, 6), (2, 3)]
