"""A group of vectors comes to a sparseness on average, each vector to its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from gossamer.errors import InputError
from gossamer.measures import hoyer
from gossamer.projections import group_hoyer_projection, hoyer_projection

Array = NDArray[np.float64]
inf, nan = math.inf, math.nan
minimize: Any = optimize.minimize  # more is allowed than its types say
constraint: Any = optimize.NonlinearConstraint
sparsenesses = st.integers(5, 95).map(lambda percent: percent / 100)


@st.composite
def groups(draw: st.DrawFn, low: int = -32) -> list[Array]:
    """One to four vectors of two to eight entries, multiples of 1/8: ties and zeros are frequent."""
    entries = st.lists(st.integers(low, 32), min_size=2, max_size=8)
    return [np.array(draw(entries), dtype=np.float64) / 8 for _ in range(draw(st.integers(1, 4)))]


def project(group: list[Array], sparseness: float, signed: bool = True) -> list[Array]:
    tensors = [torch.tensor(x) for x in group]
    return [np.asarray(s.numpy(), dtype=np.float64) for s in group_hoyer_projection(tensors, sparseness, signed=signed)]


def sigma(x: Array) -> float:
    return float(hoyer(torch.tensor(x))) if x.any() else 1.0


def average(group: list[Array]) -> float:
    return float(np.mean([sigma(x) for x in group]))


def shrunk(group: list[Array], mu: float) -> list[Array]:
    """u_i(μ), one vector at a time."""
    found = []
    for x in group:
        y = np.maximum(np.abs(x) - mu / (math.sqrt(len(x)) - 1), 0)
        found.append(y / np.linalg.norm(y) if y.any() else np.eye(len(x))[np.abs(x).argmax()])
    return found


# ---- the average ---------------------------------------------------------------------------------------------------


@given(groups(), sparsenesses)
def test_the_average_is_reached_and_what_is_sparse_enough_stays(group: list[Array], sparseness: float) -> None:
    result = project(group, sparseness)
    before = average(group)
    if before >= sparseness + 1e-9:
        for x, s in zip(group, result, strict=True):
            np.testing.assert_array_equal(s, x)
    elif before < sparseness - 1e-9:
        assert average(result) == pytest.approx(sparseness, abs=1e-9)
    for x, s in zip(group, result, strict=True):
        assert (s * x).min() >= 0
        assert np.linalg.norm(s) <= np.linalg.norm(x) * (1 + 1e-12)
        assert not s.any() or np.abs(s[np.abs(x) == np.abs(x).max()]).max() == np.abs(s).max()


@given(groups(), sparsenesses)
def test_one_threshold_for_all(group: list[Array], sparseness: float) -> None:
    """Against a root that SciPy finds, where no maximum is shared."""
    if any((np.abs(x) == np.abs(x).max()).sum() > 1 for x in group) or average(group) >= sparseness - 1e-6:
        return
    highest = max(np.abs(x).max() * (math.sqrt(len(x)) - 1) for x in group)
    mu = optimize.brentq(lambda mu: average(shrunk(group, mu)) - sparseness, 0, highest, xtol=1e-15)
    for x, s, u in zip(group, project(group, sparseness), shrunk(group, mu), strict=True):
        np.testing.assert_allclose(s, u * (u @ np.abs(x)) * np.where(x < 0, -1, 1), atol=1e-9)


@given(st.lists(st.integers(-32, 32), min_size=2, max_size=12), sparsenesses)
def test_one_vector_gets_the_direction_of_its_own_projection(values: list[int], sparseness: float) -> None:
    x = np.array(values, dtype=np.float64) / 8
    if sigma(x) >= sparseness - 1e-6:
        return
    (s,) = project([x], sparseness)
    u = hoyer_projection(torch.tensor(x), sparseness, signed=True).numpy()
    np.testing.assert_allclose(s, (u @ x) * u, atol=1e-8)


def test_no_directions_of_that_sparseness_are_nearer() -> None:
    random, close = np.random.default_rng(0), 0
    for sparseness in (0.5, 0.7):
        group = [np.abs(random.standard_normal(n)) for n in (3, 4)]
        if average(group) >= sparseness:
            continue
        x = np.concatenate(group)
        found = np.concatenate([s / np.linalg.norm(s) for s in project(group, sparseness)])

        sparse = constraint(lambda u: average([u[:3], u[3:]]), sparseness, inf)
        unit = constraint(lambda u: [float(u[:3] @ u[:3]), float(u[3:] @ u[3:])], 1, 1)
        for start in np.abs(random.standard_normal((8, 7))):
            best = minimize(
                lambda u, x: -(u @ x),
                start,
                (x,),
                method="SLSQP",
                bounds=optimize.Bounds(np.zeros(7), np.ones(7)),
                constraints=[sparse, unit],
            )
            if best.success:
                assert best.x @ x <= found @ x + 1e-6
                close += best.x @ x > found @ x - 1e-6
    assert close


# ---- laws ----------------------------------------------------------------------------------------------------------


@given(groups(), sparsenesses, st.integers(0, 10**6))
def test_laws(group: list[Array], sparseness: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    result = project(group, sparseness)
    flips = [np.where(x == 0, 1, random.choice([-1.0, 1.0], len(x))) for x in group]
    for s, flipped, b in zip(
        result, project([b * x for b, x in zip(flips, group, strict=True)], sparseness), flips, strict=True
    ):
        np.testing.assert_allclose(flipped, b * s, atol=1e-12)
    for s, larger in zip(result, project([8 * x for x in group], sparseness), strict=True):
        np.testing.assert_allclose(larger, 8 * s, atol=1e-9)
    for s, again in zip(result, project(result, sparseness), strict=True):
        np.testing.assert_allclose(again, s, atol=1e-7)
    order = random.permutation(len(group))
    for i, s in zip(order, project([group[i] for i in order], sparseness), strict=True):
        np.testing.assert_allclose(s, result[i], atol=1e-9)


@given(groups(), sparsenesses)
def test_without_signs_negative_entries_are_zero(group: list[Array], sparseness: float) -> None:
    for s, t in zip(
        project(group, sparseness, signed=False), project([x.clip(0) for x in group], sparseness), strict=True
    ):
        np.testing.assert_array_equal(s, t)


# ---- jumps ---------------------------------------------------------------------------------------------------------


def test_the_average_is_reached_where_shared_maxima_make_it_jump() -> None:
    group = [np.array([2.0, 2, 0, 1]), np.array([-1.0, 1, 1, 0])]  # two leave together at μ / β = 2, three at 1
    for sparseness in (0.45, 0.6, 0.7, 0.8, 0.9, 0.99):
        first, second = project(group, sparseness)
        assert average([first, second]) == pytest.approx(sparseness, abs=1e-12)
        assert first[0] >= first[1]  # the first takes the excess
        assert abs(second[0]) >= abs(second[1]) == abs(second[2])
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    assert torch.equal(group_hoyer_projection(zeros, 0.9), zeros)


def test_a_jump_has_a_gradient_without_nan() -> None:
    x = torch.tensor([[2.0, 2, 0, 1], [-1, 1, 1, 0], [3, 1, 2, 0.5]], dtype=torch.float64, requires_grad=True)
    for sparseness in (0.45, 0.6, 0.8, 0.9, 0.99):
        (gradient,) = torch.autograd.grad(group_hoyer_projection(x, sparseness).square().sum(), x)
        assert gradient.isfinite().all()


# ---- derivatives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparseness", [0.2, 0.5, 0.8])
def test_first_and_second_derivatives(sparseness: float, generator: torch.Generator) -> None:
    x = torch.randn(2, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    y = torch.randn(6, dtype=torch.float64, generator=generator, requires_grad=True)

    def function(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return tuple(group_hoyer_projection([x, y], sparseness))

    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))
    assert torch.autograd.gradcheck(lambda t: group_hoyer_projection(t, sparseness, dim=0, signed=False), (x,))


# ---- shapes, dtypes, bad rows --------------------------------------------------------------------------------------


def test_all_rows_along_dim_are_the_group(generator: torch.Generator) -> None:
    x = torch.randn(4, 5, 6, generator=generator)
    for dim in (0, 1, 2, -2):
        s = group_hoyer_projection(x, 0.8, dim)
        assert s.shape == x.shape
        assert float(hoyer(s, dim).mean()) == pytest.approx(0.8, abs=1e-6)
        rows = list(x.movedim(dim, -1).reshape(-1, x.shape[dim]))
        torch.testing.assert_close(
            s.movedim(dim, -1).reshape(-1, x.shape[dim]), torch.stack(group_hoyer_projection(rows, 0.8))
        )
    assert hoyer(group_hoyer_projection(x, 0.8)).std() > 0.01  # each row has its own


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_are_kept(dtype: torch.dtype, generator: torch.Generator) -> None:
    x = torch.randn(4, 50, generator=generator).to(dtype).requires_grad_()
    s = group_hoyer_projection([x, x[0].double()], 0.7)
    assert [part.dtype for part in s] == [dtype, torch.float64]
    assert torch.equal(s[0][0].double(), s[1].to(dtype).double())
    s[0].sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_bad_row_does_not_count(bad: float, generator: torch.Generator) -> None:
    x = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    x[2, 3] = bad
    others = [0, 1, 3, 4]
    for sparseness in (0.05, 0.8):
        s = group_hoyer_projection(x, sparseness)
        assert s[2].isnan().all()
        assert torch.equal(s[others], group_hoyer_projection(x[others], sparseness))
    masked = group_hoyer_projection(x, 0.8, signed=False)
    if bad == -inf:
        assert torch.equal(masked, group_hoyer_projection(x.clamp(min=0), 0.8))
    else:
        assert masked[2].isnan().all()


def test_a_zero_row_stays_zero_and_counts_as_sparse() -> None:
    x = torch.tensor([[0.0, 0, 0, 0], [1, 2, 3, 4]])
    s = group_hoyer_projection(x, 0.75)
    assert s[0].tolist() == [0] * 4
    assert float(hoyer(s[1])) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-37, 1e37])
def test_scale_does_not_matter(scale: float, generator: torch.Generator) -> None:
    x = torch.randn(4, 9, generator=generator)
    torch.testing.assert_close(
        group_hoyer_projection(x * scale, 0.7), group_hoyer_projection(x, 0.7) * scale, rtol=1e-5, atol=0
    )


def test_no_rows() -> None:
    assert group_hoyer_projection(torch.empty(0, 4), 0.5).shape == (0, 4)
    full, empty = group_hoyer_projection([torch.tensor([1.0, 2, 3]), torch.empty(2, 0, 4)], 0.6)
    assert float(hoyer(full)) == pytest.approx(0.6, abs=1e-6)
    assert empty.shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (torch.ones(2, 1), {}, "at least 2 entries"),
        (torch.tensor(1.0), {}, "dim must be"),
        (torch.ones(2, 3, dtype=torch.int64), {}, "floating point"),
        ([], {}, "at least one vector"),
        (torch.ones(2, 3), {"sparseness": 1.0}, r"sparseness must be in \(0, 1\)"),
        (torch.ones(2, 3), {"sparseness": nan}, r"sparseness must be in \(0, 1\)"),
    ],
)
def test_wrong_arguments(x: Tensor, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        group_hoyer_projection(x, **{"sparseness": 0.5, **arguments})


def test_compiles_without_a_break(generator: torch.Generator) -> None:
    x = torch.randn(6, 12, generator=generator)

    def plain(x: Tensor) -> Tensor:
        return group_hoyer_projection(x, 0.7)

    results = []
    for function in (plain, torch.compile(plain, fullgraph=True, backend="aot_eager")):
        input_ = x.clone().requires_grad_()
        output = function(input_)
        results.append((output, torch.autograd.grad(output, input_, x)[0]))
    torch.testing.assert_close(results[0], results[1])
