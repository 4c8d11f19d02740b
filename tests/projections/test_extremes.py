"""All projections at the ends of the number range: maxima, subnormal numbers, zeros, ties."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gossamer.projections import (
    group_hoyer_projection,
    l0_projection,
    l1_ball_projection,
    l1_l2_projection,
    l1_sphere_projection,
    l2_ball_projection,
    l2_sphere_projection,
    simplex_projection,
)
from gossamer.projections.l1_l2 import Kind

# Each with what its result must have as l1 and l2 norm: an equality, a bound, or nothing.
Norms = tuple[float | None, float | None]
PROJECTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Norms, Norms]] = {
    "simplex": (lambda x: simplex_projection(x, 1.0), (1.0, None), (1.0, None)),
    "l1 sphere": (lambda x: l1_sphere_projection(x, 1.5), (1.5, None), (1.5, None)),
    "l1 sphere, s >= 0": (lambda x: l1_sphere_projection(x, 1.5, signed=False), (1.5, None), (1.5, None)),
    "l1 ball": (lambda x: l1_ball_projection(x, 1.5), (None, None), (1.5, None)),
    "l2 sphere": (lambda x: l2_sphere_projection(x, 0.5), (None, 0.5), (None, 0.5)),
    "l2 ball": (lambda x: l2_ball_projection(x, 0.5), (None, None), (None, 0.5)),
}


def both(kind: Kind, signed: bool) -> Callable[[Tensor], Tensor]:
    return lambda x: l1_l2_projection(x, 2.0, 1.0, kind, signed=signed)


KINDS: tuple[Kind, ...] = ("sphere-sphere", "ball-sphere", "sphere-ball", "ball-ball")
for kind in KINDS:
    for signed in (False, True):
        equal = tuple(
            norm if part == "sphere" else None for part, norm in zip(kind.split("-"), (2.0, 1.0), strict=True)
        )
        PROJECTIONS[f"{kind}, signed={signed}"] = (both(kind, signed), (equal[0], equal[1]), (2.0, 1.0))


def extremes(dtype: torch.dtype) -> dict[str, float]:
    numbers = torch.finfo(dtype)
    return {
        "max": numbers.max,
        "half of max": numbers.max / 2,
        "min": numbers.smallest_normal,
        "subnormal": numbers.smallest_normal / 1024,
        "least": numbers.smallest_normal * numbers.eps,
    }


def tables(dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(4, 9, generator=generator, dtype=dtype) * 2 - 1
    return {
        "random": random,
        "positive": random.abs(),
        "negative": -random.abs(),
        "signs": random.sign(),
        "ties": torch.tensor([1, 1, 1, 0.5, 0.5, 0, 0, -1, -1], dtype=dtype).repeat(4, 1),
        "one": torch.eye(4, 9, dtype=dtype),
        "zeros": torch.zeros(4, 9, dtype=dtype),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PROJECTIONS)
def test_norms_hold(name: str, dtype: torch.dtype) -> None:
    project, equal, bound = PROJECTIONS[name]
    tolerance = 64 * torch.finfo(dtype).eps
    for where, scale in extremes(dtype).items():
        for table, x in tables(dtype).items():
            s = project(x * scale)
            assert s.isfinite().all(), (where, table, s)
            for order, exact, most in zip((1, 2), equal, bound, strict=True):
                norm = s.double().norm(order, dim=1)
                if exact is not None:
                    torch.testing.assert_close(norm, torch.full_like(norm, exact), rtol=tolerance, atol=0.0)
                if most is not None:
                    assert (norm <= most * (1 + tolerance)).all(), (where, table, norm)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_numbers_give_the_result_of_the_scaled_problem(dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    for table, x in tables(dtype).items():
        torch.testing.assert_close(l2_sphere_projection(x * top), l2_sphere_projection(x), msg=table)
        assert torch.equal(l0_projection(x * top, 3), l0_projection(x, 3) * top)
        for sparseness in (0.3, 0.8):  # a result larger than its vector might not fit otherwise
            small, large = (group_hoyer_projection(x * scale, sparseness) for scale in (1.0, top / 4))
            torch.testing.assert_close(large / (top / 4), small, msg=table)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_group_of_the_largest_numbers_is_never_nan(dtype: torch.dtype) -> None:
    for x in tables(dtype).values():
        assert not group_hoyer_projection(x * torch.finfo(dtype).max, 0.8).isnan().any()
