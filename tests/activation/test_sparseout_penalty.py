"""Sparseout's penalty: the mean of the noisy loss over all masks, exactly for least squares."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gossamer as gs
from gossamer import InputError
from gossamer.activation.sparseout_penalty import Loss, SparseoutPenalty, sparseout_penalty
from gossamer.kernels import lq_noise
from gossamer.noise import perturb

F64 = torch.float64
PS, QS = (0.2, 0.3, 0.5, 0.8), (0.6, 1.0, 1.5, 2.0, 2.5, 3.0)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def all_masks(n: int) -> Tensor:
    return (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).to(F64)


def expected(loss: Callable[[Tensor], Tensor], a: Tensor, p: float, q: float) -> Tensor:
    """The mean of ``loss`` (masks, rows, features) -> (masks, rows) over all masks, for each row."""
    masks = all_masks(a.shape[-1])
    chances = (masks * (1 - p) + (1 - masks) * p).prod(-1)
    return chances @ loss(perturb(a, masks[:, None, :], p, q, "exact"))


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("p", PS)
def test_least_squares_loses_exactly_the_penalty(p: float, q: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lq_noise, "EPSILON", 0.0)  # it changes |a|^q by 10⁻¹² / |a|
    a, w, b, y = numbers(5, 7), numbers(3, 7, seed=1), numbers(3, seed=2), numbers(5, 3, seed=3)

    def loss(x: Tensor) -> Tensor:
        return (y - F.linear(x, w, b)).square().sum(-1) / 2

    penalty = sparseout_penalty(a, w, p, q, bias=b, reduction="none")
    torch.testing.assert_close(expected(loss, a, p, q), loss(a) + penalty, rtol=1e-12, atol=0)
    for reduction in ("sum", "mean"):
        whole = sparseout_penalty(a, w, p, q, reduction=reduction)
        torch.testing.assert_close(whole, getattr(penalty, reduction)(), rtol=1e-14, atol=0)


LOSSES: dict[Loss, Callable[[Tensor], Tensor]] = {  # A(η): the term in y has no noise on average
    "logistic": lambda eta: F.softplus(eta).sum(-1),
    "softmax": lambda eta: eta.logsumexp(-1),
    "poisson": lambda eta: eta.exp().sum(-1),
}


@pytest.mark.parametrize("q", [0.6, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_other_losses_lose_it_to_second_order(loss: Loss, q: float) -> None:
    a, w, b = numbers(4, 6), numbers(3, 6, seed=1), numbers(3, seed=2) / 2

    def gap(p: float, scale: float) -> tuple[float, float]:
        """What the expansion leaves out, and the penalty; the largest of the rows."""
        weight = scale * w

        def of(x: Tensor) -> Tensor:
            return LOSSES[loss](F.linear(x, weight, b))

        penalty = sparseout_penalty(a, weight, p, q, bias=b, loss=loss, reduction="none")
        return float((expected(of, a, p, q) - of(a) - penalty).abs().max()), float(penalty.max())

    for p in (0.4, 0.1, 0.01, 0.001):  # it shrinks with p, as the penalty does ...
        left_out, penalty = gap(p, 0.02)
        assert left_out < 0.05 * penalty
        assert left_out < 0.002 * p / (1 - p)
    for p in (0.3, 0.01):  # ... and beside the penalty with the weights: it is of third order in them
        shares = [left / size for left, size in (gap(p, scale) for scale in (0.04, 0.02, 0.01))]
        assert shares[2] < 0.03
        assert shares[0] > 1.6 * shares[1] > 1.6**2 * shares[2]


def test_it_has_the_gradient_of_the_mean_of_the_noisy_loss() -> None:
    p, q = 0.4, 1.5
    a, w, y = numbers(3, 6).requires_grad_(), numbers(2, 6, seed=1).requires_grad_(), numbers(3, 2, seed=3)

    def loss(x: Tensor) -> Tensor:
        return (y - F.linear(x, w)).square().sum(-1) / 2

    right = torch.autograd.grad(expected(loss, a, p, q).mean(), (a, w))
    mine = torch.autograd.grad(loss(a).mean() + SparseoutPenalty(p, q)(a, w), (a, w))
    torch.testing.assert_close(mine, right, rtol=1e-9, atol=0)


@pytest.mark.parametrize("loss", ["squared", *LOSSES])
@pytest.mark.parametrize("q", [1.5, 2.0, 3.0])
def test_gradcheck(loss: Loss, q: float) -> None:
    a, w, b = numbers(2, 4) + 2, numbers(3, 4, seed=1), numbers(3, seed=2)
    inputs = [x.requires_grad_() for x in (a, w, b)]
    assert torch.autograd.gradcheck(lambda a, w, b: sparseout_penalty(a, w, 0.3, q, bias=b, loss=loss), inputs)


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 1.5, 2.0])
def test_zeros_cost_nothing_and_have_no_gradient(q: float) -> None:
    a = torch.tensor([[0.0, -0.0, 2.0]], requires_grad=True)
    penalty = sparseout_penalty(a, torch.ones(1, 3), 0.5, q)
    assert float(penalty.detach()) == pytest.approx(2**q / 2)
    penalty.backward()
    assert a.grad is not None
    assert a.grad[0, :2].tolist() == [0.0, 0.0]
    assert bool(a.grad.isfinite().all())


def test_without_dropping_there_is_no_penalty_and_nan_shows() -> None:
    a, w = torch.randn(4, 3), torch.randn(2, 3)
    assert float(sparseout_penalty(a, w, 0.0, 1.5)) == 0.0
    a[0, 0] = math.nan
    assert sparseout_penalty(a, w, 0.5, 1.5, reduction="none").isnan().tolist() == [True, False, False, False]
    assert sparseout_penalty(a[:0], w, reduction="none").shape == (0,)
    assert sparseout_penalty(torch.randn(2, 5, 3), w, reduction="none").shape == (2, 5)


def test_it_regularises_in_a_training_loop() -> None:
    """Features of a linear autoencoder shrink more with it than without, and the loop is that of any loss."""
    x, sizes = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)), []
    for p in (0.0, 0.6):
        torch.manual_seed(0)
        body, head = nn.Linear(6, 4), nn.Linear(4, 6)
        penalty = gs.SparseoutPenalty(p, q=1.0)
        optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.05)
        for _ in range(60):
            h = body(x)
            loss = (x - head(h)).square().sum(1).mean() / 2 + penalty(h, head.weight, head.bias)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        sizes.append(float((body(x).abs().mean() * head.weight.square().mean()).detach()))
    assert sizes[1] < 0.8 * sizes[0]
    assert repr(penalty) == "SparseoutPenalty(p=0.6, q=1, loss='squared')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 1.0}, r"p must be in \[0, 1\), got 1.0"),
        ({"p": math.nan}, r"p must be in \[0, 1\), got nan"),
        ({"q": -1.0}, r"q must be in \[0, inf\), got -1.0"),
        ({"loss": "hinge"}, "loss must be one of 'squared', 'logistic', 'softmax', 'poisson', got 'hinge'"),
        ({"reduction": "max"}, "reduction must be one of 'mean', 'sum', 'none', got 'max'"),
        ({"weight": torch.ones(2, 4)}, r"a and weight must have shapes .* got \(5, 3\) and \(2, 4\)"),
        ({"weight": torch.ones(3)}, r"got \(5, 3\) and \(3,\)"),
        ({"bias": torch.ones(3)}, r"bias must have shape \(2,\), got \(3,\)"),
        ({"a": torch.ones(5, 3, dtype=torch.int64)}, "a must be floating point, got torch.int64"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sparseout_penalty(**({"a": torch.ones(5, 3), "weight": torch.ones(2, 3)} | arguments))
    module = {name: value for name, value in arguments.items() if name in ("p", "q", "loss")}
    if module:
        with pytest.raises(InputError, match=message):
            SparseoutPenalty(**module)
