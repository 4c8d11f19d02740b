"""The laws of the sparseness-enforcing projection, against four other algorithms and the enumeration of all faces."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import projection
from gossamer.measures import hoyer
from gossamer.projections import hoyer_projection

Array = NDArray[np.float64]
inf, nan = math.inf, math.nan


@pytest.fixture(params=["native", "reference"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C++ kernels, then the torch reference."""
    if request.param == "reference":
        monkeypatch.setattr(projection, "ELEMENTWISE", {})


pytestmark = pytest.mark.usefixtures("path")


def radius_of(n: int, sparseness: float) -> float:
    return math.sqrt(n) - sparseness * (math.sqrt(n) - 1)


def sparseness_of(n: int, radius: float) -> float:
    return (math.sqrt(n) - radius) / (math.sqrt(n) - 1)


def project(x: Array | list[float], sparseness: float, signed: bool = False) -> Array:
    result = hoyer_projection(torch.tensor(np.asarray(x, dtype=np.float64)), sparseness, signed=signed)
    return np.asarray(result.numpy(), dtype=np.float64)


# Multiples of 1/16: ties are frequent, near-ties absent.
def vectors(least: int = 2, most: int = 24, low: int = -64) -> st.SearchStrategy[Array]:
    entries = st.lists(st.integers(low, 64), min_size=least, max_size=most)
    return entries.map(lambda values: np.array(values, dtype=np.float64) / 16)


sparsenesses = st.integers(4, 96).map(lambda percent: percent / 100)
signs = st.booleans()


def is_unique(x: Array, radius: float) -> bool:
    return int((x == x.max()).sum()) < radius**2 * (1 - 1e-9)


# ---- oracles -------------------------------------------------------------------------------------------------------


def by_faces(x: Array, radius: float) -> Array:
    """The nearest of all stationary points on all faces {s_i = 0 off I}."""
    best, least = np.zeros_like(x), inf
    for size in range(1, len(x) + 1):
        kappa2 = 1 - radius**2 / size
        if kappa2 < -1e-12:
            continue
        for support in itertools.combinations(range(len(x)), size):
            chosen = list(support)
            u = x[chosen] - x[chosen].mean()
            if np.abs(u).max() < 1e-12:  # all directions are as good
                u = np.eye(size)[0] - 1 / size
            length = np.linalg.norm(u)
            s = np.zeros_like(x)
            s[chosen] = radius / size + math.sqrt(max(kappa2, 0)) * (u / length if length else 0)
            distance = float(((s - x) ** 2).sum())
            if s.min() >= -1e-12 and distance < least:
                best, least = s, distance
    return best


def by_sorting(x: Array, radius: float) -> Array:
    """The first d with x_(d) > α_d ≥ x_(d+1), where α_d is the threshold for the d largest."""
    ordered = np.append(np.sort(x)[::-1], -inf)
    for d in range(1, len(x) + 1):
        if d <= radius**2:
            continue
        total, square = ordered[:d].sum(), (ordered[:d] ** 2).sum()
        alpha = (total - radius * math.sqrt(max(d * square - total**2, 0) / (d - radius**2))) / d
        if ordered[d - 1] > alpha >= ordered[d]:
            y = np.maximum(x - alpha, 0)
            return np.asarray(y / np.linalg.norm(y))
    raise AssertionError("no threshold")


def onto_sphere(v: Array, live: NDArray[np.bool_], radius: float) -> Array:
    d = int(live.sum())
    u = np.where(live, v - radius / d, 0)
    return np.asarray(np.where(live, radius / d + math.sqrt(1 - radius**2 / d) * u / np.linalg.norm(u), 0))


def by_hoyer(x: Array, radius: float) -> Array:
    """Hoyer's alternation: sphere, drop what is not positive, shift the rest back onto Σ = r."""
    v, live = x + (radius - x.sum()) / len(x), np.full(len(x), True)
    while True:
        v = onto_sphere(v, live, radius)
        if v.min() >= 0:
            return v
        live &= v > 0
        v = np.where(live, v, 0)
        v = np.where(live, v + (radius - v.sum()) / live.sum(), 0)


