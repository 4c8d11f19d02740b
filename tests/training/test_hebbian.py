"""The costs of HaH blocks are a part of the task: training follows their gradient, and no record contains them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gossamer.activation import hebbian_cost
from gossamer.models import HEBBIAN_ALPHA, MLP, VGG
from gossamer.training import Fit, Recipe, Samples
from gossamer.training.hebbian import with_hebbian_cost
from gossamer.training.passes import one_pass
from gossamer.training.task import MULTICLASS

pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(**change: Any) -> Recipe:
    arguments: dict[str, Any] = {
        "model": "vgg:4-M-6-6", "hidden": (), "hebbian_blocks": 2, "hebbian_cost": 50.0, "hebbian_anti": 0.5,
        "hebbian_winners": 0.3, "density": 1.0, "rewire": "none", "activation": "relu", "epochs": 1, "batch_size": 12,
        "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "schedule": "constant",
    }  # fmt: skip
    return Recipe(**(arguments | change))


def samples() -> Samples:
    x = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return Samples(x, torch.arange(12) % 3)


def fitted(**change: Any) -> Fit:
    return Fit(recipe(**change), sparse=True, seed=0, outputs=3, train=samples(), validation=samples())


def maps(net: VGG, x: torch.Tensor, upto: int) -> torch.Tensor:
    """The output of the convolution of block ``upto``."""
    x = net.standardized(x)
    for name, module in net.features.named_children():
        if name == f"block{upto}":
            return module.conv(x)  # type: ignore[no-any-return, operator]
        x = module(x)
    raise AssertionError


@pytest.mark.parametrize("gradient", ["local", "joint"])
def test_a_step_follows_the_loss_and_the_costs(gradient: str) -> None:
    fit = fitted(hebbian_gradient=gradient)
    net = fit.model
    assert isinstance(net, VGG)
    x, y = samples().x, samples().y
    assert isinstance(x, torch.Tensor)
    assert isinstance(y, torch.Tensor)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net.train()
    loss = F.cross_entropy(net(x), y)
    expected = dict(zip(before, torch.autograd.grad(loss, list(net.parameters())), strict=True))
    for block in (1, 2):
        cost = -50.0 * HEBBIAN_ALPHA[block - 1] * hebbian_cost(maps(net, x, block), winners=0.3, anti=0.5)
        reached = [f"features.block{i}.conv.weight" for i in range(1, block + 1)]
        reached = reached[-1:] if gradient == "local" else reached
        for name, part in zip(reached, torch.autograd.grad(cost, [net.get_parameter(n) for n in reached]), strict=True):
            expected[name] = expected[name] + part
    (record,) = fit.run()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] - 0.1 * expected[name], atol=1e-6, rtol=1e-4)
    assert record.train_loss == pytest.approx(loss.item(), rel=1e-5)  # without the costs, as in validation
    assert fit.fallback == "the samples are images"


def test_the_task_stays_as_it_is_without_blocks_or_cost() -> None:
    generator = torch.Generator().manual_seed(0)
    net = VGG((4, "M", 6), in_channels=1, classes=3, image_size=6, hebbian_blocks=1, generator=generator)
    plain = VGG((4, "M", 6), in_channels=1, classes=3, image_size=6, hebbian_blocks=0, generator=generator)
    mlp = MLP(4, (5,), 3, density=None, generator=generator)
    assert with_hebbian_cost(MULTICLASS, net, recipe(hebbian_cost=0.0)) is MULTICLASS
    assert with_hebbian_cost(MULTICLASS, plain, recipe()) is MULTICLASS
    assert with_hebbian_cost(MULTICLASS, mlp, recipe()) is MULTICLASS
    task = with_hebbian_cost(MULTICLASS, net, recipe())
    assert task != MULTICLASS
    assert (task.loss, task.credit) == (MULTICLASS.loss, MULTICLASS.credit)


def test_blocks_after_the_sixth_have_no_cost() -> None:
    net = VGG((2,) * 8, in_channels=1, classes=2, image_size=4, hebbian_blocks=8)
    task = with_hebbian_cost(MULTICLASS, net, recipe(hebbian_cost=2.0))
    net(torch.rand(3, 1, 4, 4))
    assert task.cost is not None
    task.cost().backward()
    reached = [name for name, p in net.named_parameters() if p.grad is not None]
    assert reached == [f"features.block{i}.conv.weight" for i in range(1, 7)]


def test_a_greater_cost_makes_winners_stronger() -> None:
    def contrast(cost: float) -> float:
        fit = fitted(hebbian_cost=cost, epochs=15)
        list(fit.run())
        x = samples().x
        assert isinstance(fit.model, VGG)
        assert isinstance(x, torch.Tensor)
        with torch.no_grad():
            return float(hebbian_cost(maps(fit.model, x, 1), winners=0.3, anti=1.0))

    assert contrast(300.0) > 1.1 * contrast(0.0)


def test_a_cost_of_any_network_leaves_the_compiled_step() -> None:
    x = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))

    def step(cost: float | None) -> tuple[str | None, torch.Tensor, torch.Tensor]:
        net = MLP(4, (6,), 3, density=0.5, generator=torch.Generator().manual_seed(0))
        weights = net.get_parameter("linear1.weight_values")
        before = weights.detach().clone()
        task = MULTICLASS if cost is None else replace(MULTICLASS, cost=lambda: cost * weights.square().sum())
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        done = one_pass(net, optimizer, Samples(x, torch.arange(12) % 3), task, batch_size=12, seed=(0, 1))
        return done.fallback, (weights - before).detach(), before

    (plain, change, before), (reason, other, _) = step(None), step(2.0)
    assert plain is None
    assert "has a cost of the network beside it" in str(reason)
    torch.testing.assert_close(other, change - 0.1 * 2 * 2.0 * before, atol=1e-6, rtol=1e-4)
