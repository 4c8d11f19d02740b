from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.evaluate.attacks import APGD, FGSM, PGD, Attack, Box
from gossamer.evaluate.attacks.ball import Norm


def linear(weight: Tensor) -> nn.Linear:
    net = nn.Linear(weight.shape[1], weight.shape[0]).double()
    net.weight.data = weight
    return net


def best_step(w: Tensor, x: Tensor, radius: float, norm: str) -> Tensor:
    """argmax ⟨w, d⟩ with ‖d‖ ≤ r and x + d in [0, 1]: clip(λ w), λ as large as the radius allows (by bisection)."""
    if norm == "linf":
        return (x + radius * w.sign()).clamp(0, 1) - x
    small, large = 0.0, 1e6
    for _ in range(200):
        middle = (small + large) / 2
        step = (x + middle * w).clamp(0, 1) - x
        small, large = (middle, large) if step.norm() <= radius else (small, middle)
    return (x + small * w).clamp(0, 1) - x


LONG: list[Attack] = [
    PGD(radius=1, steps=200, restarts=1),
    APGD(radius=1, steps=100),
    APGD(radius=1, steps=100, loss="dlr"),
    APGD(radius=1, steps=100, loss="dlr", targeted=True),
]


@pytest.mark.parametrize("attack", LONG, ids=["pgd", "apgd-ce", "apgd-dlr", "apgd-t"])
@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.05), ("linf", 0.6), ("l2", 0.1), ("l2", 0.9)])
def test_the_best_step_of_a_linear_network(
    attack: Attack, norm: str, radius: float, generator: torch.Generator, box: Box
) -> None:
    weight = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    x = torch.rand(8, 5, generator=generator, dtype=torch.float64)
    x[0] = 0
    net, w = linear(weight), weight[1] - weight[0]
    y = torch.zeros(8, dtype=torch.int64)  # both classes are attacked where y is not the class that the network gives
    found = type(attack)(**{**vars(attack), "norm": norm, "radius": radius})(net, x, y, box=box, generator=generator)
    gained = (found - x) @ w
    best = torch.stack([best_step(w, row, radius, norm) @ w for row in x])
    assert (gained <= best + 1e-9).all()
    torch.testing.assert_close(gained, best, rtol=0.02 if isinstance(attack, PGD) else 2e-3, atol=0)


def test_targets_find_the_best_class_of_a_linear_network(generator: torch.Generator) -> None:
    """max_t z_t − z_y + r ‖w_t − w_y‖₁ is the largest margin, > 0 where the sample can be misclassified."""
    weight = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    net = linear(weight)
    z = net(x).detach()
    y = z.argmax(1)
    reach = z - z.gather(1, y[:, None]) + 0.2 * (weight - weight[y][:, None]).abs().sum(2)
    reach.scatter_(1, y[:, None], -torch.inf)
    attack = APGD(radius=0.2, steps=20, loss="dlr", targeted=True)
    found = attack(net, x, y, box=Box(-9, 9), generator=generator)
    assert torch.equal(net(found).argmax(1) != y, reach.amax(1) > 0)
    assert 5 < int((reach.amax(1) > 0).sum()) < 55


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_step_is_that_of_the_formula(norm: Norm, net: nn.Module, x: Tensor, y: Tensor) -> None:
    found = FGSM(norm=norm, radius=0.01)(net, x, y, box=Box(-5, 5), generator=torch.Generator())
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(net(leaf), y, reduction="sum"), leaf)
    step = g.sign() if norm == "linf" else g / g.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found, x + 0.01 * step)


def test_descent_follows_the_plain_loop(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    """A loop over samples, from the same starts; the last and best points agree."""
    steps, radius = 15, 0.2
    attack = PGD(radius=radius, steps=steps, restarts=1)
    found = attack(net, x, y, box=box, generator=torch.Generator().manual_seed(5))
    g = torch.Generator().manual_seed(5)
    torch.randint(2**62, (), generator=g)  # the seed of random layers
    z = (x + radius * (2 * torch.rand(x.shape, generator=g, dtype=torch.float64) - 1)).clamp(0, 1)
    for i in range(len(x)):
        row, tried = z[i : i + 1], [x[i : i + 1]]
        for _ in range(steps):
            tried.append(row)
            leaf = row.clone().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(net(leaf), y[i : i + 1]), leaf)
            row = row + 2.5 * radius / steps * slope.sign()
            row = torch.minimum(torch.maximum(row, x[i : i + 1] - radius), x[i : i + 1] + radius).clamp(0, 1)
        tried.append(row)
        all_tried = torch.cat(tried)
        labels = y[i].expand(len(all_tried))
        loss = F.cross_entropy(net(all_tried), labels, reduction="none")
        broken = net(all_tried).argmax(1) != labels
        best = int(torch.where(broken, loss + 1e3, loss).argmax())
        torch.testing.assert_close(found[i], all_tried[best])


def test_more_steps_and_restarts_find_more(net: nn.Module, x: Tensor, y: Tensor, box: Box) -> None:
    def broken(steps: int, restarts: int) -> int:
        g = torch.Generator().manual_seed(0)
        found = PGD(radius=0.08, steps=steps, restarts=restarts)(net, x, y, box=box, generator=g)
        return int((net(found).argmax(1) != y).sum())

    assert 0 < broken(steps=1, restarts=1) < broken(steps=100, restarts=3) < 40


def test_samples_that_are_misclassified_already_get_a_larger_loss(
    net: nn.Module, x: Tensor, y: Tensor, box: Box, generator: torch.Generator
) -> None:
    wrong = (y + 1) % 4
    found = PGD(radius=0.1, steps=20)(net, x, wrong, box=box, generator=generator)
    loss = F.cross_entropy(net(found), wrong, reduction="none")
    assert (loss > F.cross_entropy(net(x), wrong, reduction="none")).all()
    assert (net(found).argmax(1) != wrong).all()
