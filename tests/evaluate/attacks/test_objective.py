from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gossamer.evaluate.attacks.objective import Loss, margin, objective

Z, Y = torch.tensor([[4.0, 1.0, 2.0, 0.0]], dtype=torch.float64), torch.tensor([0])


def test_worked_values() -> None:
    total = math.log(math.exp(4) + math.exp(1) + math.exp(2) + 1)
    assert objective("ce", Z, Y).item() == pytest.approx(total - 4)
    assert margin(Z, Y).item() == -2
    assert objective("dlr", Z, Y).item() == pytest.approx(-2 / (4 - 1))


def test_worked_values_of_a_target() -> None:
    t = torch.tensor([1])
    total = math.log(math.exp(4) + math.exp(1) + math.exp(2) + 1)
    assert objective("ce", Z, Y, t).item() == pytest.approx(1 - total)
    assert objective("margin", Z, Y, t).item() == -3
    assert objective("dlr", Z, Y, t).item() == pytest.approx(-3 / (4 - (1 + 0) / 2))


@pytest.mark.parametrize(("classes", "target"), [(2, None), (2, 1), (3, 1)])
def test_without_enough_classes_the_margin(classes: int, target: int | None) -> None:
    aim = None if target is None else torch.tensor([target])
    assert objective("dlr", Z[:, :classes], Y, aim) == objective("margin", Z[:, :classes], Y, aim)


@pytest.mark.parametrize("target", [None, 2])
def test_the_ratio_ignores_scale_and_shift(target: int | None) -> None:
    aim = None if target is None else torch.tensor([target])
    torch.testing.assert_close(objective("dlr", 1e4 * Z + 7, Y, aim), objective("dlr", Z, Y, aim))


@pytest.mark.parametrize("loss", ["ce", "dlr", "margin"])
@pytest.mark.parametrize("target", [None, torch.tensor([1, 1])])
def test_equal_logits(loss: Loss, target: Tensor | None) -> None:
    z = torch.zeros(2, 4, requires_grad=True)
    value = objective(loss, z, torch.tensor([0, 3]), target)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_the_margin_is_positive_where_misclassified(generator: torch.Generator) -> None:
    z = torch.randn(100, 5, generator=generator)
    y = torch.randint(5, (100,), generator=generator)
    assert torch.equal(margin(z, y) > 0, z.argmax(1) != y)
