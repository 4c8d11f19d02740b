"""The mathematics of L_q noise, by enumeration of all masks: nothing here is random but the numbers it is tried on."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from gossamer import kernels
from gossamer.noise import perturb

F64 = torch.float64
PS, QS = (0.2, 0.3, 0.4, 0.5, 0.8), (0.6, 1.0, 1.5, 2.0, 2.5, 3.0)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def all_masks(n: int) -> Tensor:
    """(2ⁿ, n): every vector of zeros and ones."""
    return (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).to(F64)


def chances(masks: Tensor, p: float) -> Tensor:
    """The probability of each row of ``masks``."""
    return (masks * (1 - p) + (1 - masks) * p).prod(-1)


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("p", PS)
def test_mean_and_variance_are_x_and_that_of_the_penalty(p: float, q: float) -> None:
    x, r = numbers(7), torch.tensor([[0.0], [1.0]], dtype=F64)
    chance = torch.tensor([[p], [1 - p]], dtype=F64)
    y = perturb(x, r, p, q, "frozen")
    torch.testing.assert_close((chance * y).sum(0), x, rtol=1e-12, atol=0)
    variance = (chance * (y - x).square()).sum(0)
    torch.testing.assert_close(variance, p / (1 - p) * x.abs() ** q, rtol=1e-10, atol=0)


@pytest.mark.parametrize("gradient", ["frozen", "exact"])
@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("p", PS)
def test_least_squares_is_penalised_as_derived(
    p: float, q: float, gradient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels.lq_noise, "EPSILON", 0.0)  # it changes |h|^q by 10⁻¹² / |h|
    h, b, y, masks = numbers(40, 8), numbers(8, seed=1), numbers(40, seed=2), all_masks(8)
    chance = chances(masks, p)
    noisy = perturb(h, masks[:, None, :], p, q, gradient)  # (256, 40, 8); rows that share a mask keep the mean
    loss = chance @ (y - noisy @ b).square().sum(1) / 2
    penalty = p / (2 * (1 - p)) * (b.square() * h.abs() ** q).sum()
    torch.testing.assert_close(loss, (y - h @ b).square().sum() / 2 + penalty, rtol=1e-12, atol=0)


def test_least_squares_of_several_outputs_sees_the_lengths_of_columns_and_no_noise_in_zeros() -> None:
    h, w, y, masks, p, q = numbers(6), numbers(3, 6, seed=1), numbers(3, seed=2), all_masks(6), 0.3, 1.3
    h[::2] = 0.0
    loss = chances(masks, p) @ (y - perturb(h, masks, p, q, "frozen") @ w.t()).square().sum(1) / 2
    penalty = p / (2 * (1 - p)) * (w.square().sum(0) * h.abs() ** q).sum()
    torch.testing.assert_close(loss, (y - w @ h).square().sum() / 2 + penalty, rtol=1e-11, atol=0)


def test_other_losses_are_penalised_so_to_second_order() -> None:
    h, b, masks, p, q = numbers(8), numbers(8, seed=1), all_masks(8), 0.3, 1.3
    chance = chances(masks, p)

    def gap(scale: float) -> float:
        """How far the expansion of the logistic loss is off, as a share of the penalty."""
        eta = perturb(h, masks, p, q, "exact") @ (scale * b)
        mean = h @ (scale * b)
        exact = float(chance @ torch.nn.functional.softplus(eta) - torch.nn.functional.softplus(mean))
        curvature = float(mean.sigmoid() * (1 - mean.sigmoid()))
        return abs(curvature * p / (2 * (1 - p)) * float((scale * b).square() @ h.abs() ** q) / exact - 1)

    assert gap(0.01) < 1e-2
    assert gap(0.001) < 1e-3


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("gradient", ["frozen", "exact"])
def test_the_noise_of_the_gradient_is_on_average_that_of_the_penalty(gradient: str, q: float) -> None:
    p, masks = 0.4, all_masks(6)
    a, w, y = numbers(6).requires_grad_(), numbers(3, 6, seed=1).requires_grad_(), numbers(3, seed=2)
    clean = (y - w @ a).square().sum() / 2
    penalty = p / (2 * (1 - p)) * (w.square().sum(0) * a.abs() ** q).sum()
    expected = chances(masks, p) @ (y - perturb(a, masks, p, q, gradient) @ w.t()).square().sum(1) / 2
    (by_a, by_w) = torch.autograd.grad(expected - clean, (a, w))
    (penalty_by_a,) = torch.autograd.grad(penalty, a)
    factor = 1.0 if gradient == "exact" else 2 / q
    torch.testing.assert_close(by_a, factor * penalty_by_a, rtol=1e-6, atol=0)
    pull = ((a * by_a).sum() - (w * by_w).sum()) / penalty  # along a → c a, w → w / c, which leaves w a what it is
    assert float(pull.detach()) == pytest.approx(q - 2 if gradient == "exact" else 0, abs=1e-6)


def away_from_zero() -> Tensor:
    x = numbers(5)
    return (x + 0.2 * x.sign()).requires_grad_()


@pytest.mark.parametrize("q", [0.0, 0.6, 1.0, 1.5, 2.0, 3.0])
def test_the_exact_gradient_passes_gradcheck_twice(q: float) -> None:
    for p, r in ((0.3, all_masks(5)[5:12:3]), (1.0, torch.zeros(1, 5))):  # several masks: their gradients add up
        noisy = partial(perturb, r=r, p=p, q=q, gradient="exact")
        assert torch.autograd.gradcheck(noisy, away_from_zero(), check_batched_grad=True)
        assert torch.autograd.gradgradcheck(noisy, away_from_zero())


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, 3.0])
def test_the_frozen_gradient_passes_gradcheck_at_two_alone(q: float) -> None:
    r = all_masks(5)[:4]
    passes = torch.autograd.gradcheck(
        lambda x: perturb(x, r, 0.3, q, "frozen"), away_from_zero(), raise_exception=False
    )
    assert passes == (q == 2)


def test_the_frozen_gradient_is_the_multiplier_also_when_differentiated_again() -> None:
    x, r, p, q = away_from_zero(), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]), 0.3, 1.5
    y = perturb(x, r, p, q, "frozen")
    (d,) = torch.autograd.grad(y.square().sum() / 2, x, create_graph=True)
    multiplier = y.detach() / x.detach()
    torch.testing.assert_close(d, multiplier * y)
    (again,) = torch.autograd.grad(d.sum(), x)
    torch.testing.assert_close(again, multiplier.square())


@pytest.mark.parametrize("q", [0.0, 0.6, 1.0, 1.5, 1.99, 2.01, 3.0])
def test_at_zero_the_exact_gradient_is_that_of_the_mean(q: float) -> None:
    x, r = torch.zeros(2, requires_grad=True), torch.tensor([0.0, 1.0])
    (d,) = torch.autograd.grad(perturb(x, r, 0.3, q, "exact").sum(), x, create_graph=True)
    assert d.tolist() == [1.0, 1.0]
    (again,) = torch.autograd.grad(d.sum(), x)
    assert bool(again.isfinite().all())


@pytest.mark.parametrize(("q", "most"), [(1.0, 1e6), (1.5, 1e3), (1.75, 10**1.5), (2.5, 0.0), (3.0, 0.0)])
def test_at_zero_the_frozen_gradient_is_large_and_finite(q: float, most: float) -> None:
    x, r = torch.zeros(2, requires_grad=True), torch.tensor([0.0, 1.0])
    perturb(x, r, 0.5, q, "frozen").sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([1 - most, 1 + most], rel=1e-2)


@pytest.mark.parametrize("gradient", ["frozen", "exact"])
def test_infinities_and_the_largest_numbers_do_what_is_said(gradient: str) -> None:
    x, dropped, kept = torch.tensor([math.inf, -math.inf]), torch.zeros(2), torch.ones(2)
    for r in (dropped, kept):
        assert perturb(x, r, 0.5, 1.5, gradient).tolist() == [math.inf, -math.inf]
    assert bool(perturb(x, dropped, 0.5, 2.0, gradient).isnan().all())
    assert perturb(x, dropped, 0.5, 3.0, gradient).tolist() == [-math.inf, math.inf]
    assert perturb(x, kept, 0.5, 3.0, gradient).tolist() == [math.inf, -math.inf]
    assert float(perturb(torch.tensor(3e38), torch.tensor(1.0), 0.5, 2.0, gradient)) == math.inf


@pytest.mark.parametrize("gradient", ["frozen", "exact"])
def test_masks_may_be_booleans_and_may_be_shared(gradient: str) -> None:
    x, r = numbers(3, 4), torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=F64)
    for q in (1.0, 2.0):
        y = perturb(x, r, 0.3, q, gradient)
        assert torch.equal(perturb(x, r.bool(), 0.3, q, gradient), y)
        for row, noisy in zip(x, y, strict=True):
            assert torch.equal(perturb(row, r, 0.3, q, gradient), noisy)
