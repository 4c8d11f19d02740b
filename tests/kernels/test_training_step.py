"""The parts of the compiled step one by one, against torch: losses, dense layers of all shapes, ties, random bits."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.activation import top_k
from gossamer.connectivity import Pattern
from gossamer.kernels.training_step import RECIPE, Rows, TrainingStep
from gossamer.models.noise import Dropout
from gossamer.training.task import MULTICLASS, MULTILABEL, REGRESSION, Task

TASKS: dict[str, Task] = {"classes": MULTICLASS, "labels": MULTILABEL, "numbers": REGRESSION}
TaskName = Literal["classes", "labels", "numbers"]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def targets(task: str, n: int, outputs: int, dtype: torch.dtype) -> Tensor:
    if task == "classes":
        return torch.randint(outputs, (n,), generator=torch.Generator().manual_seed(1))
    return (random(n, outputs, seed=1) > 0).to(dtype) if task == "labels" else random(n, outputs, seed=1, dtype=dtype)


def go(
    step: TrainingStep, x: Tensor, task: TaskName, y: Tensor, weight: Tensor | None = None, bits: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One batch without any change of the parameters."""
    recipes = torch.zeros(1, 1, len(RECIPE), dtype=torch.float64)
    order = torch.arange(len(x))
    losses, credits = step.train(
        Rows(x),
        task,
        y,
        weight,
        order,
        len(x),
        bits=bits,
        recipes=recipes,
        optimizer="sgd",
        max_grad_norm=None,
    )
    return losses, credits


def identity_step(units: int, dtype: torch.dtype) -> tuple[TrainingStep, Tensor]:
    """y = x through weights of 1 on the diagonal, whose gradients say what comes back."""
    step, gradient = TrainingStep(dtype), torch.empty(units, dtype=dtype)
    diagonal = Pattern.from_flat_indices(torch.arange(units) * (units + 1), units, units)
    weights = step.parameter(torch.ones(units, dtype=dtype), gradient)
    step.sparse(diagonal.structure, weights, -1, False)
    return step, gradient


@settings(deadline=None, max_examples=60)
@given(
    task=st.sampled_from(list(TASKS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    batch=st.integers(1, 70),
    outputs=st.integers(1, 20),
    spread=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    weighted=st.booleans(),
)
def test_losses_and_credits(
    task: TaskName, dtype: torch.dtype, batch: int, outputs: int, spread: float, weighted: bool
) -> None:
    x = (random(batch, outputs, dtype=dtype) * spread).requires_grad_()
    y = targets(task, batch, outputs, dtype)
    weight = random(batch, seed=3, dtype=dtype).abs() if weighted else None
    loss = TASKS[task].loss(x, y, weight)
    credit = TASKS[task].credit(x.detach(), y)
    (grad,) = torch.autograd.grad(loss, x)

    step, gradient = identity_step(outputs, dtype)
    losses, credits = go(step, x.detach(), task, y, weight)
    near = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(losses[0] / batch, loss.detach().double(), rtol=near, atol=near)
    torch.testing.assert_close(
        credits[0], (credit if weight is None else credit * weight).sum().double(), rtol=near, atol=near
    )
    scale = max(1.0, spread)
    torch.testing.assert_close(gradient / scale, (grad * x.detach()).sum(0) / scale, rtol=near, atol=near)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_losses_of_what_is_no_number(task: TaskName, value: float) -> None:
    x, y = random(6, 3), targets(task, 6, 3, torch.float64)
    x[1] = value
    x[2, 0] = value
    step, _ = identity_step(3, torch.float64)
    losses, _ = go(step, x, task, y)
    torch.testing.assert_close(losses[0] / 6, TASKS[task].loss(x, y, None), equal_nan=True)


@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from([torch.float32, torch.float64]),
    batch=st.integers(1, 70),
    inputs=st.integers(1, 40),
    hidden=st.integers(1, 40),
    relu=st.booleans(),
)
def test_dense_layers(dtype: torch.dtype, batch: int, inputs: int, hidden: int, relu: bool) -> None:
    x, y = random(batch, inputs, dtype=dtype), random(batch, 3, seed=1, dtype=dtype)
    shapes = [(hidden, inputs), (hidden,), (3, hidden)]
    w1, b1, w2 = (random(*shape, seed=i, dtype=dtype).requires_grad_() for i, shape in enumerate(shapes))
    z = F.linear(x, w1, b1)
    F.mse_loss(F.linear(z.relu() if relu else z, w2), y).backward()

    step = TrainingStep(dtype)
    gradients = [torch.full(shape, torch.nan, dtype=dtype) for shape in shapes]
    n1, nb, n2 = (step.parameter(p.detach(), g) for p, g in zip((w1, b1, w2), gradients, strict=True))
    step.dense(inputs, hidden, n1, nb, relu)
    step.dense(hidden, 3, n2, -1, False)
    go(step, x, "numbers", y)
    for parameter, gradient in zip((w1, b1, w2), gradients, strict=True):
        assert parameter.grad is not None
        near = 1e-4 if dtype == torch.float32 else 1e-10
        torch.testing.assert_close(gradient, parameter.grad, rtol=near, atol=near * float(parameter.grad.abs().max()))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("batch", [1, 5, 16, 33])
def test_top_k_of_ties_infinities_and_nan(batch: int, signed: bool) -> None:
    x = random(batch, 9).round()  # many ties
    x[0, 3], x[batch // 2, 5] = torch.inf, -torch.inf
    y = torch.zeros(batch, 9, dtype=torch.float64)
    for broken in (False, True):
        if broken:
            x[-1, 2] = torch.nan
        wanted = top_k(x, 4, signed=signed)
        step, gradient = identity_step(9, torch.float64)
        step.top_k(9, 4, signed)
        losses, _ = go(step, x, "numbers", y)
        torch.testing.assert_close(losses[0], wanted.square().mean(1).sum(), equal_nan=True)
        live = torch.where(wanted == 0, 0.0, 2 / (9 * batch) * wanted)  # what comes back
        if not x.isinf().any() and not broken:
            torch.testing.assert_close(gradient, (live * x).sum(0))


@pytest.mark.parametrize("batch_major", [False, True])
def test_dropout_takes_its_bits_as_the_layer_does(batch_major: bool) -> None:
    layer = Dropout(0.3)
    layer.generator = torch.Generator().manual_seed(5)
    x = random(7, 9)
    wanted = layer(x if batch_major else x.t().contiguous().t())
    bits = torch.empty((7 * 9 + 3) // 4, dtype=torch.int64)
    bits.random_(torch.iinfo(torch.int64).min, None, generator=torch.Generator().manual_seed(5))
    step, _ = identity_step(9, torch.float64)
    step.dropout(9, 0.3, batch_major)
    losses, _ = go(step, x, "numbers", torch.zeros(7, 9, dtype=torch.float64), bits=bits)
    torch.testing.assert_close(losses[0], wanted.square().mean(1).sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh"])
def test_curves(name: str) -> None:
    x = torch.cat([random(8, 5) * 3, torch.tensor([[0.0, -0.0, 800.0, -800.0, 1e-300]], dtype=torch.float64)])
    module = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(-0.5), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh()}[name]
    weights = torch.ones(5, dtype=torch.float64, requires_grad=True)
    F.mse_loss(module(x * weights), torch.zeros(9, 5, dtype=torch.float64)).backward()
    step, gradient = identity_step(5, torch.float64)
    step.curve(5, name, -0.5)
    go(step, x, "numbers", torch.zeros(9, 5, dtype=torch.float64))
    torch.testing.assert_close(gradient, weights.grad)
