"""In each map of each image what exceeds its own threshold stays, and keeps its value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gossamer.activation.threshold import (
    MeanThreshold,
    QuantileThreshold,
    mean_threshold,
    quantile_threshold,
    straight_through,
)
from gossamer.errors import InputError

inf, nan = math.inf, math.nan
seeds = st.integers(0, 1000)
quantiles = st.floats(0, 0.99)
Threshold = Callable[..., Tensor]


def distinct(*shape: int, seed: int = 0) -> Tensor:
    """Positive numbers that all differ, in random order."""
    order = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(seed))
    return (1 + order.double()).view(shape)


def kept(n: int, quantile: float) -> int:
    return n - math.floor(quantile * n + 1e-9)


# ---- quantile ------------------------------------------------------------------------------------------------------


def test_literal_maps() -> None:
    z = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 5], [5, 0]]]])
    assert quantile_threshold(z, 0.75).tolist() == [[[[0, 0], [0, 4]], [[0, 0], [0, 0]]]]  # ties at τ don't pass
    assert quantile_threshold(z, 0.5).tolist() == [[[[0, 0], [3, 4]], [[0, 5], [5, 0]]]]
    assert mean_threshold(z).tolist() == [[[[0, 0], [3, 4]], [[0, 5], [5, 0]]]]
    assert mean_threshold(z, 1.5).tolist() == [[[[0, 0], [0, 4]], [[0, 5], [5, 0]]]]


@pytest.mark.parametrize(("side", "count"), [(32, 205), (16, 52), (8, 13), (4, 4), (2, 1), (1, 1)])
def test_a_fifth_is_rounded_up(side: int, count: int) -> None:
    z = quantile_threshold(distinct(2, 3, side, side), 0.8)
    assert (z != 0).sum((2, 3)).unique().tolist() == [count]


def test_floating_products_are_not_taken_at_their_word() -> None:
    assert math.floor((1 - 0.8) * 25) == 4  # not 5
    assert (quantile_threshold(distinct(5, 5), 1 - 0.8) != 0).sum() == 20


@given(seeds, quantiles, st.integers(1, 7), st.integers(1, 7))
def test_exactly_so_many_survive_unchanged(seed: int, quantile: float, height: int, width: int) -> None:
    z = distinct(2, 3, height, width, seed=seed)
    s = quantile_threshold(z, quantile)
    assert (s != 0).sum((2, 3)).unique().tolist() == [kept(height * width, quantile)]
    assert torch.equal(s[s != 0], z[s != 0])
    assert s.flatten(2).amin(2).max() == 0 or quantile == 0 or kept(height * width, quantile) == height * width
    assert (s.flatten(2).amax(2) == z.flatten(2).amax(2)).all()  # the strongest is among them


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), quantiles)
def test_with_ties_it_is_the_kth_smallest_that_must_be_exceeded(values: list[int], quantile: float) -> None:
    z = torch.tensor(values, dtype=torch.float32).view(1, -1)
    k = math.floor(quantile * len(values) + 1e-9)
    threshold = sorted(values)[k - 1] if k else 0
    s = quantile_threshold(z, quantile)
    assert s.flatten().tolist() == [value if value > threshold else 0 for value in values]
    assert (s != 0).sum() <= kept(len(values), quantile)


@given(seeds, quantiles, quantiles)
def test_a_larger_quantile_keeps_a_part(seed: int, one: float, other: float) -> None:
    z = distinct(2, 5, 5, seed=seed)
    few, many = sorted((one, other), reverse=True)
    assert ((quantile_threshold(z, few) != 0) <= (quantile_threshold(z, many) != 0)).all()


@given(seeds, quantiles, st.floats(1e-3, 1e3), st.booleans())
def test_the_support_is_blind_to_scale(seed: int, quantile: float, scale: float, mean: bool) -> None:
    z = distinct(2, 3, 4, 4, seed=seed)
    threshold: Threshold = mean_threshold if mean else quantile_threshold
    argument = 1.1 if mean else quantile
    assert torch.equal(threshold(scale * z, argument) != 0, threshold(z, argument) != 0)


def test_all_that_is_positive_passes_where_nothing_is_to_be_left_out() -> None:
    z = torch.tensor([[0.0, 1, -2, 3]])
    assert quantile_threshold(z, 0.0).tolist() == [[0, 1, 0, 3]]
    one = torch.tensor([[[[2.0]], [[0.0]]]])  # maps of one pixel
    assert torch.equal(quantile_threshold(one, 0.8), one)


def test_a_map_of_many_zeros_keeps_its_positive_entries() -> None:
    z = torch.zeros(1, 1, 8, 8)
    z[0, 0, 0, :5] = torch.arange(1.0, 6)
    assert torch.equal(quantile_threshold(z, 0.8), z)


@pytest.mark.parametrize("value", [0.0, 0.1, 3.7])
@pytest.mark.parametrize("side", [2, 5, 7])
def test_a_constant_map_becomes_zero(value: float, side: int) -> None:
    for dtype in (torch.float32, torch.float64):
        z = torch.full((2, 3, side, side), value, dtype=dtype)
        assert (quantile_threshold(z) == 0).all()
        assert (mean_threshold(z) == 0).all()


# ---- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [quantile_threshold, mean_threshold])
def test_the_derivative_is_the_gate(threshold: Threshold) -> None:
    z = distinct(2, 2, 3, 3).sqrt().requires_grad_()  # none of which is the mean
    s = threshold(z)
    assert torch.equal(torch.autograd.grad(s.sum(), z)[0], (s != 0).double())
    assert torch.autograd.gradcheck(threshold, (z,))
    assert torch.autograd.gradgradcheck(threshold, (z,))


@pytest.mark.parametrize("threshold", [quantile_threshold, mean_threshold])
def test_straight_through_has_the_same_values_and_derivative_one(threshold: Threshold) -> None:
    z = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    s = threshold(z, gate="straight_through")
    assert torch.equal(s, threshold(z))
    direction = torch.randn(s.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.autograd.grad(s, z, direction)[0], direction)


@pytest.mark.parametrize("threshold", [quantile_threshold, mean_threshold])
@pytest.mark.parametrize("gate", ["hard", "straight_through"])
def test_nan_shows_in_its_own_map_alone(threshold: Threshold, gate: str) -> None:
    z = distinct(2, 2, 4, 4)
    clean = threshold(z, gate=gate)
    z[0, 1, 2, 2] = nan
    s = threshold(z, gate=gate)
    assert s[0, 1].isnan().sum() == 1
    s[0, 1] = clean[0, 1]
    assert torch.equal(s, clean)


def test_infinities() -> None:
    z = torch.tensor([[1.0, inf, 2, 3], [1, inf, inf, 0]])[:, None]
    assert quantile_threshold(z, 0.75).flatten(1)[0].tolist() == [0, inf, 0, 0]
    assert quantile_threshold(z, 0.75).flatten(1)[1].isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [quantile_threshold, mean_threshold])
def test_dtype_and_layout_are_kept(threshold: Threshold, dtype: torch.dtype) -> None:
    z = distinct(2, 3, 4, 4).to(dtype)
    s = threshold(z)
    assert s.dtype == dtype
    assert torch.equal(s.double(), threshold(z.double()))
    last = threshold(z.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, s)
    assert threshold(z[:0]).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("quantile", [1.0, -0.2, 1.01, nan, "few"])
def test_quantile_out_of_range(quantile: Any) -> None:
    for make in (lambda: quantile_threshold(torch.ones(2, 2), quantile), lambda: QuantileThreshold(quantile)):
        with pytest.raises(InputError, match=r"quantile must be .*\[0, 1\)"):
            make()


@pytest.mark.parametrize("scale", [-0.1, inf, nan])
def test_scale_out_of_range(scale: float) -> None:
    for make in (lambda: mean_threshold(torch.ones(2, 2), scale), lambda: MeanThreshold(scale)):
        with pytest.raises(InputError, match=r"scale must be in \[0, inf\)"):
            make()


@pytest.mark.parametrize("threshold", [quantile_threshold, mean_threshold, QuantileThreshold, MeanThreshold])
def test_unknown_gate(threshold: Any) -> None:
    with pytest.raises(InputError, match="gate must be one of 'hard', 'straight_through', got 'soft'"):
        threshold(*([] if isinstance(threshold, type) else [torch.ones(2, 2)]), gate="soft")


@pytest.mark.parametrize("z", [torch.ones(3), torch.ones(2, 2).long(), torch.ones(2, 0, 3)])
@pytest.mark.parametrize("threshold", [quantile_threshold, mean_threshold])
def test_wrong_input(threshold: Threshold, z: Tensor) -> None:
    with pytest.raises(InputError, match=r"z must be floating point of shape \(…, H, W\)"):
        threshold(z)


# ---- modules -------------------------------------------------------------------------------------------------------


def test_modules() -> None:
    z = distinct(2, 3, 4, 4)
    assert torch.equal(QuantileThreshold(0.4)(z), quantile_threshold(z, 0.4))
    assert torch.equal(MeanThreshold(1.2)(z), mean_threshold(z, 1.2))
    assert repr(QuantileThreshold(0.4)) == "QuantileThreshold(quantile=0.4, gate='hard')"
    assert repr(MeanThreshold(gate="straight_through")) == "MeanThreshold(scale=1, gate='straight_through')"
    for layer in (QuantileThreshold(), MeanThreshold()):
        assert torch.equal(layer.eval()(z), layer.train()(z))
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(z), layer(z))


def test_gates_of_a_network_open_for_a_while() -> None:
    net = nn.Sequential(QuantileThreshold(), nn.Sequential(MeanThreshold(0.5), QuantileThreshold(0.9)))
    net[1][1].gate = "straight_through"  # type: ignore[index]
    z = distinct(1, 1, 4, 4).requires_grad_()
    before = net(z)
    with straight_through(net):
        during = net(z)
        assert torch.autograd.grad(during.sum(), z)[0].unique().tolist() == [1]
        with pytest.raises(InputError), straight_through(net):
            net(z.long())
    assert torch.equal(before, during)
    assert [m.gate for m in net.modules() if hasattr(m, "gate")] == ["hard", "hard", "straight_through"]
    assert torch.autograd.grad(net(z).sum(), z)[0].sum() < 16