def by_simplex(x: Array, radius: float) -> Array:
    """The alternation of sphere and scaled simplex."""
    v, live = x + (radius - x.sum()) / len(x), np.full(len(x), True)
    while True:
        v = onto_sphere(v, live, radius)
        if v.min() >= 0:
            return v
        ordered = np.sort(v[live])[::-1]
        excess = (np.cumsum(ordered) - radius) / np.arange(1, len(ordered) + 1)
        level = excess[np.nonzero(ordered > excess)[0][-1]]
        v = np.where(live, np.maximum(v - level, 0), 0)
        live = v > 0


# ---- forward -------------------------------------------------------------------------------------------------------


def test_worked_vectors() -> None:
    s = [0.85355339, 0.14644661, 0.5, 0]
    np.testing.assert_allclose(project([3, 1, 2, 0], 0.5), s, atol=5e-9)
    np.testing.assert_allclose(project([3, 1, 2, 0], 0.5, signed=True), s, atol=5e-9)
    np.testing.assert_allclose(project([-3, 1, -2, 0], 0.5, signed=True), [-s[0], s[1], -s[2], 0], atol=5e-9)
    decreasing = project([3, 1, 0, 0], sparseness_of(4, 1.9))
    np.testing.assert_allclose(decreasing, [0.72995098, 0.475, 0.34752451, 0.34752451], atol=5e-9)


@given(vectors(), sparsenesses, signs)
def test_result_has_the_sparseness_and_the_length(x: Array, sparseness: float, signed: bool) -> None:
    s = project(x, sparseness, signed)
    assert np.abs(s).sum() == pytest.approx(radius_of(len(x), sparseness), rel=1e-10)
    assert np.linalg.norm(s) == pytest.approx(1, rel=1e-10)
    assert hoyer(torch.tensor(s)).item() == pytest.approx(sparseness, rel=1e-9)


@given(vectors(), sparsenesses, signs)
def test_result_is_a_soft_shrinkage(x: Array, sparseness: float, signed: bool) -> None:
    size, radius = np.abs(x) if signed else x, radius_of(len(x), sparseness)
    if not is_unique(size, radius):
        return
    s = np.abs(project(x, sparseness, signed))
    live = s > 0
    d = int(live.sum())
    assert d > radius**2
    u = size[live] - size[live].mean()
    beta = math.sqrt(1 - radius**2 / d) / np.linalg.norm(u)
    alpha = size.max() - s.max() / beta
    np.testing.assert_allclose(s, beta * np.maximum(size - alpha, 0), atol=1e-10)
    distinct = np.unique(size)
    if len(distinct) > 1:
        assert alpha < distinct[-2] + 1e-12
    if size.min() >= 0 and size.max() > 0:
        before = hoyer(torch.tensor(size)).item()
        if abs(before - sparseness) > 1e-6:
            assert (alpha < 0) == (before > sparseness)


@given(vectors(), sparsenesses)
def test_order_and_ties_are_kept(x: Array, sparseness: float) -> None:
    s = project(x, sparseness)
    assert s.min() >= 0
    unique = is_unique(x, radius_of(len(x), sparseness))
    for i, j in itertools.combinations(range(len(x)), 2):
        if x[i] != x[j]:
            assert (s[i] - s[j]) * (x[i] - x[j]) >= 0
        elif unique:
            assert s[i] == pytest.approx(s[j], abs=1e-12)


@given(vectors(), sparsenesses, st.data())
def test_signs_go_through(x: Array, sparseness: float, data: st.DataObject) -> None:
    s = project(x, sparseness, signed=True)
    assert (s * x).min() >= 0
    np.testing.assert_allclose(np.abs(s), project(np.abs(x), sparseness), atol=1e-12)
    flips = np.array(data.draw(st.lists(st.sampled_from([-1, 1]), min_size=len(x), max_size=len(x))))
    flips = np.where(x == 0, 1, flips)  # a zero counts as positive
    np.testing.assert_allclose(project(x * flips, sparseness, signed=True), s * flips, atol=1e-12)


