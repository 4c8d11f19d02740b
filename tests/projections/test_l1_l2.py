"""Intersections of two norms' balls and spheres, against all faces, the Hoyer projection and SciPy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from gossamer.errors import InputError
from gossamer.projections import hoyer_projection, l1_l2_projection
from gossamer.projections.l1_l2 import Kind

Array = NDArray[np.float64]
inf = math.inf
KINDS: tuple[Kind, ...] = get_args(Kind)
kinds = st.sampled_from(KINDS)
signs = st.booleans()
minimize: Any = optimize.minimize  # more is allowed than its types say
shares = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0])  # where λ₁ / λ₂ lies between 1 and √n
lengths = st.sampled_from([0.5, 1.0, 3.0])


def vectors(least: int = 1, most: int = 7) -> st.SearchStrategy[Array]:
    """Multiples of 1/8: ties and zeros are frequent, near-ties absent."""
    return st.lists(st.integers(-32, 32), min_size=least, max_size=most).map(
        lambda v: np.array(v, dtype=np.float64) / 8
    )


def project(x: Array, l1: float, l2: float, kind: Kind, signed: bool = True) -> Array:
    result = l1_l2_projection(torch.tensor(x), l1, l2, kind, signed=signed)
    return np.asarray(result.numpy(), dtype=np.float64)


def radii(x: Array, share: float, l2: float) -> tuple[float, float]:
    return l2 * (1 + share * (math.sqrt(len(x)) - 1)), l2


def feasible(s: Array, l1: float, l2: float, kind: Kind, tolerance: float = 1e-10) -> bool:
    for part, value, bound in zip(kind.split("-"), (np.abs(s).sum(), np.linalg.norm(s)), (l1, l2), strict=True):
        if value > bound * (1 + tolerance) or (part == "sphere" and value < bound * (1 - tolerance)):
            return False
    return True


# ---- oracle --------------------------------------------------------------------------------------------------------


def stationary(x: Array, l1: float, l2: float) -> Iterator[Array]:
    """On the face of positive vectors: where the distance to x is stationary, with the sum l1, the length l2, both or
    neither given."""
    d = len(x)
    yield x
    yield x - (x.sum() - l1) / d
    length = np.linalg.norm(x)
    direction = x / length if length else np.eye(d)[0]
    yield from (l2 * direction, -l2 * direction)
    kappa2 = l2**2 - l1**2 / d
    if kappa2 >= -1e-12 * l2**2:
        u = x - x.mean()
        if np.abs(u).max() < 1e-12:  # all directions are as good
            u = np.eye(d)[0] - 1 / d
        size = np.linalg.norm(u)
        turn = (math.sqrt(kappa2) if kappa2 > 1e-12 * l2**2 else 0) * u / (size or 1)
        yield from (l1 / d + turn, l1 / d - turn)


def least_distance(x: Array, l1: float, l2: float, kind: Kind, signed: bool) -> float:
    """The least ‖s − x‖² over all faces of the feasible s ≥ 0, or of those in all orthants."""
    if signed:
        orthants = itertools.product((-1.0, 1.0), repeat=len(x))
        return min(least_distance(x * np.array(b), l1, l2, kind, signed=False) for b in orthants)
    least = float((x**2).sum()) if kind == "ball-ball" else inf
    for size in range(1, len(x) + 1):
        for support in map(list, itertools.combinations(range(len(x)), size)):
            for part in stationary(x[support], l1, l2):
                s = np.zeros_like(x)
                s[support] = part
                if s.min() >= -1e-12 and feasible(s, l1, l2, kind):
                    least = min(least, float(((s - x) ** 2).sum()))
    return least


# ---- the nearest point ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signed", [False, True])
@given(vectors(most=6), shares, lengths)
def test_nothing_is_nearer(kind: Kind, signed: bool, x: Array, share: float, l2: float) -> None:
    x = x[:4] if signed else x
    l1, l2 = radii(x, share, l2)
    s = project(x, l1, l2, kind, signed)
    assert feasible(s, l1, l2, kind)
    assert signed or s.min() >= 0
    best = least_distance(x, l1, l2, kind, signed)
    assert ((s - x) ** 2).sum() == pytest.approx(best, rel=1e-10, abs=1e-10)


@given(vectors(least=2, most=6), st.sampled_from([0.3, 1.0, 5.0]), st.sampled_from([0.2, 1.0, 5.0]))
def test_any_radii_make_a_ball_in_a_ball(x: Array, l1: float, l2: float) -> None:
    s = project(x, l1, l2, "ball-ball", signed=False)
    assert feasible(s, l1, l2, "ball-ball")
    best = least_distance(x, l1, l2, "ball-ball", signed=False)
    assert ((s - x) ** 2).sum() == pytest.approx(best, rel=1e-10, abs=1e-10)


def test_the_four_cases_of_two_balls() -> None:
    def case(x: list[float], l1: float, l2: float) -> list[float]:
        return l1_l2_projection(torch.tensor(x, dtype=torch.float64), l1, l2, "ball-ball").tolist()

    assert case([0.3, -0.4], 1.0, 1.0) == [0.3, -0.4]  # inside of both
    assert case([3, -4], 2.0, 1.0) == pytest.approx([0.6, -0.8])  # the length alone
    assert case([3, -4, 0], 1.0, 1.0) == pytest.approx([0, -1, 0])  # the sum alone
    both = hoyer_projection(torch.tensor([3.0, -4, 1], dtype=torch.float64), 0.6, signed=True)
    assert case([3, -4, 1], math.sqrt(3) - 0.6 * (math.sqrt(3) - 1), 1.0) == pytest.approx(both.tolist())


@given(vectors(least=2, most=20), st.integers(5, 95), signs, lengths)
def test_two_spheres_are_the_set_of_the_hoyer_projection(x: Array, percent: int, signed: bool, l2: float) -> None:
    root, sparseness = math.sqrt(len(x)), percent / 100
    expected = hoyer_projection(torch.tensor(x), sparseness, signed=signed, norm=l2).numpy()
    np.testing.assert_allclose(
        project(x, l2 * (root - sparseness * (root - 1)), l2, "sphere-sphere", signed), expected, atol=1e-9
    )


def test_a_general_solver_finds_the_same() -> None:
    random = np.random.default_rng(1)
    for l1, l2 in ((1.4, 1.0), (2.0, 1.0), (1.1, 5.0)):
        x = 2 * random.standard_normal(6)
        found = minimize(
            lambda z, x: 100 * ((z - x) ** 2).sum(),
            np.full(6, 0.1),
            (x,),
            method="SLSQP",
            bounds=optimize.Bounds(np.zeros(6), np.full(6, inf)),
            constraints=optimize.NonlinearConstraint(lambda z: [z.sum(), (z**2).sum()], -inf, [l1, l2**2]),
            options={"ftol": 1e-12},
        )
        np.testing.assert_allclose(project(x, l1, l2, "ball-ball", signed=False), found.x, atol=1e-6)


@given(vectors(least=2, most=12), shares, st.integers(0, 10**6))
def test_the_angle_to_every_feasible_point_is_obtuse_in_two_balls(x: Array, share: float, seed: int) -> None:
    l1, l2 = radii(x, share, 1.0)
    z = np.random.default_rng(seed).standard_normal((100, len(x)))
    z /= np.maximum(np.abs(z).sum(1) / l1, np.linalg.norm(z, axis=1) / l2)[:, None]
    s = project(x, l1, l2, "ball-ball")
    assert ((z - s) @ (x - s)).max() <= 1e-10


@given(kinds, vectors(least=2, most=15), shares, signs, st.integers(0, 10**6))
def test_laws(kind: Kind, x: Array, share: float, signed: bool, seed: int) -> None:
    l1, l2 = radii(x, share, 1.0)
    s = project(x, l1, l2, kind, signed)
    np.testing.assert_allclose(project(s, l1, l2, kind, signed), s, atol=1e-9)
    np.testing.assert_allclose(project(4 * x, 4 * l1, 4 * l2, kind, signed), 4 * s, atol=1e-9)
    random = np.random.default_rng(seed)
    order, flips = random.permutation(len(x)), np.where(x == 0, 1, random.choice([-1.0, 1.0], len(x)))
    if signed:
        assert (s * x).min() >= 0
        np.testing.assert_allclose(project(flips * x, l1, l2, kind), flips * s, atol=1e-9)
    if len(set(np.abs(x))) == len(x):  # no ties to break
        np.testing.assert_allclose(project(x[order], l1, l2, kind, signed), s[order], atol=1e-9)


def test_negative_entries_are_not_clipped() -> None:
    x = np.array([2.0, -1, -1.5, -4])
    for kind in ("sphere-sphere", "sphere-ball"):
        s = project(x, 1.9, 1.0, kind, signed=False)
        assert ((s - x) ** 2).sum() == pytest.approx(least_distance(x, 1.9, 1.0, kind, signed=False))
        assert np.abs(s - project(np.maximum(x, 0), 1.9, 1.0, kind, signed=False)).max() > 0.05


# ---- where the nearest point is not unique, and limits -------------------------------------------------------------


def test_ties_beyond_the_ratio_are_broken_by_index() -> None:
    for kind in ("sphere-sphere", "ball-sphere"):
        s = project(np.array([1.0, 3, 3, 3]), 1.2, 1.0, kind)
        assert s[1] > s[2] == s[3] > s[0] == 0
        assert feasible(s, 1.2, 1.0, "sphere-sphere")
    s = project(np.array([1.0, 3, 3, 3]), 1.2, 1.0, "ball-ball")  # convex: one nearest point, and it keeps the ties
    np.testing.assert_allclose(s, [0, 0.4, 0.4, 0.4])


def test_a_row_without_a_positive_entry_gets_one_on_the_sphere() -> None:
    assert project(np.array([-3.0, -1, -2, -1]), 1.5, 2.0 / 2, "ball-sphere", signed=False).tolist() == [0, 1, 0, 0]
    assert project(np.zeros(3), 1.5, 1.0, "ball-sphere").tolist() == [1, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_and_the_largest_ratio(kind: Kind) -> None:
    x = np.array([1.0, 3, -3, 2])
    one = project(x, 1.0, 1.0, kind)
    np.testing.assert_allclose(one, [0, 0.5, -0.5, 0] if kind.endswith("ball") else [0, 1, 0, 0])
    all_ = project(x, 2.0, 1.0, kind)
    if kind.startswith("sphere"):
        np.testing.assert_allclose(all_, [0.5, 0.5, -0.5, 0.5])
    else:
        np.testing.assert_allclose(all_, x / np.linalg.norm(x))
    assert project(np.array([-3.0]), 2.0, 2.0, kind).tolist() == [-2]


def test_limits_have_no_gradient_and_no_nan() -> None:
    x = torch.tensor([[1.0, 3, -3, 2], [0, 0, 0, 0], [2, 2, 2, 2]], dtype=torch.float64, requires_grad=True)
    for kind, l1 in itertools.product(KINDS, (1.0, 2.0)):
        gradient = torch.autograd.grad(l1_l2_projection(x, l1, 1.0, kind).square() @ x[0].detach(), x, torch.ones(3))[0]
        assert gradient.isfinite().all()
    for l1 in (1.0, 2.0):
        assert torch.autograd.grad(l1_l2_projection(x, l1, 1.0)[0, 1], x)[0].abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_minus_infinity_is_a_masked_entry(kind: Kind) -> None:
    x = torch.tensor([[-inf, 3.0, 1, -inf, 2, 0]], dtype=torch.float64)
    live = x[0] > -inf
    s = l1_l2_projection(x, 1.5, 1.0, kind, signed=False)
    assert s[0, ~live].tolist() == [0, 0]
    torch.testing.assert_close(s[:, live], l1_l2_projection(x[:, live], 1.5, 1.0, kind, signed=False))
    assert l1_l2_projection(x, 1.5, 1.0, kind).isnan().all()


# ---- derivatives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives(kind: Kind, generator: torch.Generator) -> None:
    x = torch.randn(5, 6, dtype=torch.float64, generator=generator)
    x = (x * torch.tensor([[0.1], [0.5], [1], [2], [10]], dtype=x.dtype)).requires_grad_()  # inside and outside
    l1 = torch.tensor([1.2, 1.5, 2.4, 1.8, 1.3], dtype=torch.float64, requires_grad=True)
    l2 = torch.tensor([1.0, 1.1, 1.0, 1.0, 0.9], dtype=torch.float64, requires_grad=True)
    for signed in (False, True):

        def function(x: Tensor, l1: Tensor, l2: Tensor, signed: bool = signed) -> Tensor:
            return l1_l2_projection(x, l1, l2, kind, signed=signed)

        assert torch.autograd.gradcheck(function, (x, l1, l2))
        assert torch.autograd.gradgradcheck(function, (x, l1, l2))


# ---- arguments -----------------------------------------------------------------------------------------------------


def test_radii_for_each_row(generator: torch.Generator) -> None:
    x = torch.randn(3, 5, generator=generator)
    l1, l2 = torch.tensor([1.2, 1.5, 2.0]), torch.tensor([1.0, 1.2, 1.4])
    s = l1_l2_projection(x, l1, l2)
    torch.testing.assert_close(s.abs().sum(1), l1)
    torch.testing.assert_close(s.norm(dim=1), l2)
    torch.testing.assert_close(s[1], l1_l2_projection(x[1], 1.5, 1.2))
    root = torch.full((3,), 5.0).sqrt()  # rounds to more than √5 in float64
    torch.testing.assert_close(l1_l2_projection(x, root).abs(), torch.full((3, 5), 5**-0.5))


@pytest.mark.parametrize(
    ("kind", "l1", "message"),
    [
        ("sphere-sphere", 0.9, r"l1 / l2 must be in \[1, 2\] for sphere-sphere and 4 entries, got 0.9"),
        ("sphere-sphere", 2.1, r"l1 / l2 must be in \[1, 2\]"),
        ("ball-sphere", 0.9, r"l1 / l2 must be in \[1, inf\]"),
        ("sphere-ball", 2.1, r"l1 / l2 must be in \[0, 2\]"),
        ("ball", 1.5, "kind must be one of 'sphere-sphere', 'ball-sphere', 'sphere-ball', 'ball-ball', got 'ball'"),
        ("ball-ball", 0.0, r"l1 must be in \(0, inf\), got 0"),
        ("ball-ball", torch.tensor([0.5, -1.0]), r"l1 must be in \(0, inf\), got -1"),
        ("ball-ball", torch.ones(3), r"l1 of shape \(3,\) must broadcast to \(2,\)"),
    ],
)
def test_radii_that_admit_no_point(kind: Kind, l1: float | Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        l1_l2_projection(torch.ones(2, 4), l1, 1.0, kind)


def test_a_radius_far_beyond_does_not_bind() -> None:
    x = np.array([3.0, -4])
    np.testing.assert_allclose(project(x, 100.0, 1.0, "ball-sphere"), x / 5)
    np.testing.assert_allclose(project(x, 3.0, 100.0, "sphere-ball"), [1, -2])
