"""Shares of a budget of connections."""

from __future__ import annotations

import math
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer import InputError, allocate_densities
from gossamer.connectivity.allocate import epsilon_density

linear_shapes = st.tuples(st.integers(1, 300), st.integers(1, 300))
convolution_shapes = st.tuples(st.integers(1, 64), st.integers(1, 64), st.integers(1, 7), st.integers(1, 7))
layers = st.lists(linear_shapes | convolution_shapes, min_size=1, max_size=6)


@given(layers, st.floats(0.001, 1.0), st.sampled_from(["uniform", "er", "erk"]))
def test_connections_add_up_to_the_budget(shapes: list[tuple[int, ...]], density: float, allocate: str) -> None:
    densities = allocate_densities(shapes, density, allocate)  # type: ignore[arg-type]
    assert len(densities) == len(shapes)
    assert all(0 < d <= 1 for d in densities)
    live = sum(d * prod(shape) for d, shape in zip(densities, shapes, strict=True))
    assert math.isclose(live, density * sum(map(prod, shapes)), rel_tol=1e-9)


@given(layers, st.floats(0.001, 1.0), st.sampled_from(["er", "erk"]))
def test_open_layers_follow_the_rule(shapes: list[tuple[int, ...]], density: float, allocate: str) -> None:
    """Density ∝ rule for all layers that are not dense, and dense only where the rule asks for more than all."""
    densities = allocate_densities(shapes, density, allocate)  # type: ignore[arg-type]
    parts = [shape if allocate == "erk" else shape[:2] for shape in shapes]
    scales = [d * prod(part) / sum(part) for d, part in zip(densities, parts, strict=True)]
    open_scales = [scale for scale, d in zip(scales, densities, strict=True) if d < 1]
    if open_scales:
        assert math.isclose(min(open_scales), max(open_scales), rel_tol=1e-9)
        assert all(scale <= open_scales[0] * (1 + 1e-9) for scale, d in zip(scales, densities, strict=True) if d == 1)


def test_literal_shares() -> None:
    shapes = [(100, 300), (50, 100)]
    assert allocate_densities(shapes, 0.1) == [0.1, 0.1]
    # 3500 connections over n_out + n_in = 400 and 150: 6.3636 for each
    first, second = allocate_densities(shapes, 0.1, "er")
    assert first == pytest.approx(3500 / 550 * 400 / 30000)
    assert second == pytest.approx(3500 / 550 * 150 / 5000)
    assert allocate_densities(shapes, 0.1, "erk") == [first, second]


def test_kernels_count_in_erk_alone() -> None:
    shapes = [(64, 64, 3, 3), (64, 64, 1, 1)]
    er, erk = allocate_densities(shapes, 0.1, "er"), allocate_densities(shapes, 0.1, "erk")
    assert er[0] == pytest.approx(er[1])
    assert erk[0] / erk[1] == pytest.approx((134 / 9) / 130)


def test_a_layer_that_would_overflow_is_dense_and_the_others_take_the_rest() -> None:
    shapes = [(1000, 1000), (10, 10), (2, 1000)]
    densities = allocate_densities(shapes, 0.2, "er")
    assert densities[1] == 1.0
    assert densities[2] == 1.0
    assert densities[0] == pytest.approx((0.2 * 1_002_100 - 2_100) / 1_000_000)


@pytest.mark.parametrize("allocate", ["uniform", "er", "erk"])
def test_a_budget_for_all_is_all(allocate: str) -> None:
    shapes = [(7, 11), (3, 3), (64, 1)]
    assert allocate_densities(shapes, 1.0, allocate) == pytest.approx([1.0] * 3)  # type: ignore[arg-type]
    assert allocate_densities([], 0.5, allocate) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("density", [0, -1, 1.01, math.nan, math.inf])
@pytest.mark.parametrize("allocate", ["uniform", "er", "erk"])
def test_densities_outside_are_refused(density: float, allocate: str) -> None:
    with pytest.raises(InputError, match=r"density must be in \(0, 1\], got"):
        allocate_densities([(3, 4)], density, allocate)  # type: ignore[arg-type]


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(InputError, match="allocate must be one of 'uniform', 'er', 'erk', got 'ERK'"):
        allocate_densities([(3, 4)], 0.5, "ERK")  # type: ignore[arg-type]


@given(st.lists(linear_shapes, min_size=1, max_size=5), st.floats(0.1, 50))
def test_epsilon_counts_the_connections_of_each_layer(shapes: list[tuple[int, int]], epsilon: float) -> None:
    density = epsilon_density(shapes, epsilon)
    for (rows, cols), share in zip(shapes, allocate_densities(shapes, density, "er"), strict=True):
        assert share * rows * cols == pytest.approx(min(rows * cols, epsilon * (rows + cols)), rel=1e-6)


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf])
def test_epsilon_is_a_number_above_zero(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon must be a finite number above 0"):
        epsilon_density([(2, 3)], epsilon)
    assert epsilon_density([], 1) == 1
