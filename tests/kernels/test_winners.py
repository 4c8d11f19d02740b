"""The cost of winners and others, against its definition."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.kernels import winners
from gossamer.kernels.winners import winners_cost

pytestmark = pytest.mark.usefixtures("one_thread")


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_sorting(u: Tensor, dim: int, k: int, rest: float) -> Tensor:
    a = u.relu().sort(dim, descending=True).values
    return a.narrow(dim, 0, k).mean(dim) - rest * a.narrow(dim, k, u.shape[dim] - k).sum(dim)


def value_and_gradient(function: Any, u: Tensor, g: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    u = u.clone().requires_grad_()
    cost = function(u, *options)
    return cost.detach(), torch.autograd.grad(cost, u, g)[0]


@given(
    st.integers(0, 999), st.integers(1, 4), st.integers(1, 40), st.integers(1, 50), st.floats(0.01, 1), st.floats(0, 2)
)
def test_it_is_the_definition(seed: int, outer: int, channels: int, inner: int, share: float, rest: float) -> None:
    u, k = numbers(outer, channels, inner, seed=seed), max(1, int(share * channels))
    g = numbers(outer, inner, seed=seed + 1)
    ours, theirs = (value_and_gradient(f, u, g, 1, k, rest) for f in (winners_cost, by_sorting))
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1])


@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dimensions_and_layouts(dim: int, dtype: torch.dtype) -> None:
    u = numbers(4, 6, 5, 7, dtype=dtype)
    expected = value_and_gradient(by_sorting, u, torch.ones_like(u.sum(dim)), dim, 2, 0.1)
    for sample in (u, u.contiguous(memory_format=torch.channels_last), u.mT.contiguous().mT):
        cost, du = value_and_gradient(winners_cost, sample, torch.ones_like(expected[0]), dim, 2, 0.1)
        torch.testing.assert_close(cost, expected[0])
        torch.testing.assert_close(du, expected[1])


@given(st.integers(0, 999), st.integers(1, 12))
def test_of_ties_as_many_win_as_there_is_room_for(seed: int, k: int) -> None:
    u = torch.randint(-1, 3, (3, 12, 9), generator=torch.Generator().manual_seed(seed)).double()
    cost, du = value_and_gradient(winners_cost, u, torch.ones(3, 9).double(), 1, k, 0.25)
    torch.testing.assert_close(cost, by_sorting(u, 1, k, 0.25))
    won = (du > 0).sum(1)
    assert torch.equal(won, (u > 0).sum(1).clamp(max=k))
    assert torch.equal((du < 0).sum(1), (u > 0).sum(1) - won)
    assert u.masked_fill(du <= 0, inf).amin(1).ge(u.masked_fill(du >= 0, -inf).amax(1)).all()  # none before a larger


inf = math.inf


def test_nan_shows_at_its_location_and_infinity_where_it_is() -> None:
    u = numbers(2, 5, 3)
    u[0, 1, 2], u[1, 2, 0] = math.nan, inf
    for k in (1, 3, 5):
        cost = winners_cost(u, 1, k, 0.0 if k == 5 else 0.1)
        torch.testing.assert_close(cost, winners.reference(u, 1, k, 0.0 if k == 5 else 0.1)[0], equal_nan=True)
        assert cost[0].isnan().tolist() == [False, False, True]


def test_derivatives() -> None:
    u = numbers(2, 6, 3).requires_grad_()
    for k in (1, 3, 6):
        assert torch.autograd.gradcheck(lambda t, k=k: winners_cost(t, 1, k, 0.2), (u,))
        assert torch.autograd.gradgradcheck(lambda t, k=k: winners_cost(t, 1, k, 0.2).square(), (u,))


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided"])
def test_operators(layout: str) -> None:
    u = numbers(2, 6, 8)
    u = {"contiguous": u, "channels last": u.mT.contiguous().mT, "strided": u[..., ::2]}[layout]
    if layout != "strided":
        torch.library.opcheck(torch.ops.gossamer.winners, (u.clone().requires_grad_(), 1, 2, 0.1))
    cost, least = torch.ops.gossamer.winners(u, 1, 2, 0.1)
    torch.library.opcheck(torch.ops.gossamer.winners_gradient, (cost, u, least, 1, 2, 0.1))


def test_threads_change_nothing() -> None:
    u, g = numbers(5, 20, 28, 29), numbers(5, 28, 29)
    one = value_and_gradient(winners_cost, u, g, 1, 3, 0.1)
    torch.set_num_threads(2)
    two = value_and_gradient(winners_cost, u, g, 1, 3, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_half_types_and_transforms_take_plain_torch() -> None:
    u = numbers(2, 6, 5)
    assert winners_cost(u.bfloat16(), 1, 2, 0.1).dtype == torch.bfloat16
    du = torch.func.grad(lambda t: winners_cost(t, 1, 2, 0.1).sum())(u)
    torch.testing.assert_close(du, value_and_gradient(winners_cost, u, torch.ones(2, 5).double(), 1, 2, 0.1)[1])
    per_sample = torch.func.vmap(lambda t: winners_cost(t, 0, 2, 0.1))(u)
    torch.testing.assert_close(per_sample, winners_cost(u, 1, 2, 0.1))
    compiled = torch.compile(lambda t: winners_cost(t, 1, 2, 0.1), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(value_and_gradient(compiled, u, torch.ones(2, 5).double())[1], du)
