"""Patterns: exact counts, uniform draws, every way to build one."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from gossamer import InputError, Pattern, SparseLinear, kernels
from gossamer.connectivity.pattern import connection_count, sample_flat_indices

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    rows, cols = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    positions = draw(st.lists(st.booleans(), min_size=rows * cols, max_size=rows * cols))
    return torch.tensor(positions, dtype=torch.bool).view(rows, cols)


# ---- drawing -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 5000), st.sampled_from([0.0, 0.001, 0.3, 0.499, 0.5, 0.501, 0.9, 0.999, 1.0]), st.integers(0, 99))
def test_samples_are_distinct_ascending_and_as_many_as_asked(positions: int, share: float, seed: int) -> None:
    count = round(share * positions)
    drawn = sample_flat_indices(positions, count, seeded(seed))
    assert drawn.dtype == torch.int64
    assert drawn.shape == (count,)
    assert bool((drawn[1:] > drawn[:-1]).all())
    assert count == 0 or (int(drawn[0]) >= 0 and int(drawn[-1]) < positions)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6])
def test_every_subset_is_equally_likely(count: int) -> None:
    """χ² over all subsets of 6 positions, at the 0.1 % level."""
    subsets = dict.fromkeys(combinations(range(6), count), 0)
    generator, draws = seeded(3), 100 * len(subsets)
    for _ in range(draws):
        subsets[tuple(sample_flat_indices(6, count, generator).tolist())] += 1
    if len(subsets) > 1:
        assert stats.chisquare(list(subsets.values())).pvalue > 1e-3


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.8, 0.999])
def test_large_draws_are_uniform_over_the_indices(share: float) -> None:
    """χ² of the counts in 64 equal stretches; without replacement they vary less, by the factor 1 − share."""
    positions, parts = 64 * 1000, 64
    total = torch.zeros(parts)
    draws = 20
    for seed in range(draws):
        total += (
            sample_flat_indices(positions, round(share * positions), seeded(seed))
            .div(1000, rounding_mode="floor")
            .bincount(minlength=parts)
        )
    expected = draws * round(share * positions) / parts
    chi2 = float(((total - expected) ** 2).sum() / expected / (1 - share))
    assert 1e-3 < stats.chi2.cdf(chi2, parts - 1) < 1 - 1e-3


def test_neighbouring_cells_are_independent() -> None:
    """The gaps between connections follow the geometric law of a fair draw."""
    positions, count = 100_000, 10_000
    gaps = sample_flat_indices(positions, count, seeded(0)).diff()
    counts = gaps.clamp(max=30).bincount(minlength=31)[1:].double()
    p = count / positions
    law = torch.tensor([p * (1 - p) ** (gap - 1) for gap in range(1, 30)] + [(1 - p) ** 29], dtype=torch.float64)
    assert stats.chisquare(counts.numpy(), (law / law.sum() * counts.sum()).numpy()).pvalue > 1e-3


def test_few_cells_of_very_many() -> None:
    drawn = sample_flat_indices(2**62, 1000, seeded(0))
    assert drawn.unique().numel() == 1000
    assert 0.4 < float(drawn.double().mean()) / 2**62 < 0.6


def test_equal_seeds_give_equal_patterns_and_others_others() -> None:
    first, again, other = (Pattern.erdos_renyi(40, 50, 0.1, seeded(seed)).flat_indices for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    from_global = Pattern.erdos_renyi(40, 50, 0.1).flat_indices
    assert not torch.equal(Pattern.erdos_renyi(40, 50, 0.1).flat_indices, from_global)
    torch.manual_seed(5)
    assert torch.equal(Pattern.erdos_renyi(40, 50, 0.1).flat_indices, from_global)


@pytest.mark.parametrize(("positions", "count"), [(5, 6), (5, -1), (0, 1), (5, 1.5)])
def test_impossible_samples_are_refused(positions: int, count: int) -> None:
    with pytest.raises(InputError, match="count must be a whole number from 0 to"):
        sample_flat_indices(positions, count)


def test_connections_may_exist_each_on_its_own() -> None:
    counts = torch.tensor(
        [Pattern.erdos_renyi(40, 25, 0.1, seeded(seed), exact=False).nnz for seed in range(400)], dtype=torch.float64
    )
    sd = math.sqrt(1000 * 0.1 * 0.9)
    assert abs(float(counts.mean()) - 100) < 4 * sd / 20
    assert 0.85 * sd < float(counts.std()) < 1.15 * sd
    large = Pattern.erdos_renyi(1000, 500, 0.06, seeded(0), exact=False).nnz  # mean 30 000, sd 168
    assert 29_300 < large < 30_700
    assert large == Pattern.erdos_renyi(1000, 500, 0.06, seeded(0), exact=False).nnz
    assert Pattern.erdos_renyi(3, 3, 1.0, exact=False).nnz == 9
    assert min(Pattern.erdos_renyi(1, 1, 0.01, seeded(seed), exact=False).nnz for seed in range(9)) == 0


# ---- erdos_renyi and fixed_fan_in ----------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 60), st.floats(1e-6, 1.0), st.integers(0, 99))
def test_erdos_renyi_has_exactly_the_rounded_count(rows: int, cols: int, density: float, seed: int) -> None:
    pattern = Pattern.erdos_renyi(rows, cols, density, seeded(seed))
    assert pattern.shape == (rows, cols)
    assert pattern.nnz == max(1, round(density * (rows * cols))) == connection_count(rows, cols, density)
    assert pattern.density == pattern.nnz / (rows * cols)
    kernels.validate(pattern.structure)


def test_erdos_renyi_is_uniform() -> None:
    hits = torch.zeros(20)
    generator = seeded(11)
    for _ in range(300):
        pattern = Pattern.erdos_renyi(4, 5, 0.3, generator)
        hits[pattern.flat_indices] += 1
    chi2 = float(((hits - 90) ** 2).sum() / 90 / (1 - 0.3)) * 19 / 20
    assert 1e-3 < stats.chi2.cdf(chi2, 19) < 1 - 1e-3


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_fixed_fan_in(rows: int, cols: int, data: st.DataObject) -> None:
    fan_in = data.draw(st.integers(1, cols))
    pattern = Pattern.fixed_fan_in(rows, cols, fan_in, seeded(0))
    assert pattern.fan_in.tolist() == [fan_in] * rows
    assert pattern.nnz == rows * fan_in
    kernels.validate(pattern.structure)


def test_fixed_fan_in_is_uniform_and_seeded() -> None:
    counts = Pattern.fixed_fan_in(3000, 12, 4, seeded(1)).fan_out
    assert 1e-3 < stats.chi2.cdf(float(((counts - 1000) ** 2).sum() / 1000 / (1 - 4 / 12)), 11) < 1 - 1e-3
    first, again, other = (Pattern.fixed_fan_in(9, 12, 4, seeded(seed)).flat_indices for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("density", [0, -0.1, 1.1, math.nan, math.inf, "dense", None])
def test_densities_outside_are_refused(density: float) -> None:
    with pytest.raises(InputError, match=r"density must be .*\(0, 1\], got"):
        Pattern.erdos_renyi(3, 4, density)


@pytest.mark.parametrize(("rows", "cols"), [(0, 4), (3, 0), (-1, 4), (3, 2**31), (3, 1.5)])
def test_sizes_outside_are_refused(rows: int, cols: int) -> None:
    with pytest.raises(InputError, match=r"(rows|cols) must be a whole number from 1 to 2147483647, got"):
        Pattern.erdos_renyi(rows, cols, 0.5)


def test_more_connections_than_int32_counts_are_refused_before_any_is_drawn() -> None:
    with pytest.raises(InputError, match="density must leave at most 2147483647 connections"):
        Pattern.erdos_renyi(2**20, 2**20, 0.5)


@pytest.mark.parametrize("fan_in", [0, 5, -1, 2.5])
def test_fan_in_outside_is_refused(fan_in: int) -> None:
    with pytest.raises(InputError, match="fan_in must be a whole number from 1 to 4, got"):
        Pattern.fixed_fan_in(3, 4, fan_in)


# ---- given connections ---------------------------------------------------------------------------------------------


@given(masks())
def test_all_ways_to_name_the_same_connections_agree(mask: Tensor) -> None:
    rows, cols = mask.shape
    pattern = Pattern.from_mask(mask)
    assert torch.equal(pattern.to_mask(), mask)
    assert pattern.nnz == int(mask.sum())
    assert pattern.fan_in.tolist() == mask.sum(1).tolist()
    assert pattern.fan_out.tolist() == mask.sum(0).tolist()
    row, col = mask.nonzero(as_tuple=True)
    assert torch.equal(pattern.row_indices, row)
    assert torch.equal(pattern.col_indices, col.to(torch.int32))
    assert torch.equal(pattern.flat_indices, row * cols + col)
    order = torch.randperm(pattern.nnz, generator=seeded(0))
    for other in (
        Pattern.from_flat_indices(pattern.flat_indices, rows, cols),
        Pattern.from_indices(row[order], col[order], rows, cols),
        Pattern.from_indices(row[order].to(torch.uint8), col[order].to(torch.int16), rows, cols),
        Pattern.from_csr(pattern.structure.indptr, pattern.structure.indices, cols),
        Pattern.from_mask(mask.double() * -0.5),
        pattern.to("cpu"),
        copy.deepcopy(pattern),
        pickle.loads(pickle.dumps(pattern)),
    ):
        assert other.shape == pattern.shape
        assert all(torch.equal(a, b) for a, b in zip(other.structure, pattern.structure, strict=True))
        kernels.validate(other.structure)


def test_a_pattern_may_have_no_connection_and_no_size() -> None:
    for mask in (torch.zeros(3, 4), torch.zeros(0, 4), torch.zeros(3, 0), torch.zeros(0, 0)):
        pattern = Pattern.from_mask(mask)
        assert pattern.nnz == 0
        assert pattern.density == 0
        assert pattern.to_mask().shape == mask.shape


def test_a_pattern_is_immutable() -> None:
    pattern = Pattern.erdos_renyi(3, 4, 0.5, seeded(0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        pattern.structure = pattern.structure  # type: ignore[misc]


@pytest.mark.parametrize(
    ("flat_indices", "message"),
    [
        ([3, 1], "flat_indices must ascend, without duplicates"),
        ([5, 1], "flat_indices must be in|flat_indices must ascend"),
        ([2, 2], "flat_indices must ascend, without duplicates"),
        ([3, 10**6, 5], "flat_indices must ascend, without duplicates"),
        ([3, -7, 5], "flat_indices must ascend, without duplicates"),
        ([-1, 2], r"flat_indices must be in \[0, 8\), got values from -1 to 2"),
        ([0, 8], r"flat_indices must be in \[0, 8\), got values from 0 to 8"),
        ([0.0, 1.0], "flat_indices must be a vector of int64, got torch.float32"),
        ([[0, 1]], r"flat_indices must be a vector of int64, got torch.int64 of shape \(1, 2\)"),
    ],
)
def test_wrong_cells_are_refused(flat_indices: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pattern.from_flat_indices(torch.tensor(flat_indices), 2, 4)


@pytest.mark.parametrize(
    ("row", "col", "message"),
    [
        ([0, 1], [0], "row and col must be vectors of one length"),
        ([[0]], [[0]], "row and col must be vectors of one length"),
        ([0.0], [0.0], "row must be whole numbers, got torch.float32"),
        ([True], [True], "row must be whole numbers, got torch.bool"),
        ([0], [1j], "col must be whole numbers, got torch.complex64"),
        ([2], [0], r"row must be in \[0, 2\), got values from 2 to 2"),
        ([0], [-1], r"col must be in \[0, 4\), got values from -1 to -1"),
        ([0, 1, 0], [3, 0, 3], r"row and col must name each connection once: \(0, 3\) is repeated"),
    ],
)
def test_wrong_indices_are_refused(row: list[int], col: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Pattern.from_indices(torch.tensor(row), torch.tensor(col), 2, 4)


def test_wrong_sizes_of_given_connections_are_refused() -> None:
    with pytest.raises(InputError, match="rows must be a whole number"):
        Pattern.from_indices(torch.tensor([0]), torch.tensor([0]), -1, 4)
    with pytest.raises(InputError, match="cols must be a whole number"):
        Pattern.from_flat_indices(torch.tensor([0]), 1, 2**31)
    with pytest.raises(InputError, match=r"mask must have shape \(rows, cols\), got \(3,\)"):
        Pattern.from_mask(torch.ones(3))
    with pytest.raises(InputError, match="indices must be in"):
        Pattern.from_csr(torch.tensor([0, 1], dtype=torch.int32), torch.tensor([4], dtype=torch.int32), 4)


def test_a_spoilt_pattern_is_not_carried_along() -> None:
    pattern = Pattern.erdos_renyi(5, 6, 0.4, seeded(0))
    layer = SparseLinear(6, 5, pattern=Pattern.erdos_renyi(5, 6, 0.4, seeded(1)))
    pattern.structure.t_indices[0] = 10**6
    with pytest.raises(InputError, match="not a valid pattern"):
        pattern.to("cpu")
    with pytest.raises(InputError, match="not a valid pattern"):
        layer.set_pattern(pattern, torch.zeros(pattern.nnz))
    for other in (copy.deepcopy(pattern), pickle.loads(pickle.dumps(pattern))):
        with pytest.raises(InputError, match="not a valid pattern"):
            kernels.validate(other.structure)


def test_a_default_device_leaves_patterns_on_the_cpu() -> None:
    with torch.device("meta"):
        patterns = Pattern.erdos_renyi(4, 5, 0.5, seeded(0)), Pattern.fixed_fan_in(4, 5, 2, seeded(0))
    for pattern in patterns:
        assert pattern.structure.indices.device.type == "cpu"
    assert torch.equal(patterns[0].flat_indices, Pattern.erdos_renyi(4, 5, 0.5, seeded(0)).flat_indices)