@given(vectors(), sparsenesses, signs, st.randoms(use_true_random=False), st.sampled_from([1e-6, 0.3, 7.0, 1e6]))
def test_equivariance(x: Array, sparseness: float, signed: bool, random: object, scale: float) -> None:
    s = project(x, sparseness, signed)
    np.testing.assert_allclose(project(scale * x, sparseness, signed), s, atol=1e-11)
    if not is_unique(np.abs(x) if signed else x, radius_of(len(x), sparseness)):
        return
    order = np.random.default_rng(len(x)).permutation(len(x))
    np.testing.assert_allclose(project(x[order], sparseness, signed), s[order], atol=1e-11)
    if not signed:
        np.testing.assert_allclose(project(x + 12.5, sparseness), s, atol=1e-11)


@given(vectors(), sparsenesses, signs)
def test_projection_is_idempotent(x: Array, sparseness: float, signed: bool) -> None:
    if not is_unique(np.abs(x) if signed else x, radius_of(len(x), sparseness)):
        return
    s = project(x, sparseness, signed)
    np.testing.assert_allclose(project(s, sparseness, signed), s, atol=4e-12)


@given(vectors(most=7, low=-5), sparsenesses)
def test_nothing_is_nearer(x: Array, sparseness: float) -> None:
    radius = radius_of(len(x), sparseness)
    s, best = project(x, sparseness), by_faces(x, radius)
    excess = ((s - x) ** 2).sum() - ((best - x) ** 2).sum()
    assert excess <= 1e-10 * max(1.0, float((x**2).sum()))
    if is_unique(x, radius):
        np.testing.assert_allclose(s, best, atol=1e-10)


def test_no_feasible_point_is_better() -> None:
    random = np.random.default_rng(0)
    for sparseness in (0.2, 0.6, 0.9):
        x = random.standard_normal(12)
        s = project(x, sparseness)
        others = np.stack([project(random.standard_normal(12), sparseness) for _ in range(200)])
        assert (others @ x).max() <= s @ x + 1e-14


@given(vectors(least=3), sparsenesses)
def test_four_algorithms_agree(x: Array, sparseness: float) -> None:
    radius = radius_of(len(x), sparseness)
    if not is_unique(x, radius):
        return
    s = project(x, sparseness)
    for algorithm in (by_sorting, by_hoyer, by_simplex):
        np.testing.assert_allclose(s, algorithm(x, radius), atol=1e-9, err_msg=algorithm.__name__)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("x", [[0.0, 0, 0, 0], [2.5, 2.5, 2.5, 2.5], [1.0, 3, 3, 3]], ids=["zero", "constant", "ties"])
