"""The nearest point with a gap around zero, against all supports tried one by one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gossamer import InputError
from gossamer.functional import gap_projection, l0_projection, l1_ball_projection, l1_sphere_projection
from gossamer.projections.gap import rounded_up

nan, inf = math.nan, math.inf
Limits = tuple[float, int | None, float | None, bool, bool]

numbers = st.one_of(st.sampled_from([0.0, 0.25, 0.5, -0.5, 1.0]), st.floats(-2, 2, width=32))
vectors = st.lists(numbers, min_size=1, max_size=5).map(lambda x: torch.tensor(x, dtype=torch.float64))
limits = st.tuples(
    st.sampled_from([0.0, 0.3, 0.7]),
    st.sampled_from([None, 1, 2, 9]),
    st.sampled_from([None, 0.8, 2.5]),
    st.booleans(),
    st.booleans(),
)


def least_distance(x: Tensor, given: Limits) -> float:
    """Squared distance to the nearest point: the best of every support, on which the problem is convex."""
    width, k, radius, exactly, signed = given
    z = (x.abs() if signed else x).tolist()
    best = inf if exactly and radius is not None else float(x.square().sum())
    for size in range(1, min(len(z), k or len(z)) + 1):
        if radius is not None and size * width > radius:
            continue
        for support in itertools.combinations(range(len(z)), size):
            live = [z[i] for i in support]
            low, high = min(live) - (radius or 0) - 1, max(live) + 1
            shift = 0.0
            if radius is not None and (exactly or sum(max(v, width) for v in live) > radius):
                for _ in range(100):
                    shift = (low + high) / 2
                    low, high = (shift, high) if sum(max(v - shift, width) for v in live) > radius else (low, shift)
            y = dict(zip(support, (max(v - shift, width) for v in live), strict=True))
            cost = sum((v - y.get(i, 0.0)) ** 2 for i, v in enumerate(z))
            best = min(best, cost)
    return best


@settings(max_examples=300, deadline=None)
@given(vectors, limits)
def test_it_is_the_nearest_point_and_stays(x: Tensor, given: Limits) -> None:
    width, k, radius, exactly, signed = given
    options = {"k": k, "radius": radius, "exactly": exactly and radius is not None, "signed": signed}
    s = gap_projection(x, width, **options)  # type: ignore[arg-type]
    assert bool(((s == 0) | (s.abs() >= width)).all())
    assert k is None or int((s != 0).sum()) <= k
    if radius is not None:
        total = float(s.abs().sum())
        assert total == pytest.approx(radius, abs=1e-9) if exactly else total <= radius + 1e-9
    assert signed or bool((s >= 0).all())
    assert float((x - s).square().sum()) == pytest.approx(least_distance(x, given), abs=1e-9)
    torch.testing.assert_close(gap_projection(s, width, **options), s, rtol=0, atol=1e-12)  # type: ignore[arg-type]


def test_literals() -> None:
    x = torch.tensor([0.9, -0.3, 0.25, -0.5, 0.0])
    assert gap_projection(x, 0.5).tolist() == pytest.approx([0.9, -0.5, 0, -0.5, 0])  # the tie 0.25 goes to zero
    assert gap_projection(x, 0.5, signed=False).tolist() == pytest.approx([0.9, 0, 0, 0, 0])
    assert gap_projection(torch.tensor([0.5, 0.5, 0.5]), 0.4, k=2).tolist() == [0.5, 0.5, 0]  # the first of equal ones
    assert gap_projection(torch.zeros(3), 0.5, radius=1.0, exactly=True).tolist() == [0.5, 0.5, 0]
    assert gap_projection(torch.zeros(3), 0.5, radius=1.0).tolist() == [0, 0, 0]
    assert gap_projection(torch.tensor([[-3.0]]), 0.5, radius=1.0).tolist() == [[-1]]
    both = torch.tensor([[1.0, 0.2], [0.2, 1.0]])
    assert gap_projection(both, 0.5, dim=0).tolist() == gap_projection(both.t(), 0.5, dim=1).t().tolist()


@pytest.mark.parametrize("shape", [(4, 7), (3, 2, 5)])
def test_without_a_gap_it_is_the_known_projections(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(gap_projection(x, 0.0, radius=1.5), l1_ball_projection(x, 1.5))
    torch.testing.assert_close(gap_projection(x, 0.0, radius=9.0, exactly=True), l1_sphere_projection(x, 9.0))
    torch.testing.assert_close(gap_projection(x, 0.0, k=2), l0_projection(x, 2))
    assert torch.equal(gap_projection(x, 0.0), x)


def test_nan_and_infinities_spoil_their_row_only() -> None:
    x = torch.tensor([[nan, 1.0], [inf, 0.1], [-inf, 0.9], [0.1, 2.0]])
    alone = gap_projection(x, 0.5)
    assert torch.equal(alone.isnan(), x.isnan())
    assert alone[1:].tolist() == [[inf, 0], [-inf, pytest.approx(0.9)], [0, 2]]
    assert gap_projection(x, 0.5, k=1).isnan().all(1).tolist() == [True, False, False, False]
    limited = gap_projection(x, 0.5, radius=1.0)
    assert limited.isnan().all(1).tolist() == [True, True, True, False]
    assert limited[3].tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_no_rounding_puts_a_weight_into_the_gap(dtype: torch.dtype) -> None:
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).mul(0.3).to(dtype)
    for options in ({}, {"radius": 3.0}, {"radius": 3.0, "exactly": True}):
        s = gap_projection(x, 0.1, **options)  # type: ignore[arg-type]
        assert s.dtype == dtype
        assert float(s[s != 0].abs().min()) >= 0.1
    assert rounded_up(0.1, dtype) >= 0.1
    assert rounded_up(0.5, dtype) == 0.5


def test_gradient() -> None:
    x = torch.tensor([[2.0, 1.4, -0.8, 0.1, 0.7]], dtype=torch.float64, requires_grad=True)
    for options in ({}, {"k": 3}, {"radius": 2.5}, {"radius": 2.5, "exactly": True}, {"radius": 9.0}):

        def project(x: Tensor, options: Any = options) -> Tensor:
            return gap_projection(x, 0.75, **options)

        assert torch.autograd.gradcheck(project, (x,))


def test_mistakes_are_named() -> None:
    x = torch.ones(3)
    for bad in (-0.1, nan, inf):
        with pytest.raises(InputError, match="width must be"):
            gap_projection(x, bad)
    with pytest.raises(InputError, match="k must be"):
        gap_projection(x, 0.1, k=0)
    with pytest.raises(InputError, match="radius must be"):
        gap_projection(x, 0.1, radius=0.0)
    for radius in (None, 0.05):
        with pytest.raises(InputError, match=r"radius must be at least width = 0\.1"):
            gap_projection(x, 0.1, radius=radius, exactly=True)
    with pytest.raises(InputError, match="floating point"):
        gap_projection(torch.ones(3, dtype=torch.int64), 0.1)
    with pytest.raises(InputError, match="at least 1 entry"):
        gap_projection(torch.empty(2, 0), 0.1)
    assert gap_projection(torch.empty(0, 3), 0.1, radius=1.0).shape == (0, 3)
