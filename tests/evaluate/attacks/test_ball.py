from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.evaluate.attacks.ball import Ball, Norm
from gossamer.evaluate.attacks.box import Box

NORMS: tuple[Norm, ...] = ("linf", "l2")


def length(step: Tensor, norm: Norm) -> Tensor:
    rows = step.flatten(1)
    return rows.abs().amax(1) if norm == "linf" else rows.norm(dim=1)


def nearest(z: Tensor, low: Tensor, high: Tensor, radius: float) -> Tensor:
    """The nearest point of a ball of length 2 and a box, both around 0, by bisection of the multiplier."""
    if z.clamp(low, high).norm() <= radius:
        return z.clamp(low, high)
    small, large = 0.0, 1.0
    for _ in range(200):
        s = (small + large) / 2
        small, large = (s, large) if (s * z).clamp(low, high).norm() <= radius else (small, s)
    return (small * z).clamp(low, high)


@given(st.integers(0, 10_000), st.integers(1, 9), st.floats(0.01, 3))
def test_nearest_points_of_the_cut_ball(seed: int, features: int, radius: float) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(5, features, generator=g, dtype=torch.float64)
    z = x + 2 * torch.randn(5, features, generator=g, dtype=torch.float64)
    ball = Ball.of(x, "l2", radius, Box(0, 1))
    expected = torch.stack([x[i] + nearest(z[i] - x[i], -x[i], 1 - x[i], radius) for i in range(5)])
    torch.testing.assert_close(ball.project(z), expected, rtol=0, atol=1e-9)


@given(st.integers(0, 10_000), st.sampled_from(NORMS), st.floats(0, 3), st.sampled_from([(7,), (2, 3, 4)]))
def test_random_points_are_inside(seed: int, norm: Norm, radius: float, shape: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(6, *shape, generator=g)
    for sphere in (False, True):
        z = Ball.of(x, norm, radius, Box(0, 1)).start(g, sphere=sphere)
        assert length(z - x, norm).max() <= radius * (1 + 1e-5) + 1e-6
        assert 0 <= z.min() <= z.max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_points_on_the_surface(norm: Norm, generator: torch.Generator) -> None:
    x = torch.zeros(50, 3, dtype=torch.float64)
    z = Ball.of(x, norm, 0.5, Box(-1, 1)).start(generator, sphere=True)
    torch.testing.assert_close(length(z, norm), torch.full((50,), 0.5, dtype=torch.float64))


def test_random_points_are_uniform_in_the_ball(generator: torch.Generator) -> None:
    z = Ball.of(torch.zeros(4000, 3), "l2", 1.0, Box(-2, 2)).start(generator)
    assert abs((z.norm(dim=1) < 0.5 ** (1 / 3)).float().mean() - 0.5) < 0.03
    assert z.mean(0).abs().max() < 0.05


def test_directions() -> None:
    g = torch.tensor([[3.0, -4.0], [0.0, 0.0], [3e-30, 4e-30]])
    ball = Ball.of(torch.zeros(3, 2), "l2", 1.0, Box(-1, 1))
    torch.testing.assert_close(ball.direction(g), torch.tensor([[0.6, -0.8], [0.0, 0.0], [0.6, 0.8]]))
    ball = Ball.of(torch.zeros(3, 2), "linf", 1.0, Box(-1, 1))
    assert ball.direction(g).tolist() == [[1, -1], [0, 0], [1, 1]]


def test_a_box_of_one_point() -> None:
    x = torch.tensor([[0.5, 0.5]])
    for norm in NORMS:
        assert torch.equal(Ball.of(x, norm, 1.0, Box(0.5, 0.5)).project(x + 1), x)