def test_too_many_ties_are_broken_by_index(x: list[float], signed: bool) -> None:
    sparseness, tied = 0.8, np.asarray(x) == max(x)
    radius, many = radius_of(4, sparseness), int(tied.sum())
    input_ = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    s = hoyer_projection(input_, sparseness, signed=signed)
    share = math.sqrt((1 - radius**2 / many) / (radius**2 - radius**2 / many))
    expected = np.where(tied, (1 - share) * radius / many, 0)
    expected[tied.argmax()] += share * radius
    np.testing.assert_allclose(s.detach().numpy(), expected, atol=1e-12)
    assert s.sum().item() == pytest.approx(radius)
    assert s.norm().item() == pytest.approx(1)
    nearest = by_faces(np.asarray(x), radius)
    assert ((s.detach().numpy() - x) ** 2).sum() == pytest.approx(((nearest - x) ** 2).sum())
    assert torch.autograd.grad(s, input_, torch.arange(4.0, dtype=torch.float64))[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactly_as_many_ties_as_the_radius_asks_for(dtype: torch.dtype) -> None:
    x = torch.tensor([1.0, 5, 5, 2, 5, 5, 0, 0, -1], dtype=dtype, requires_grad=True)  # r = 2, four ties
    s = hoyer_projection(x, 0.5)
    torch.testing.assert_close(s, (x == 5).to(dtype) / 2)
    assert torch.autograd.grad(s.square() @ x.detach(), x)[0].abs().max() == 0


def test_negative_entries_are_not_clipped() -> None:
    x = [2.0, -1, -1.5, -4]
    clipped = project(np.maximum(x, 0), 0.4)
    s = project(x, 0.4)
    assert np.abs(s - clipped).max() > 0.05
    np.testing.assert_allclose(s, by_faces(np.asarray(x), radius_of(4, 0.4)), atol=1e-12)


def test_a_zero_counts_as_positive() -> None:
    s = hoyer_projection(torch.tensor([-3.0, -1, -0.0, 0.0]), 0.1, signed=True)
    assert s[0] < 0
    assert s[1] < 0
    assert s[2] == s[3] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("signed", [False, True])
def test_scale_does_not_matter(dtype: torch.dtype, signed: bool) -> None:
    x = torch.tensor([[3.0, 1, 2, 0, -0.5, 1.25], [1, -3, 2.5, 2, 2, -2]], dtype=dtype)
    expected = hoyer_projection(x, 0.5, signed=signed)
    largest, spacing = torch.finfo(dtype).max / 4, torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for scale in (largest, spacing * 4, torch.finfo(dtype).smallest_normal):  # multiples of 1/4: exact when subnormal
        torch.testing.assert_close(hoyer_projection(x * scale, 0.5, signed=signed), expected)


@pytest.mark.parametrize(("dtype", "offset"), [(torch.float32, 2.0**20), (torch.float64, 2.0**48)])
def test_a_large_mean_costs_no_digits(dtype: torch.dtype, offset: float) -> None:
    x = torch.tensor([3.0, 1, 2, 0, -5, 4], dtype=dtype)
    torch.testing.assert_close(hoyer_projection(x + offset, 0.5), hoyer_projection(x, 0.5))


def test_float32_is_as_good_as_its_digits(generator: torch.Generator) -> None:
    x = torch.randn(16, 1000, generator=generator)
    for sparseness in (0.1, 0.8, 0.95):
        exact = hoyer_projection(x.double(), sparseness)
        assert (hoyer_projection(x, sparseness) - exact).abs().max() < 2e-7


# ---- masks, infinities, NaN ----------------------------------------------------------------------------------------


def test_minus_infinity_is_a_masked_unit() -> None:
    x = torch.tensor([-inf, 3.0, 1, -inf, 2, 0], dtype=torch.float64)
    live = x > -inf
    s = hoyer_projection(x, 0.6)
    assert s[~live].abs().max() == 0
    among = sparseness_of(4, radius_of(6, 0.6))  # the same radius, of four units
    torch.testing.assert_close(s[live], hoyer_projection(x[live], among))
    lowest = torch.where(live, x, torch.finfo(x.dtype).min)
    torch.testing.assert_close(hoyer_projection(lowest, 0.6), s)


def test_too_few_unmasked_units_fire_equally() -> None:
    x = torch.tensor([[1.0, -inf, 2, -inf, -inf, -inf], [-inf] * 6], requires_grad=True)  # r² = 2.98
    s = hoyer_projection(x, 0.5)
    half = 2**-0.5
    torch.testing.assert_close(s, torch.tensor([[half, 0, half, 0, 0, 0], [0.0] * 6]))
    assert torch.autograd.grad(s.sum(), x)[0].abs().max() == 0


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bad", [nan, inf])
def test_a_bad_entry_spoils_its_row_only(bad: float, signed: bool, layout: str, generator: torch.Generator) -> None:
    x = torch.randn(20, 9, generator=generator)
    if layout == "columns":
        x = x.t().contiguous().t()
    clean = hoyer_projection(x, 0.6, signed=signed)
    x[3, 4] = bad
    s = hoyer_projection(x, 0.6, signed=signed)
    assert s[3].isnan().all()
    others = [i for i in range(20) if i != 3]
    torch.testing.assert_close(s[others], clean[others])


def test_minus_infinity_has_no_signed_projection() -> None:
    assert hoyer_projection(torch.tensor([-inf, 1, 2]), 0.5, signed=True).isnan().all()
    assert hoyer_projection(torch.tensor([-inf, nan, 2]), 0.5).isnan().all()


# ---- backward ------------------------------------------------------------------------------------------------------


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(function, x)  # type: ignore[no-any-return]


@given(vectors(least=3, most=12), sparsenesses, signs)
def test_jacobian_projects_off_the_support_and_the_result(x: Array, sparseness: float, signed: bool) -> None:
    tensor, radius = torch.tensor(x), radius_of(len(x), sparseness)
    s = hoyer_projection(tensor, sparseness, signed=signed)
    J = jacobian(lambda t: hoyer_projection(t, sparseness, signed=signed), tensor)
    d = int((s != 0).sum())
    if d <= 2 or not is_unique(np.abs(x) if signed else x, radius):
        assert J.abs().max() == 0
        return
    live = np.abs(x[s.numpy() != 0]) if signed else x[s.numpy() != 0]
    beta = math.sqrt(1 - radius**2 / d) / float(np.linalg.norm(live - live.mean()))
    tolerance = 1e-11 * beta / (1 - radius**2 / d)
    assert (J - J.T).abs().max() <= tolerance
    spectrum = torch.linalg.eigvalsh(J).sort(descending=True).values
    torch.testing.assert_close(spectrum[: d - 2], torch.full_like(spectrum[: d - 2], beta), rtol=0, atol=tolerance)
    assert spectrum[d - 2 :].abs().max() <= tolerance
    for null in (s.sign(), s, torch.where(s != 0, tensor, 0.0), torch.where(s == 0, 1.0, 0.0).to(s.dtype)):
        assert (J @ null).abs().max() <= tolerance * max(1.0, float(null.norm()))


def test_jacobian_of_the_worked_vector() -> None:
    x = torch.tensor([3.0, 1, 2, 0], dtype=torch.float64)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[:3, :3] = 8**-0.5 / 6 * torch.tensor([[1.0, 1, -2], [1, 1, -2], [-2, -2, 4]]).double()
    for signed in (False, True):
        J = jacobian(lambda t, signed=signed: hoyer_projection(t, 0.5, signed=signed), x)  # type: ignore[misc]
        torch.testing.assert_close(J, expected, rtol=0, atol=1e-10)


def test_two_live_units_have_no_derivative() -> None:
    x = torch.tensor([5.0, 4, 0, -1], dtype=torch.float64)
    assert (hoyer_projection(x, 0.8) > 0).sum() == 2
    assert jacobian(lambda t: hoyer_projection(t, 0.8), x).abs().max() == 0


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("norm", [1.0, 2.5, "preserve"])
def test_central_differences(signed: bool, norm: float, generator: torch.Generator) -> None:
    for n in (3, 5, 11, 29):
        for sparseness in (0.1, 0.5, 0.8):
            x = torch.randn(n, dtype=torch.float64, generator=generator)

            def function(t: Tensor, sparseness: float = sparseness) -> Tensor:
                return hoyer_projection(t, sparseness, signed=signed, norm=norm)

            h = 1e-6 * torch.eye(n, dtype=torch.float64)
            higher, lower = function(x + h), function(x - h)
            if not ((higher != 0) == (function(x) != 0)).all() or not ((lower != 0) == (function(x) != 0)).all():
                continue  # the support changes within the difference
            differences = (higher - lower).T / 2e-6
            J = jacobian(function, x)
            assert (J - differences).abs().max() <= 1e-8 * max(1.0, float(J.abs().max()))


def test_first_and_second_derivatives(generator: torch.Generator) -> None:
    x = torch.randn(3, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    sparseness = torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64, requires_grad=True)
    for signed, norm in ((False, 1.0), (True, 1.0), (False, "preserve")):

        def function(x: Tensor, sparseness: Tensor, signed: bool = signed, norm: float = norm) -> Tensor:  # type: ignore[assignment]
            return hoyer_projection(x, sparseness, signed=signed, norm=norm)

        assert torch.autograd.gradcheck(function, (x, sparseness))
        assert torch.autograd.gradgradcheck(function, (x, sparseness))
    columns = x.detach().t().contiguous().t().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: hoyer_projection(t, 0.4, dim=0), (columns,))
    assert torch.autograd.gradgradcheck(lambda t: hoyer_projection(t, 0.4, dim=0), (columns,))


