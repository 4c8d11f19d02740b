"""Which vectors of a weight a constraint speaks of, where it puts them, and what it says of others."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer import InputError, constraints
from gossamer.functional import (
    group_hoyer_projection,
    hoyer_projection,
    l0_projection,
    l1_ball_projection,
    l1_l2_projection,
)
from gossamer.measures import hoyer

nan = math.nan


def weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


EVERY = [
    constraints.Hoyer(0.75),
    constraints.Hoyer(0.6, norm=2.5, per="input"),
    constraints.Hoyer(0.6, norm="preserve", per="layer"),
    constraints.Hoyer(0.4, signed=False),
    constraints.Hoyer(0.7, at_least=True),
    constraints.Hoyer(0.6, at_least=True, signed=False, norm="preserve"),
    constraints.AverageHoyer(0.8),
    constraints.AverageHoyer(0.7, per="input", signed=False),
    constraints.L0(3),
    constraints.L0(3, per="input", signed=False),
    constraints.L0(20, per="layer"),
    constraints.L1(1.5),
    constraints.L1(1.5, per="input"),
    constraints.L1(1.5, per="layer", signed=False),
]
every = pytest.mark.parametrize("constraint", EVERY, ids=str)


@every
@pytest.mark.parametrize("shape", [(6, 8), (6, 4, 3, 3)])
def test_what_is_projected_holds_and_stays(constraint: constraints.Constraint, shape: tuple[int, ...]) -> None:
    w = weight(*shape)
    assert not constraint.holds(w)
    projected = w.clone()
    assert constraint.project_(projected) is projected
    assert projected.shape == w.shape
    assert constraint.holds(projected)
    torch.testing.assert_close(constraint.project(projected), projected)
    if not constraint.signed:
        assert projected.min() >= 0
        assert not constraint.holds(-projected)
    assert not constraint.holds(projected.clone().fill_(nan))


def by_hoyer(rows: Tensor, c: constraints.Hoyer) -> Tensor:
    if not c.at_least:
        return hoyer_projection(rows, c.sparseness, 1, c.signed, c.norm)
    root = math.sqrt(rows.shape[1])
    length = rows.norm(dim=1) if c.norm == "preserve" else torch.full(rows.shape[:1], c.norm)
    return l1_l2_projection(rows, length * (root - c.sparseness * (root - 1)), length, "ball-sphere", 1, c.signed)


@every
def test_the_literals_of_each_set(constraint: constraints.Constraint) -> None:
    w = weight(6, 8)
    rows = {"output": w, "input": w.t(), "layer": w.reshape(1, -1)}[constraint.per]
    expected = {
        constraints.Hoyer: lambda c: by_hoyer(rows, c),
        constraints.AverageHoyer: lambda c: group_hoyer_projection(rows, c.sparseness, 1, c.signed),
        constraints.L0: lambda c: l0_projection(rows, c.k, 1, c.signed),
        constraints.L1: lambda c: l1_ball_projection(rows, c.radius, 1, c.signed),
    }[type(constraint)](constraint)
    found = constraint.project(w)
    torch.testing.assert_close(
        {"output": found, "input": found.t(), "layer": found.reshape(1, -1)}[constraint.per], expected
    )


def test_zeros_survive_where_the_sparseness_is_reached() -> None:
    w = constraints.Hoyer(0.75).project(weight(30, 50))
    zeros = w == 0
    for factor in (1.0, 0.999, 1.5):  # weight decay, say, at a unit that gets no gradient
        again = constraints.Hoyer(0.75).project_(w * factor)
        assert torch.equal(again == 0, zeros)
        torch.testing.assert_close(again, w)
    sparser = constraints.Hoyer(0.9).project(weight(30, 50))
    assert (constraints.Hoyer(0.75).project(sparser) != 0).all()
    assert torch.equal(constraints.Hoyer(0.75, at_least=True).project(sparser) == 0, sparser == 0)


def test_columns_and_rows() -> None:
    w = torch.tensor([[3.0, 2], [1, 4], [0, 5]])
    assert constraints.L0(1).project(w).tolist() == [[3, 0], [0, 4], [0, 5]]
    assert constraints.L0(1, per="input").project(w).tolist() == [[3, 0], [0, 0], [0, 5]]
    assert constraints.L0(1, per="layer").project(w).tolist() == [[0, 0], [0, 0], [0, 5]]


def test_a_convolution_has_one_vector_for_each_channel() -> None:
    w = weight(6, 4, 3, 3)
    out = constraints.Hoyer(0.7).project(w)
    torch.testing.assert_close(hoyer(out.flatten(1)), torch.full((6,), 0.7), rtol=0, atol=1e-5)
    into = constraints.Hoyer(0.7, per="input").project(w)
    torch.testing.assert_close(hoyer(into.transpose(0, 1).flatten(1)), torch.full((4,), 0.7), rtol=0, atol=1e-5)
    torch.testing.assert_close(into.transpose(0, 1).flatten(1).norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_dtype(dtype: torch.dtype) -> None:
    for constraint in EVERY:
        w = constraint.project(weight(50, 60).to(dtype))
        assert w.dtype == dtype
        assert constraint.holds(w)


def test_the_tolerance_can_be_chosen() -> None:
    constraint = constraints.Hoyer(0.75)
    w = constraint.project(weight(6, 8)) * 1.01
    assert not constraint.holds(w)
    assert constraint.holds(w, tolerance=0.02)


def test_a_dead_vector_keeps_a_free_length() -> None:
    w = torch.zeros(2, 4)
    for free in (constraints.Hoyer(0.5, norm="preserve"), constraints.AverageHoyer(0.5), constraints.L0(1)):
        assert torch.equal(free.project(w), w)
        assert free.holds(w)
    assert not constraints.Hoyer(0.5).holds(w)
    assert constraints.Hoyer(0.5).holds(constraints.Hoyer(0.5).project(w))


def test_a_parameter_is_projected_in_place_and_the_projection_has_a_derivative() -> None:
    layer = nn.Linear(8, 6)
    parameter = layer.weight
    constraints.Hoyer(0.75).project_(layer.weight)
    assert layer.weight is parameter
    assert parameter.requires_grad
    constraints.Hoyer(0.5).project(parameter).square().sum(1).max().backward()
    assert parameter.grad is not None


def test_bad_weights_stay_bad_in_their_vector() -> None:
    w = weight(4, 8)
    w[1, 2] = nan
    projected = constraints.Hoyer(0.75).project(w)
    assert projected.isnan().all(1).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (constraints.Hoyer, {"sparseness": 1.0}, r"sparseness must be in \(0, 1\), got 1.0"),
        (constraints.Hoyer, {"sparseness": nan}, r"sparseness must be in \(0, 1\)"),
        (constraints.Hoyer, {"sparseness": 0.5, "norm": 0}, "norm must be a positive number or 'preserve', got 0"),
        (constraints.Hoyer, {"sparseness": 0.5, "norm": "keep"}, "norm must be"),
        (constraints.Hoyer, {"sparseness": 0.5, "per": "row"}, "per must be one of 'output', 'input', 'layer'"),
        (constraints.AverageHoyer, {"sparseness": 0}, r"sparseness must be in \(0, 1\)"),
        (constraints.L0, {"k": 0}, "k must be a whole number of at least 1, got 0"),
        (constraints.L0, {"k": 1.5}, "k must be"),
        (constraints.L1, {"radius": 0}, r"radius must be in \(0, inf\)"),
    ],
)
def test_impossible_sets(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**arguments)


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"weight must have shape \(out, in, …\), got \(3,\)"):
        constraints.Hoyer(0.5).project(torch.ones(3))
    with pytest.raises(InputError, match="k must be a whole number from 1 to 4, got 5"):
        constraints.L0(5).project(torch.ones(3, 4))
    with pytest.raises(InputError, match="at least 2 entries"):
        constraints.Hoyer(0.5, per="input").project(torch.ones(1, 4))


def test_constraints_are_values() -> None:
    assert constraints.Hoyer(0.5) == constraints.Hoyer(0.5)
    assert constraints.Hoyer(0.5) != constraints.Hoyer(0.5, per="input")
    assert str(constraints.L0(3)) == "L0(per='output', signed=True, k=3)"
