"""The simplex, the l1 sphere and the l1 ball, against all faces, another algorithm and SciPy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize

from gossamer.projections import l1_ball_projection, l1_sphere_projection, simplex_projection

Array = NDArray[np.float64]
inf = math.inf
minimize: Any = optimize.minimize  # more is allowed than its types say
totals = st.integers(1, 48).map(lambda eighths: eighths / 8)


def vectors(least: int = 1, most: int = 7) -> st.SearchStrategy[Array]:
    """Multiples of 1/8: ties and zeros are frequent, near-ties absent."""
    return st.lists(st.integers(-32, 32), min_size=least, max_size=most).map(
        lambda v: np.array(v, dtype=np.float64) / 8
    )


def least_distance(x: Array, total: float, ball: bool, signed: bool = False) -> float:
    """The least ‖s − x‖² over all faces of Σ s_i = total, or ≤ total, s ≥ 0; or over those of all orthants."""
    if signed:
        orthants = itertools.product((-1.0, 1.0), repeat=len(x))
        return min(least_distance(x * np.array(b), total, ball) for b in orthants)
    least = (x**2).sum() if ball else inf
    for size in range(1, len(x) + 1):
        for support in map(list, itertools.combinations(range(len(x)), size)):
            candidates = [x[support] - (x[support].sum() - total) / size]
            if ball and x[support].sum() <= total:
                candidates.append(x[support])
            for part in candidates:
                if part.min() >= 0:
                    least = min(least, ((part - x[support]) ** 2).sum() + (np.delete(x, support) ** 2).sum())
    return float(least)


def of(function: object, x: Array, *args: float, **options: bool) -> Array:
    return np.asarray(function(torch.tensor(x), *args, **options).numpy(), dtype=np.float64)  # type: ignore[operator]


def test_worked_vectors() -> None:
    x = torch.tensor([[3.0, 1, 2, 0], [-1, -2, -3, -4]])
    assert simplex_projection(x).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    assert simplex_projection(x, 3.0).tolist() == [[2, 0, 1, 0], [2, 1, 0, 0]]
    assert simplex_projection(x, 8.0).tolist() == [[3.5, 1.5, 2.5, 0.5], [3.5, 2.5, 1.5, 0.5]]
    assert l1_sphere_projection(x, 3.0).tolist() == [[2, 0, 1, 0], [0, 0, -1, -2]]
    assert l1_sphere_projection(x, 8.0).tolist() == [[3.5, 1.5, 2.5, 0.5], [-0.5, -1.5, -2.5, -3.5]]
    assert l1_ball_projection(x, 8.0).tolist() == [[3, 1, 2, 0], [-0.5, -1.5, -2.5, -3.5]]
    assert l1_ball_projection(x, 3.0, signed=False).tolist() == [[2, 0, 1, 0], [0, 0, 0, 0]]


@given(vectors(), totals)
def test_nothing_in_the_simplex_is_nearer(x: Array, total: float) -> None:
    s = of(simplex_projection, x, total)
    assert s.min() >= 0
    assert s.sum() == pytest.approx(total, rel=1e-12)
    assert ((s - x) ** 2).sum() == pytest.approx(least_distance(x, total, ball=False), rel=1e-10, abs=1e-12)


@given(vectors(most=5), totals)
def test_nothing_on_the_sphere_or_in_the_ball_is_nearer(x: Array, radius: float) -> None:
    s = of(l1_sphere_projection, x, radius)
    assert np.abs(s).sum() == pytest.approx(radius, rel=1e-12)
    assert ((s - x) ** 2).sum() == pytest.approx(least_distance(x, radius, ball=False, signed=True), abs=1e-12)
    s = of(l1_ball_projection, x, radius)
    assert np.abs(s).sum() <= radius * (1 + 1e-12)
    assert ((s - x) ** 2).sum() == pytest.approx(least_distance(x, radius, ball=True, signed=True), abs=1e-12)
    s = of(l1_ball_projection, x, radius, signed=False)
    assert s.min() >= 0
    assert s.sum() <= radius * (1 + 1e-12)
    assert ((s - x) ** 2).sum() == pytest.approx(least_distance(x, radius, ball=True), abs=1e-12)


@given(vectors(most=30), totals)
def test_the_threshold_is_the_root_that_scipy_finds(x: Array, total: float) -> None:
    alpha = optimize.brentq(lambda a: np.maximum(x - a, 0).sum() - total, x.min() - total, x.max(), xtol=1e-14)
    np.testing.assert_allclose(of(simplex_projection, x, total), np.maximum(x - alpha, 0), atol=1e-12)


def test_a_general_solver_finds_the_same() -> None:
    random = np.random.default_rng(0)
    for x in random.standard_normal((5, 6)):
        found = minimize(
            lambda z, x: 100 * ((z - x) ** 2).sum(),
            np.full(6, 0.2),
            (x,),
            method="SLSQP",
            bounds=optimize.Bounds(np.zeros(6), np.full(6, inf)),
            constraints=optimize.LinearConstraint(np.ones((1, 6)), -inf, 1.5),
            options={"ftol": 1e-12},
        )
        np.testing.assert_allclose(of(l1_ball_projection, x, 1.5, signed=False), found.x, atol=1e-6)


@given(vectors(most=20), totals, st.integers(0, 10**6))
def test_laws(x: Array, radius: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    order, flips = random.permutation(len(x)), random.choice([-1.0, 1.0], len(x))
    flips = np.where(x == 0, 1, flips)  # a zero counts as positive
    for function in (simplex_projection, l1_sphere_projection, l1_ball_projection):
        s = of(function, x, radius)
        np.testing.assert_allclose(of(function, s, radius), s, atol=1e-12)
        np.testing.assert_allclose(of(function, x[order], radius), s[order], atol=1e-12)
        np.testing.assert_allclose(of(function, 3 * x, 3 * radius), 3 * s, atol=1e-11)
        if function is not simplex_projection:
            np.testing.assert_allclose(of(function, flips * x, radius), flips * s, atol=1e-12)
            np.testing.assert_allclose(np.abs(s), of(function, np.abs(x), radius), atol=1e-12)
    np.testing.assert_allclose(of(simplex_projection, x + 5, radius), of(simplex_projection, x, radius), atol=1e-12)
    np.testing.assert_array_equal(of(l1_sphere_projection, x, radius, signed=False), of(simplex_projection, x, radius))


@given(vectors(least=2, most=12), totals, st.integers(0, 10**6))
def test_the_angle_to_every_feasible_point_is_obtuse(x: Array, radius: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    in_simplex = radius * random.dirichlet(np.full(len(x), 0.5), 50)
    s = of(simplex_projection, x, radius)
    assert ((in_simplex - s) @ (x - s)).max() <= 1e-10
    s = of(l1_ball_projection, x, radius)
    in_ball = in_simplex * random.choice([-1.0, 1.0], in_simplex.shape) * random.random((50, 1))
    assert ((in_ball - s) @ (x - s)).max() <= 1e-10


def test_derivative_takes_off_the_mean_of_the_support() -> None:
    x = torch.tensor([3.0, 1, 2, 0], dtype=torch.float64)
    J = torch.autograd.functional.jacobian(lambda t: simplex_projection(t, 3.0), x)
    half = torch.zeros(4, 4, dtype=torch.float64)
    half[0, 0] = half[2, 2] = 0.5
    half[0, 2] = half[2, 0] = -0.5
    assert torch.equal(J, half)
    inside = torch.autograd.functional.jacobian(lambda t: l1_ball_projection(t, 7.0), x)
    assert torch.equal(inside, torch.eye(4, dtype=torch.float64))


def test_first_and_second_derivatives(generator: torch.Generator) -> None:
    x = torch.randn(4, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    radius = torch.tensor([0.3, 1.0, 3.0, 20.0], dtype=torch.float64, requires_grad=True)
    for function in (simplex_projection, l1_sphere_projection, l1_ball_projection):
        assert torch.autograd.gradcheck(function, (x, radius))
        assert torch.autograd.gradgradcheck(function, (x, radius))
    assert torch.autograd.gradcheck(lambda t: l1_ball_projection(t, 1.0, 0, signed=False), (x,))


def test_a_live_zero_has_the_derivative_of_a_positive_entry() -> None:
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    J = torch.autograd.functional.jacobian(lambda t: l1_sphere_projection(t, 3.0), x)
    torch.testing.assert_close(J, torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64))


def test_minus_infinity_is_a_masked_entry() -> None:
    x = torch.tensor([[-inf, 3.0, 2.5, -inf], [-inf] * 4], requires_grad=True)
    for function in (simplex_projection, lambda t: l1_ball_projection(t, signed=False)):
        s = function(x)
        assert s.tolist() == [[0, 0.75, 0.25, 0], [0] * 4]
        gradient = torch.autograd.grad(s[:, 1].sum(), x)[0]
        assert gradient.tolist() == [[0, 0.5, -0.5, 0], [0] * 4]
    assert l1_sphere_projection(x).isnan().all()


@pytest.mark.parametrize(("dtype", "offset"), [(torch.float32, 2.0**20), (torch.float64, 2.0**48)])
def test_a_large_mean_costs_no_digits(dtype: torch.dtype, offset: float) -> None:
    x = torch.tensor([3.0, 1, 2, 0, -5, 4], dtype=dtype)
    torch.testing.assert_close(simplex_projection(x + offset, 4.0), simplex_projection(x, 4.0))


@pytest.mark.parametrize("scale", [1e-37, 1e37])
def test_scale_does_not_matter(scale: float) -> None:
    x = torch.tensor([3.0, 1, -2, 0, -5, 4])
    for function in (simplex_projection, l1_sphere_projection, l1_ball_projection):
        torch.testing.assert_close(function(x * scale, 4 * scale), function(x, 4.0) * scale, rtol=1e-5, atol=0)


def test_float32_is_as_good_as_its_digits(generator: torch.Generator) -> None:
    x = torch.randn(4, 100_000, generator=generator)
    for total in (1.0, 1000.0):
        exact = simplex_projection(x.double(), total)
        assert (simplex_projection(x, total) - exact).abs().max() < 1e-6