def test_gradient_reaches_one_sparseness_for_all(generator: torch.Generator) -> None:
    x = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    sparseness = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: hoyer_projection(x, t), (sparseness,))


# ---- the function --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_any_dimension(dim: int, generator: torch.Generator) -> None:
    x = torch.randn(4, 5, 6, generator=generator)
    s = hoyer_projection(x, 0.5, dim)
    torch.testing.assert_close(s.movedim(dim, -1), hoyer_projection(x.movedim(dim, -1).contiguous(), 0.5))
    torch.testing.assert_close(hoyer(s, dim), torch.full_like(hoyer(s, dim), 0.5), rtol=0, atol=1e-5)


def test_layout_is_kept(generator: torch.Generator) -> None:
    x = torch.randn(5, 6, 3, 4, generator=generator).to(memory_format=torch.channels_last)
    assert hoyer_projection(x, 0.5, dim=1).stride() == x.stride()
    every_second = torch.randn(5, 12, generator=generator)[:, ::2]
    torch.testing.assert_close(hoyer_projection(every_second, 0.5), hoyer_projection(every_second.contiguous(), 0.5))


def test_sparseness_for_each_sample(generator: torch.Generator) -> None:
    x = torch.randn(5, 3, 8, generator=generator)
    wanted = torch.rand(5, 3, generator=generator) * 0.8 + 0.1
    s = hoyer_projection(x, wanted)
    torch.testing.assert_close(hoyer(s), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(s[2, 1], hoyer_projection(x[2, 1], wanted[2, 1].item()))
    middle = hoyer_projection(x, wanted[:, :1].expand(5, 8), dim=1)
    torch.testing.assert_close(hoyer(middle, 1), wanted[:, :1].expand(5, 8), rtol=0, atol=1e-5)


def test_norm() -> None:
    x = torch.tensor([[3.0, 1, 2, 0], [0, 0, 0, 0], [-inf, 3, 0, 4]])
    torch.testing.assert_close(hoyer_projection(x, 0.5, norm=3.0), 3 * hoyer_projection(x, 0.5))
    lengths = torch.linalg.vector_norm(hoyer_projection(x, 0.5, norm="preserve"), dim=1)
    torch.testing.assert_close(lengths, torch.tensor([14**0.5, 0, 5]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, generator: torch.Generator) -> None:
    x = torch.randn(4, 50, generator=generator).to(dtype).requires_grad_()
    s = hoyer_projection(x, 0.7)
    assert s.dtype == dtype
    assert torch.equal(s, hoyer_projection(x.float(), 0.7).to(dtype))
    s.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_autocast_leaves_float32_alone() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert hoyer_projection(torch.ones(2, 3), 0.5).dtype == torch.float32


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5)])
def test_no_rows(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, requires_grad=True)
    s = hoyer_projection(x, 0.5)
    assert s.shape == shape
    s.sum().backward()


