"""The l2 ball and sphere."""

from __future__ import annotations

import math

import pytest
import torch

from gossamer.projections import l2_ball_projection, l2_sphere_projection


def test_literal_rows() -> None:
    x = torch.tensor([[3.0, -4], [0.3, 0.4], [0, 0]])
    torch.testing.assert_close(l2_sphere_projection(x), torch.tensor([[0.6, -0.8], [0.6, 0.8], [2**-0.5, 2**-0.5]]))
    torch.testing.assert_close(l2_ball_projection(x), torch.tensor([[0.6, -0.8], [0.3, 0.4], [0, 0]]))
    torch.testing.assert_close(l2_ball_projection(x, torch.tensor([10.0, 0.1, 1])), x / torch.tensor([[1], [5], [1]]))
    torch.testing.assert_close(l2_sphere_projection(x, 2.0, dim=0)[:, 0], 2 * x[:, 0] / x[:, 0].norm())


def test_nothing_in_the_ball_is_nearer(generator: torch.Generator) -> None:
    x = torch.randn(20, 5, dtype=torch.float64, generator=generator)
    others = torch.randn(100, 5, dtype=torch.float64, generator=generator)
    others /= others.norm(dim=1, keepdim=True).clamp(min=1)
    s = l2_ball_projection(x)
    assert (torch.cdist(x, others) >= (x - s).norm(dim=1, keepdim=True)).all()
    on_sphere = others / others.norm(dim=1, keepdim=True)
    s = l2_sphere_projection(x)
    assert (torch.cdist(x, on_sphere) >= (x - s).norm(dim=1, keepdim=True)).all()
    torch.testing.assert_close(l2_sphere_projection(s), s, rtol=0, atol=1e-15)


def test_derivative_takes_off_the_direction() -> None:
    x = torch.tensor([3.0, 4], dtype=torch.float64)
    J = torch.autograd.functional.jacobian(lambda t: l2_sphere_projection(t, 2.0), x)
    torch.testing.assert_close(J, 2 / 125 * torch.tensor([[16.0, -12], [-12, 9]], dtype=torch.float64))


def test_first_and_second_derivatives(generator: torch.Generator) -> None:
    x = torch.randn(3, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    radius = torch.tensor([0.5, 1.0, 50.0], dtype=torch.float64, requires_grad=True)
    for function in (l2_ball_projection, l2_sphere_projection):
        assert torch.autograd.gradcheck(function, (x, radius))
        assert torch.autograd.gradgradcheck(function, (x, radius))


def test_a_zero_row_has_no_derivative() -> None:
    x = torch.zeros(1, 4, requires_grad=True)
    s = l2_sphere_projection(x)
    (gradient,) = torch.autograd.grad(s[0, 0], x, create_graph=True)
    assert gradient.tolist() == [[0] * 4]
    assert torch.autograd.grad(l2_ball_projection(x).sum(), x)[0].tolist() == [[1] * 4]


@pytest.mark.parametrize("scale", [1e-44, 1e-37, 1e37])
def test_scale_does_not_matter(scale: float) -> None:
    x = torch.tensor([3.0, 1, -2, 0, -5, 4])
    torch.testing.assert_close(l2_sphere_projection(x * scale), l2_sphere_projection(x), rtol=0, atol=0.06)
    if scale > 1e-40:  # no subnormal numbers
        torch.testing.assert_close(l2_sphere_projection(x * scale), l2_sphere_projection(x))
    expected = x * scale if scale < 1 else x / math.sqrt(55)
    torch.testing.assert_close(l2_ball_projection(x * scale), expected)
