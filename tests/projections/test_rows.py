"""What all projections along a dimension have in common: shapes, dtypes, bad entries, bad arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gossamer import functional
from gossamer.errors import InputError
from gossamer.projections import (
    hoyer_projection,
    l0_projection,
    l1_ball_projection,
    l1_l2_projection,
    l1_sphere_projection,
    l2_ball_projection,
    l2_sphere_projection,
    simplex_projection,
)

inf, nan = math.inf, math.nan
Projection = Callable[..., Tensor]

# name: (function of x and dim, whether the result may be negative)
FUNCTIONS: dict[str, tuple[Projection, bool]] = {
    "hoyer": (lambda x, dim=-1: hoyer_projection(x, 0.6, dim), False),
    "hoyer signed": (lambda x, dim=-1: hoyer_projection(x, 0.6, dim, signed=True), True),
    "simplex": (lambda x, dim=-1: simplex_projection(x, 1.5, dim), False),
    "l1 sphere": (lambda x, dim=-1: l1_sphere_projection(x, 1.5, dim), True),
    "l1 ball": (lambda x, dim=-1: l1_ball_projection(x, 1.5, dim), True),
    "l1 ball, s ≥ 0": (lambda x, dim=-1: l1_ball_projection(x, 1.5, dim, signed=False), False),
    "l2 sphere": (lambda x, dim=-1: l2_sphere_projection(x, 1.5, dim), True),
    "l2 ball": (lambda x, dim=-1: l2_ball_projection(x, 1.5, dim), True),
    "both spheres": (lambda x, dim=-1: l1_l2_projection(x, 1.2, 1.0, "sphere-sphere", dim), True),
    "l1 ball, l2 sphere": (lambda x, dim=-1: l1_l2_projection(x, 1.2, 1.0, "ball-sphere", dim), True),
    "l1 sphere, l2 ball": (lambda x, dim=-1: l1_l2_projection(x, 1.2, 1.0, "sphere-ball", dim, signed=False), False),
    "both balls": (lambda x, dim=-1: l1_l2_projection(x, 1.2, 1.0, "ball-ball", dim), True),
}

every = pytest.mark.parametrize(("function", "signed"), FUNCTIONS.values(), ids=FUNCTIONS)


def test_all_are_reachable_from_one_place() -> None:
    names = [name for name in functional.__all__ if name.endswith("_projection")]
    assert len(names) == 10
    assert l0_projection is functional.l0_projection


@every
def test_any_dimension(function: Projection, signed: bool, generator: torch.Generator) -> None:
    x = torch.randn(4, 5, 6, generator=generator)
    for dim in (0, 1, 2, -1, -3):
        torch.testing.assert_close(function(x, dim).movedim(dim, -1), function(x.movedim(dim, -1).contiguous()))
    every_second = x[..., ::2]
    torch.testing.assert_close(function(every_second), function(every_second.contiguous()))
    vector = x[0, 0]
    torch.testing.assert_close(function(vector), function(x)[0, 0])


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(
    function: Projection, signed: bool, dtype: torch.dtype, generator: torch.Generator
) -> None:
    x = torch.randn(4, 50, generator=generator).to(dtype).requires_grad_()
    s = function(x)
    assert s.dtype == dtype
    assert torch.equal(s, function(x.float()).to(dtype))
    s.square().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert function(torch.ones(2, 3)).dtype == torch.float32


@every
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_bad_entry_spoils_its_row_only(
    function: Projection, signed: bool, bad: float, generator: torch.Generator
) -> None:
    x = torch.randn(6, 9, generator=generator)
    clean = function(x)
    x[3, 4] = bad
    x.requires_grad_()
    s = function(x)
    others = [0, 1, 2, 4, 5]
    torch.testing.assert_close(s[others], clean[others])
    (gradient,) = torch.autograd.grad(s[others].square().sum(), x)
    assert gradient[others].isfinite().all()
    if bad == -inf and not signed:
        assert s[3].isfinite().all()
        assert s[3, 4] == 0
        (gradient,) = torch.autograd.grad(function(x)[3].square().sum(), x)
        assert gradient.isfinite().all()
    else:
        assert s[3].isnan().all()


@every
@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5)])
def test_no_rows(function: Projection, signed: bool, shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, requires_grad=True)
    s = function(x)
    assert s.shape == shape
    s.sum().backward()


@every
def test_zero_and_constant_rows_have_a_finite_gradient(function: Projection, signed: bool) -> None:
    x = torch.tensor([[0.0] * 5, [2.0] * 5, [-2.0] * 5, [0, 0, -0.0, 0, 1]], requires_grad=True)
    s = function(x)
    assert s.isfinite().all()
    (gradient,) = torch.autograd.grad((s * torch.arange(5)).sum(), x)
    assert gradient.isfinite().all()


def test_one_entry() -> None:
    x = torch.tensor([[-3.0], [0.5]], requires_grad=True)
    assert simplex_projection(x, 2.0).tolist() == [[2], [2]]
    assert l1_sphere_projection(x, 2.0).tolist() == [[-2], [2]]
    assert l1_ball_projection(x, 2.0).tolist() == [[-2], [0.5]]
    assert l2_sphere_projection(x, 2.0).tolist() == [[-2], [2]]
    assert l2_ball_projection(x, 2.0).tolist() == [[-2], [0.5]]
    assert torch.equal(l0_projection(x, 1), x)
    assert l1_l2_projection(x, 2.0, 1.0, "ball-ball").tolist() == [[-1], [0.5]]
    gradient = torch.autograd.grad(l1_l2_projection(x, 2.0, 1.0, "ball-ball").sum(), x)[0]
    assert gradient.tolist() == [[0], [1]]


@every
@pytest.mark.parametrize(
    ("x", "dim", "message"),
    [
        (torch.ones(2, 3, dtype=torch.int64), -1, "x must be floating point, got torch.int64"),
        (torch.ones(2, 3, dtype=torch.complex64), -1, "x must be floating point"),
        (torch.ones(2, 3), 2, r"dim must be in \[-2, 1\] for x of shape \(2, 3\), got 2"),
        (torch.tensor(1.0), -1, "dim must be"),
        (torch.ones(3, 0), -1, r"x must have at least . entr.* along dim 1, got shape \(3, 0\)"),
    ],
)
def test_wrong_tensors(function: Projection, signed: bool, x: Tensor, dim: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(x, dim)


@pytest.mark.parametrize("value", [0.0, -1.0, inf, nan, "wide", torch.tensor([1.0, 0.0])])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (simplex_projection, "total"),
        (l1_sphere_projection, "radius"),
        (l1_ball_projection, "radius"),
        (l2_sphere_projection, "radius"),
        (l2_ball_projection, "radius"),
    ],
)
def test_radii_are_positive(function: Projection, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"{name} must be .*\(0, inf\), got"):
        function(torch.ones(2, 3), value)


def test_radii_for_each_row(generator: torch.Generator) -> None:
    x = torch.randn(4, 3, 6, generator=generator)
    radius = torch.rand(4, 3, generator=generator) + 0.5
    for function in (simplex_projection, l1_sphere_projection, l1_ball_projection, l2_sphere_projection):
        s = function(x, radius)
        torch.testing.assert_close(s[2, 1], function(x[2, 1], radius[2, 1].item()))
        middle = function(x, radius[:, :1].expand(4, 6), dim=1)
        torch.testing.assert_close(middle[3, :, 2], function(x[3, :, 2], radius[3, 0].item()))
        with pytest.raises(InputError, match=r"of shape \(5,\) must broadcast to \(4, 3\)"):
            function(x, torch.ones(5))


def test_they_compile_without_a_break(generator: torch.Generator) -> None:
    x = torch.randn(4, 9, generator=generator)

    def several(x: Tensor, radius: Tensor) -> Tensor:
        y = l1_l2_projection(x, radius, 1.0, "ball-ball") + l1_l2_projection(x, 1.5, 1.0, "sphere-ball", signed=False)
        return y + l1_ball_projection(x, radius) + l2_sphere_projection(x, 2.0)

    results = []
    for function in (several, torch.compile(several, fullgraph=True, backend="aot_eager")):
        input_, radius = x.clone().requires_grad_(), torch.tensor(1.3, requires_grad=True)
        output = function(input_, radius)
        results.append((output, *torch.autograd.grad(output, (input_, radius), x)))
    torch.testing.assert_close(results[0], results[1])