def test_two_entries() -> None:
    torch.testing.assert_close(hoyer_projection(torch.tensor([1.0, 0.2]), 0.5).norm(), torch.tensor(1.0))


@pytest.mark.parametrize("sparseness", [0.0, 1.0, -0.1, 1.5, nan, torch.tensor([0.5, 1.0]), torch.tensor([nan, 0.5])])
def test_sparseness_out_of_range(sparseness: float | Tensor) -> None:
    with pytest.raises(InputError, match=r"sparseness must be in \(0, 1\)"):
        hoyer_projection(torch.ones(2, 3), sparseness)


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (torch.ones(2, 1), {}, "at least 2 entries"),
        (torch.tensor(1.0), {}, "dim must be"),
        (torch.ones(2, 3), {"dim": 2}, "dim must be"),
        (torch.ones(2, 3, dtype=torch.int64), {}, "floating point"),
        (torch.ones(2, 3, dtype=torch.complex64), {}, "floating point"),
        (torch.ones(2, 3), {"norm": 0.0}, "norm must be"),
        (torch.ones(2, 3), {"norm": inf}, "norm must be"),
        (torch.ones(2, 3), {"norm": "keep"}, "norm must be"),
        (torch.ones(2, 3), {"sparseness": torch.full((3,), 0.5)}, "must broadcast"),
    ],
)
def test_wrong_arguments(x: Tensor, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hoyer_projection(x, **{"sparseness": 0.5, **arguments})  # type: ignore[arg-type]


# ---- the ends of the number range ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("part", [1.0, 0.5, 2.0**-20])
def test_the_largest_numbers_are_projected_like_small_ones(
    dtype: torch.dtype, signed: bool, part: float, generator: torch.Generator
) -> None:
    top = torch.finfo(dtype).max * part
    for n in (2, 3, 9, 40, 3000):
        random = torch.rand(6, n, generator=generator, dtype=torch.float64) * 2 - 1
        ties = random.mul(3).round() / 3
        for x in (random, random.sign(), ties, random.abs(), -random.abs(), torch.eye(6, n, dtype=torch.float64)):
            x = x.to(dtype)
            for sparseness in (0.05, 0.3, 0.8):
                expected = hoyer_projection(x, sparseness, signed=signed)
                torch.testing.assert_close(hoyer_projection(x * top, sparseness, signed=signed), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("signed", [False, True])
def test_subnormal_numbers_are_projected_like_integers(
    dtype: torch.dtype, signed: bool, generator: torch.Generator
) -> None:
    least = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for high in (2, 8, 1000):
        whole = torch.randint(-high + 1, high, (8, 12), generator=generator).to(dtype)
        for sparseness in (0.1, 0.3, 0.8):
            expected = hoyer_projection(whole, sparseness, signed=signed)
            result = hoyer_projection(whole * least, sparseness, signed=signed)
            torch.testing.assert_close(result, expected, atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparseness", [1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("per_row", [False, True])
def test_near_sparseness_0_gradients_stay_in_the_tangent_space(
    dtype: torch.dtype, sparseness: float, signed: bool, per_row: bool, generator: torch.Generator
) -> None:
    x = torch.randn(4, 100, generator=generator, dtype=dtype).requires_grad_()
    v = torch.randn(4, 100, generator=generator, dtype=dtype)
    wanted: float | Tensor = torch.full((4,), sparseness, dtype=torch.float64) if per_row else sparseness
    s = hoyer_projection(x, wanted, signed=signed)
    gradient = torch.autograd.grad(s, x, v)[0].double()
    size, b = s.detach().double(), s.detach().sign().double()
    tau = size - b * (size.abs().sum(1, keepdim=True) / (size != 0).sum(1, keepdim=True))
    for normal in (b, tau):
        cosine = (gradient * normal).sum(1) / gradient.norm(dim=1) / normal.norm(dim=1)
        assert cosine.abs().max() < (1e-5 if dtype == torch.float32 else 1e-12)
