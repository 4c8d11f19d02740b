"""Sparseness measures on vectors whose values are known, and their laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer import measures
from gossamer.errors import InputError
from gossamer.measures import active_fraction, gini, hoyer, kurtosis, l0, participation_ratio, treves_rolls

Measure = Callable[..., Tensor]
RATIOS: list[Measure] = [hoyer, gini, treves_rolls, kurtosis, participation_ratio]
ALL: list[Measure] = [getattr(measures, name) for name in measures.__all__]
# Range and whether larger is sparser.
LIMITS: dict[Measure, Callable[[int], tuple[float, float]]] = {
    hoyer: lambda n: (0, 1),
    gini: lambda n: (0, 1 - 1 / n),
    treves_rolls: lambda n: (1 / n, 1),
    kurtosis: lambda n: (-2, n - 5 + 1 / (n - 1)),
    participation_ratio: lambda n: (1, n),
    active_fraction: lambda n: (0, 1),
    l0: lambda n: (0, n),
}


@pytest.mark.parametrize(
    ("measure", "x", "expected"),
    [
        (hoyer, [1, 0, 0, 0], 1.0),
        (hoyer, [2, -2, 2, 2], 0.0),
        (hoyer, [1, 1, 0, 0], 2 - math.sqrt(2)),
        (hoyer, [3, -4, 0, 0], 2 - 7 / 5),
        (active_fraction, [3, 0, -1, 0], 0.5),
        (l0, [3, 0, -1, 0], 2),
        (gini, [0, 0, 0, 5], 0.75),
        (gini, [1, 1, 1, -1], 0.0),
        (gini, [1, 2, 3, 4], 0.25),
        (treves_rolls, [0, 0, 7, 0], 0.25),
        (treves_rolls, [1, 1, 0, 0], 0.5),
        (treves_rolls, [1, 2, 3, 4], 100 / 4 / 30),
        (kurtosis, [1, -1, 1, -1], -2.0),
        (kurtosis, [1, 2, 3, 4], 2.5625 / 1.5625 - 3),
        (kurtosis, [0, 0, 0, 9], 7 / 3 - 3),
        (participation_ratio, [0, 4, 0, 0], 1.0),
        (participation_ratio, [-4, 4, 4, 0], 3.0),
        (participation_ratio, [1, 2, 0, 0], 25 / 17),
    ],
)
def test_known_values(measure: Measure, x: list[float], expected: float) -> None:
    assert measure(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-14)


def test_threshold() -> None:
    x = torch.tensor([[0.5, -0.1, 0.2, 0.0]])
    assert l0(x, threshold=0.1).tolist() == [2]
    assert active_fraction(x, threshold=0.2).tolist() == [0.25]
    assert l0(x).dtype == torch.int64
    with pytest.raises(InputError, match="threshold"):
        l0(x, threshold=-1.0)


@pytest.mark.parametrize("measure", ALL)
def test_zero_vector_gives_zero(measure: Measure) -> None:
    x = torch.zeros(3, 5, requires_grad=True)
    value = measure(x)
    assert value.tolist() == [0, 0, 0]
    if value.requires_grad:
        assert torch.autograd.grad(value.sum(), x)[0].abs().max() == 0


def test_constant_vector_has_no_kurtosis() -> None:
    assert kurtosis(torch.full((4,), 3.0)).item() == 0


@pytest.mark.parametrize("measure", RATIOS)
@given(values=st.lists(st.integers(-50, 50), min_size=2, max_size=30), scale=st.sampled_from([1e-30, 0.5, 1e30]))
def test_scale_and_range(measure: Measure, values: list[int], scale: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    value = measure(x)
    torch.testing.assert_close(measure(scale * x), value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(measure(x.flip(0)), value, rtol=1e-9, atol=1e-9)
    if x.abs().max() > 0 and not (measure is kurtosis and x.unique().numel() == 1):
        low, high = LIMITS[measure](len(values))
        assert low - 1e-12 <= value.item() <= high + 1e-12
    if measure is not kurtosis:
        torch.testing.assert_close(measure(x.abs()), value)


@pytest.mark.parametrize("measure", RATIOS)
@pytest.mark.parametrize("scale", [1e-38, 1e38])
def test_float32_does_not_overflow(measure: Measure, scale: float) -> None:
    x = torch.tensor([1.0, -0.5, 0.25, 0, 0.75])
    torch.testing.assert_close(measure(x * scale), measure(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize("dim", [0, 1, -1, -3])
def test_any_dimension(measure: Measure, dim: int, generator: torch.Generator) -> None:
    x = torch.randn(3, 4, 5, generator=generator)
    torch.testing.assert_close(measure(x, dim), measure(x.movedim(dim, -1)))
    assert measure(torch.empty(0, 3)).shape == (0,)


@pytest.mark.parametrize("measure", RATIOS)
def test_derivative(measure: Measure, generator: torch.Generator) -> None:
    x = torch.randn(2, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(measure, (x,))


@pytest.mark.parametrize("measure", RATIOS)
def test_nan_gives_nan_in_its_row(measure: Measure) -> None:
    value = measure(torch.tensor([[1.0, math.nan, 2], [1, 0, 2]]))
    assert value.isnan().tolist() == [True, False]


def test_nan_is_not_active() -> None:
    assert l0(torch.tensor([math.nan, 1.0, math.inf])).item() == 2


@pytest.mark.parametrize("measure", [m for m in ALL if m is not hoyer])
def test_one_entry(measure: Measure) -> None:
    expected = {gini: 0.0, kurtosis: 0.0}.get(measure, 1.0)
    assert measure(torch.tensor([3.0])).item() == expected


def test_one_entry_has_no_hoyer_sparseness() -> None:
    with pytest.raises(InputError, match="at least 2 entries"):
        hoyer(torch.ones(4, 1))


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize(
    ("x", "dim", "message"),
    [
        (torch.ones(3, dtype=torch.int64), -1, "floating point"),
        (torch.ones(3, 2), 2, "dim must be"),
        (torch.tensor(1.0), -1, "dim must be"),
        (torch.ones(3, 0), -1, "at least"),
    ],
)
def test_wrong_input(measure: Measure, x: Tensor, dim: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure(x, dim)
